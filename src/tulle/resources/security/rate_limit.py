"""RateLimit: how many requests are let through, counted by what tells callers apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from typing import Annotated

from tulle.resources.attachment import Attached
from tulle.resources.names import header_name
from tulle.resources.scalars import Duration, Flag, choice, text_that, whole
from tulle.resources.spec import Problem, Spec, shown

_MOST_LIMITS = 64
_MOST_KEYS = 8


class Scope(Enum):
    LOCAL = "local"
    """Each proxy counts for itself."""
    GLOBAL = "global"
    """All proxies together."""


class FailureMode(Enum):
    OPEN = "open"
    CLOSED = "closed"


class Unit(Enum):
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


_PLAIN_KEYS = ("remote.ip", "source.principal", "request.method", "request.path")
_NAMED_KEY = re.compile(r"request\.headers\[([^\[\]]+)\]|request\.auth\.claims(?:\[[^\[\]]+\])+")


def _key(value: str) -> str | None:
    named = _NAMED_KEY.fullmatch(value)
    if named and named[1]:
        # Envoy would take a percent sign for the end of the name.
        return f"must name a header without %, not {shown(value)}" if "%" in value else header_name(named[1])
    if named or value in _PLAIN_KEYS:
        return None
    known = ", ".join((*_PLAIN_KEYS, "request.headers[NAME]", "request.auth.claims[NAME]"))
    return f"must be one of {known}, not {shown(value)}"


def _pattern(value: str) -> str | None:
    if not value:
        return "must not be empty"
    if "*" in value[1:-1] or (len(value) > 1 and value[0] == value[-1] == "*"):
        return f"must be text with * at one end at most, not {shown(value)}"
    return None


Pattern = Annotated[str, text_that(_pattern)]
"""Text, or `prefix*`, `*suffix`, or `*` for whatever is there."""
Count = Annotated[int, whole(1, 2**32 - 1)]


class LimitMatch(Spec):
    """The requests that count. All fields that are set must hold; of each one's values, any."""

    methods: tuple[Pattern, ...] = ()
    not_methods: tuple[Pattern, ...] = ()
    paths: tuple[Pattern, ...] = ()
    not_paths: tuple[Pattern, ...] = ()
    hosts: tuple[Pattern, ...] = ()
    not_hosts: tuple[Pattern, ...] = ()

    def check(self) -> Iterable[Problem]:
        if not any(self.model_dump().values()):
            yield (), "must say something; leave it out for all requests"


class Limit(Spec):
    requests: Count
    per: Annotated[Unit, choice(Unit)]
    burst: Count | None = None
    """How many may come at once; None: as many as `requests`."""
    by: tuple[Annotated[str, text_that(_key)], ...] = ()
    """Requests that differ in any of these are counted apart."""
    match: LimitMatch | None = None

    def check(self) -> Iterable[Problem]:
        if len(self.by) > _MOST_KEYS:
            yield ("by",), f"must have at most {_MOST_KEYS} items"
        for index, key in enumerate(self.by):
            if key in self.by[:index]:
                yield ("by", index), f"{shown(key)} is given twice"


class RateLimit(Attached):
    scope: Annotated[Scope, choice(Scope)] = Scope.LOCAL
    failure_mode: Annotated[FailureMode, choice(FailureMode)] = FailureMode.OPEN
    """What becomes of requests when nobody can be asked for the count of all proxies."""
    timeout: Duration = timedelta(milliseconds=500)
    """For the answer of who counts for all proxies; then nobody could be asked."""
    headers: Flag = True
    """Whether callers are told what is left."""
    limits: tuple[Limit, ...]

    def check(self) -> Iterable[Problem]:
        if not self.limits:
            yield ("limits",), "must have at least one item"
        if len(self.limits) > _MOST_LIMITS:
            yield ("limits",), f"must have at most {_MOST_LIMITS} items"
