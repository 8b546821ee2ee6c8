"""How many requests are let through: limits, which requests they count, and what is counted apart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from tulle.model.access import Attribute
from tulle.model.resource import Source
from tulle.model.routing import StringMatch


class Counted(Enum):
    """What requests are told apart by."""

    CLIENT = "remote.ip"
    """The caller's address, as proxies before this one say."""
    PRINCIPAL = "source.principal"
    """The SPIFFE id in the caller's certificate."""
    METHOD = "request.method"
    PATH = "request.path"
    """Without the query."""
    HEADER = "request.headers"
    CLAIM = "request.auth.claims"
    """Of the caller's JWT, once it is found good. A text; all else counts as if it were not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CountKey:
    """Requests that lack the thing are counted together."""

    counted: Counted
    name: tuple[str, ...] = ()
    """Of the header; the path to a claim (`("realm", "group")`)."""

    def __str__(self) -> str:
        return self.counted.value + "".join(f"[{part}]" for part in self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Only:
    """Requests count of which an attribute fits any of some matches and none of others; or, negated, all but those."""

    attribute: Attribute
    """METHOD, PATH or HOST."""
    matches: tuple[StringMatch, ...]
    but: tuple[StringMatch, ...] = ()
    negated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """`requests` in each `per` on the long run, and up to `burst` of them at once."""

    name: str
    """One of a kind: `namespace/document/place`."""
    requests: int
    per: timedelta
    burst: int
    by: tuple[CountKey, ...] = ()
    only: tuple[Only, ...] = ()
    shared: bool = False
    """Counted over all proxies; else each proxy counts for itself."""
    told: bool = True
    """Callers learn from headers what is left."""
    fail_closed: bool = False
    """For shared ones: requests are refused when nobody can be asked."""
    patience: timedelta = timedelta(milliseconds=500)
    """For shared ones: how long an answer may take. Then nobody could be asked."""
    source: Source | None = None
