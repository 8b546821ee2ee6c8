"""What is looked at in every request before anything else is, and what a request may be at most."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tulle.model.access import OPEN, Access
from tulle.model.firewall import Firewall
from tulle.model.resource import Source


class PathLevel(Enum):
    """How far paths are brought into one form before anything looks at them, from the least (Istio's levels)."""

    NONE = "NONE"
    BASE = "BASE"
    """Dot segments are resolved, and `\\` is `/` (RFC 3986, section 6)."""
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"
    """`%2f` and `%5c` are slashes, too."""


class Underscores(Enum):
    """What becomes of headers with `_` in their names, which many programs take for `-`. From the mildest."""

    ALLOW = "ALLOW"
    DROP = "DROP"
    REJECT = "REJECT"
    """The request is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Without limits for what is None."""

    access: Access = OPEN
    """Policies that deny."""
    body_bytes: int | None = None
    """Bodies are held back until they are whole; longer ones are answered 413."""
    header_count: int | None = None
    header_kilobytes: int | None = None
    """Of all headers together, in 1,024 bytes."""
    path: PathLevel | None = None
    """None: as the mesh has it."""
    underscores: Underscores = Underscores.ALLOW
    firewalls: tuple[Firewall, ...] = ()
    by_route: bool = False
    """Whether routes may have firewalls of their own."""
    sources: tuple[Source, ...] = ()
    """All documents that say something here."""

    @property
    def level(self) -> PathLevel:
        return self.path or PathLevel.BASE


NO_SCREEN = Screen()
