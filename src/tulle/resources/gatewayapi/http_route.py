"""HTTPRoute: where requests go, by host, path, headers, query and method."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Annotated, Any

from tulle.resources.gatewayapi.filters import METHODS, HttpFilter, PathModifierType, filter_problems
from tulle.resources.gatewayapi.session import SessionPersistence
from tulle.resources.gatewayapi.types import (
    GatewayDuration,
    HeaderName,
    Hostname,
    ParentReferences,
    SectionName,
    WeightedBackend,
    items,
    parent_problems,
    short_text,
)
from tulle.resources.networking.common import taken
from tulle.resources.scalars import Text, check_regex, choice, text_that, whole
from tulle.resources.spec import Problem, Spec, shown

_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+")
MOST_MATCHES = 128
"""In all rules of a route together."""


class PathMatchType(Enum):
    EXACT = "Exact"
    PATH_PREFIX = "PathPrefix"
    REGULAR_EXPRESSION = "RegularExpression"


class PathMatch(Spec):
    type: Annotated[PathMatchType, choice(PathMatchType)] = PathMatchType.PATH_PREFIX
    value: Annotated[str, short_text(1024)] = "/"

    def check(self) -> Iterable[Problem]:
        if self.type is PathMatchType.REGULAR_EXPRESSION:
            yield from _regex_problems("value", self.value)
        elif complaint := _plain_path(self.value):
            yield ("value",), complaint


def _plain_path(value: str) -> str | None:
    if not value.startswith("/"):
        return f"must begin with /, not {shown(value)}"
    for part in ("//", "/./", "/../", "%2f", "%2F", "#"):
        if part in value:
            return f"must not contain {part}"
    for end in ("/..", "/."):
        if value.endswith(end):
            return f"must not end with {end}"
    return None if _PATH.fullmatch(value) else f"must be a path as in a URL, not {shown(value)}"


def _regex_problems(name: str, value: str) -> Iterator[Problem]:
    try:
        check_regex(value)
    except ValueError as error:
        yield (name,), str(error)


class ValueMatchType(Enum):
    EXACT = "Exact"
    REGULAR_EXPRESSION = "RegularExpression"


def _bounded(longest: int) -> Any:
    return text_that(lambda value: None if 0 < len(value) <= longest else f"must be from 1 to {longest} characters long")


class HeaderMatch(Spec):
    type: Annotated[ValueMatchType, choice(ValueMatchType)] = ValueMatchType.EXACT
    name: HeaderName
    value: Annotated[str, _bounded(4096)]

    def check(self) -> Iterable[Problem]:
        return _regex_problems("value", self.value) if self.type is ValueMatchType.REGULAR_EXPRESSION else ()


class QueryMatch(Spec):
    type: Annotated[ValueMatchType, choice(ValueMatchType)] = ValueMatchType.EXACT
    name: HeaderName
    value: Annotated[str, _bounded(1024)]

    def check(self) -> Iterable[Problem]:
        return _regex_problems("value", self.value) if self.type is ValueMatchType.REGULAR_EXPRESSION else ()


def _check_method(value: str) -> str | None:
    return None if value in METHODS else f"must be an HTTP method in capitals, not {shown(value)}"


class HttpRouteMatch(Spec):
    """All parts must hold. Without a path, all paths do."""

    path: PathMatch = PathMatch.unsaid()
    headers: Annotated[tuple[HeaderMatch, ...], items(16)] = ()
    query_params: Annotated[tuple[QueryMatch, ...], items(16)] = ()
    method: Annotated[str, text_that(_check_method)] | None = None

    def check(self) -> Iterable[Problem]:
        yield from taken("headers", "name", (header.name for header in self.headers))
        yield from taken("query_params", "name", (query.name for query in self.query_params))


class HttpBackend(WeightedBackend):
    filters: Annotated[tuple[HttpFilter, ...], items(16)] = ()

    def check(self) -> Iterable[Problem]:
        yield from super().check()
        yield from filter_problems(self.filters)


class Timeouts(Spec):
    """Zero is no limit."""

    request: GatewayDuration | None = None
    backend_request: GatewayDuration | None = None

    def check(self) -> Iterable[Problem]:
        if self.request and self.backend_request is not None and self.backend_request > self.request:
            yield ("backend_request",), "must not be longer than the timeout of the request"


class HttpRetry(Spec):
    codes: tuple[Annotated[int, whole(400, 599)], ...] = ()
    attempts: Annotated[int, whole(0, 2**31 - 1)] | None = None
    backoff: GatewayDuration | None = None


class HttpRule(Spec):
    """Applies when one of `matches` holds, or always when there is none."""

    name: SectionName | None = None
    matches: Annotated[tuple[HttpRouteMatch, ...], items(64)] = ()
    filters: Annotated[tuple[HttpFilter, ...], items(16)] = ()
    backend_refs: Annotated[tuple[HttpBackend, ...], items(16)] = ()
    timeouts: Timeouts | None = None
    retry: HttpRetry | None = None
    session_persistence: SessionPersistence | None = None

    def check(self) -> Iterable[Problem]:
        yield from filter_problems(self.filters)
        if self.backend_refs and any(f.request_redirect for f in self.filters):
            yield ("backend_refs",), "must not stand beside a RequestRedirect filter"
        if not self._one_prefix():
            for place in self._prefix_modifiers():
                yield place, "needs exactly one match in its rule, of type PathPrefix"

    def _one_prefix(self) -> bool:
        return len(self.matches) < 2 and all(match.path.type is PathMatchType.PATH_PREFIX for match in self.matches)

    def _prefix_modifiers(self) -> Iterator[tuple[str | int, ...]]:
        own = (((), self.filters), *((("backend_refs", i), backend.filters) for i, backend in enumerate(self.backend_refs)))
        for place, filters in own:
            for index, one in enumerate(filters):
                for name, modified in (("request_redirect", one.request_redirect), ("url_rewrite", one.url_rewrite)):
                    if modified and modified.path and modified.path.type is PathModifierType.REPLACE_PREFIX_MATCH:
                        yield (*place, "filters", index, name, "path", "replace_prefix_match")


class HttpRoute(Spec):
    parent_refs: ParentReferences = ()
    hostnames: Annotated[tuple[Hostname, ...], items(16)] = ()
    rules: Annotated[tuple[HttpRule, ...], items(16)] = (HttpRule.unsaid(),)

    @classmethod
    def shape(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        yield from super().shape(given)
        if given.get("rules") == []:
            yield ("rules",), "must have at least one item"

    def check(self) -> Iterable[Problem]:
        yield from parent_problems(self.parent_refs)
        yield from taken_names("rules", (rule.name for rule in self.rules))
        total = sum(len(rule.matches) for rule in self.rules)
        if total > MOST_MATCHES:
            yield ("rules",), f"must have at most {MOST_MATCHES} matches in all rules together, not {total}"


def taken_names(field: str, names: Iterable[Text | None]) -> Iterator[Problem]:
    """Names of rules stand once."""
    return taken(field, "name", names)
