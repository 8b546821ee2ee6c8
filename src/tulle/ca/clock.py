"""The time, where nobody gives another."""

from __future__ import annotations

from datetime import UTC, datetime


def utc() -> datetime:
    return datetime.now(UTC)
