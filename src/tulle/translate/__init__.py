"""What a proxy is to do, in Envoy's messages. Pure: the same view gives the same bytes."""

from __future__ import annotations

from tulle.translate.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Bundle, Entry, Snapshot
from tulle.translate.translator import Translator

__all__ = ["CLUSTER", "ENDPOINTS", "LISTENER", "ROUTES", "Bundle", "Entry", "Snapshot", "Translator"]
