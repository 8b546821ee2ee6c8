"""GRPCRoute: where gRPC calls go, by host, service, method and metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from tulle.resources.gatewayapi.filters import GrpcFilter, filter_problems
from tulle.resources.gatewayapi.http_route import MOST_MATCHES, HeaderMatch, ValueMatchType, taken_names
from tulle.resources.gatewayapi.session import SessionPersistence
from tulle.resources.gatewayapi.types import (
    Hostname,
    ParentReferences,
    SectionName,
    WeightedBackend,
    items,
    parent_problems,
    short_text,
)
from tulle.resources.networking.common import taken
from tulle.resources.scalars import check_regex, choice
from tulle.resources.spec import Problem, Spec, shown

_SERVICE = re.compile(r"\.?[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


class MethodMatch(Spec):
    """What is not set matches everything."""

    some_of = ("service", "method")

    type: Annotated[ValueMatchType, choice(ValueMatchType)] = ValueMatchType.EXACT
    service: Annotated[str, short_text(1024)] | None = None
    method: Annotated[str, short_text(1024)] | None = None

    def check(self) -> Iterable[Problem]:
        for name, value, pattern in (("service", self.service, _SERVICE), ("method", self.method, _METHOD)):
            if value is None:
                continue
            if self.type is ValueMatchType.EXACT:
                if not pattern.fullmatch(value):
                    yield (name,), f"must be the name of a {name}, not {shown(value)}"
                continue
            try:
                check_regex(value)
            except ValueError as error:
                yield (name,), str(error)


class GrpcRouteMatch(Spec):
    method: MethodMatch | None = None
    headers: Annotated[tuple[HeaderMatch, ...], items(16)] = ()

    def check(self) -> Iterable[Problem]:
        return taken("headers", "name", (header.name for header in self.headers))


class GrpcBackend(WeightedBackend):
    filters: Annotated[tuple[GrpcFilter, ...], items(16)] = ()

    def check(self) -> Iterable[Problem]:
        yield from super().check()
        yield from filter_problems(self.filters)


class GrpcRule(Spec):
    name: SectionName | None = None
    matches: Annotated[tuple[GrpcRouteMatch, ...], items(64)] = ()
    filters: Annotated[tuple[GrpcFilter, ...], items(16)] = ()
    backend_refs: Annotated[tuple[GrpcBackend, ...], items(16)] = ()
    session_persistence: SessionPersistence | None = None

    def check(self) -> Iterable[Problem]:
        return filter_problems(self.filters)


class GrpcRoute(Spec):
    parent_refs: ParentReferences = ()
    hostnames: Annotated[tuple[Hostname, ...], items(16)] = ()
    rules: Annotated[tuple[GrpcRule, ...], items(16)] = ()

    def check(self) -> Iterable[Problem]:
        yield from parent_problems(self.parent_refs)
        yield from taken_names("rules", (rule.name for rule in self.rules))
        total = sum(len(rule.matches) for rule in self.rules)
        if total > MOST_MATCHES:
            yield ("rules",), f"must have at most {MOST_MATCHES} matches in all rules together, not {total}"
