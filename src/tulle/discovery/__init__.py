"""The xDS protocol without a wire: requests and snapshots in, responses and acknowledgements out."""

from __future__ import annotations

from tulle.discovery.events import (
    Acknowledged,
    Command,
    Complete,
    Event,
    Offer,
    Rejected,
    Remind,
    Reminded,
    Reminder,
    Request,
    Send,
)
from tulle.discovery.kinds import CDS, EDS, LDS, RDS, SDS
from tulle.discovery.shared import Shared
from tulle.discovery.stream import Stream
from tulle.discovery.wire import Mode

__all__ = [
    "CDS",
    "EDS",
    "LDS",
    "RDS",
    "SDS",
    "Acknowledged",
    "Command",
    "Complete",
    "Event",
    "Mode",
    "Offer",
    "Rejected",
    "Remind",
    "Reminded",
    "Reminder",
    "Request",
    "Send",
    "Shared",
    "Stream",
]
