"""Parts that several entries share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import PlainValidator

from tulle.resources.names import HeaderName, Label
from tulle.resources.networking.http_actions import HeaderValues
from tulle.resources.scalars import NO_TEXTS, Flag, Regex, Text, TextMap, text_that
from tulle.resources.spec import Problem, Spec, shown

SAME = ("", "default")
"""How the one partition and namespace that there is may be named."""


def _same(value: str) -> str | None:
    return None if value in SAME else f'must be "default" where it is given at all, not {shown(value)}'


def _anything(value: object) -> Any:
    return value


Only = Annotated[str, text_that(_same)]
Free = Annotated[Any, PlainValidator(_anything)]
"""Kept as it is, and not looked at."""


class Entry(Spec):
    """What every entry may say of itself."""

    meta: TextMap = NO_TEXTS
    namespace: Only | None = None
    partition: Only | None = None


class HeaderMatch(Spec):
    one_of = (("present", "exact", "prefix", "suffix", "contains", "regex"),)

    name: HeaderName
    present: Flag | None = None
    exact: Text | None = None
    prefix: Text | None = None
    suffix: Text | None = None
    contains: Text | None = None
    regex: Regex | None = None
    ignore_case: Flag = False
    invert: Flag = False


class HttpParts(Spec):
    """What a request must be like; without a path, any."""

    at_most_one_of = (("path_exact", "path_prefix", "path_regex"),)

    path_exact: Text | None = None
    path_prefix: Text | None = None
    path_regex: Regex | None = None
    header: tuple[HeaderMatch, ...] = ()
    methods: tuple[Text, ...] = ()

    def check(self) -> Iterable[Problem]:
        for name in ("path_exact", "path_prefix"):
            value = getattr(self, name)
            if value and not value.startswith("/"):
                yield (name,), f"must begin with /, not {shown(value)}"
        for index, method in enumerate(self.methods):
            if not method.isascii() or not method.isalpha():
                yield ("methods", index), f"must be a method such as GET, not {shown(method)}"


class HttpHeaderModifiers(Spec):
    add: HeaderValues = NO_TEXTS
    set: HeaderValues = NO_TEXTS
    remove: tuple[HeaderName, ...] = ()


ServiceName = Label


def api_name(kind: str) -> str:
    """The name of a kind in Consul's API: `service-router` for ServiceRouter."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower()
