"""Keys and values that clients keep, and the sessions that lock them. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tulle.registry.catalog import SERF_HEALTH

VALUE_LIMIT = 512 * 1024
"""Bytes of one value."""
LOCK_DELAY = 15.0
LOCK_DELAY_LIMIT = 60.0
TTL_LEAST = 10.0
TTL_MOST = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A value under a key."""

    key: str
    value: bytes = b""
    flags: int = 0
    session: str = ""
    """Who holds the lock on it; empty for nobody."""
    lock_index: int = 0
    """How often it was locked."""


class Behavior(Enum):
    """What becomes of a session's locks when it ends."""

    RELEASE = "release"
    DELETE = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A claim that locks keys for as long as its checks pass, and it is renewed in time."""

    id: str
    node: str
    name: str = ""
    node_checks: tuple[str, ...] = (SERF_HEALTH,)
    service_checks: tuple[str, ...] = ()
    lock_delay: float = LOCK_DELAY
    """Seconds for which nobody can lock what it had locked, after it ended by itself."""
    behavior: Behavior = Behavior.RELEASE
    ttl: float = 0.0
    """Seconds; 0 for no end."""

    @property
    def checks(self) -> tuple[str, ...]:
        return self.node_checks + self.service_checks
