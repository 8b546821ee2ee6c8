"""Rules of HTTPRoutes and GRPCRoutes, ready to be put in order: what each matches, sends to and does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tulle.compile.gatewayapi import filters, matches
from tulle.compile.gatewayapi.documents import Documents, Route, reference, seniority
from tulle.compile.gatewayapi.listeners import FINE, Verdict
from tulle.compile.gatewayapi.matches import Rank
from tulle.compile.gatewayapi.references import Ref, resolve
from tulle.compile.memo import Memo
from tulle.model.resource import Resource, Source
from tulle.model.routing import NO_OPS, HeaderOps, RouteMatch
from tulle.resources.gatewayapi import GrpcRoute, HttpRoute
from tulle.resources.gatewayapi.connection_routes import ConnectionRule
from tulle.resources.gatewayapi.filters import Cors, GrpcFilter, HttpFilter, RequestRedirect, UrlRewrite
from tulle.resources.gatewayapi.grpc_route import GrpcBackend, GrpcRouteMatch, GrpcRule
from tulle.resources.gatewayapi.http_route import HttpBackend, HttpRetry, HttpRouteMatch, HttpRule, PathMatchType, Timeouts
from tulle.resources.gatewayapi.session import SessionPersistence, SessionType
from tulle.resources.gatewayapi.types import BackendReference

Filters = Sequence[HttpFilter | GrpcFilter]
_FOR_ALL = ("RequestMirror", "RequestRedirect", "URLRewrite", "CORS")
"""Filters that act on whole rules: beside one of several backends they have no place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One of a rule's backends."""

    ref: Ref
    weight: int
    request: HeaderOps = NO_OPS
    response: HeaderOps = NO_OPS
    host: str | None = None
    """What the request's host becomes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    ref: Ref
    percent: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rule:
    """Equal by identity."""

    route: Resource[Route]
    name: str
    source: Source
    grpc: bool
    shares: tuple[Share, ...]
    copies: tuple[Copy, ...] = ()
    request: HeaderOps = NO_OPS
    response: HeaderOps = NO_OPS
    host: str | None = None
    redirect: RequestRedirect | None = None
    rewrite: UrlRewrite | None = None
    cors: Cors | None = None
    timeouts: Timeouts | None = None
    retry: HttpRetry | None = None
    session: SessionPersistence | None = None
    unresolved: Verdict = FINE
    """A filter that refers to what is not there: requests are answered with an error."""
    unsupported: Verdict = FINE
    """A filter that cannot be applied where it stands: so they are then, too."""
    answer: int = 0
    """The status that all requests are answered with, whatever else there is."""

    @property
    def keeps_sessions(self) -> bool:
        """A header tells the instance alone: among several backends the share decides anew for each request."""
        if self.session is None or self.session.type is not SessionType.HEADER:
            return self.session is not None
        return sum(share.weight > 0 for share in self.shares) == 1

    def refs(self) -> Iterator[Ref]:
        yield from (share.ref for share in self.shares)
        yield from (copy.ref for copy in self.copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One of a rule's alternatives, with its place in the order of all."""

    rule: Rule
    match: RouteMatch
    prefix: str
    """Of the path, where it asks for one."""
    source: Source
    order: tuple[Rank, tuple[int, str, str], int, int]


def entries(route: Resource[Route], documents: Documents, domain: str, memo: Memo) -> tuple[Entry, ...]:
    """The alternatives of a route, made anew only if the route changed, or what it may refer to."""
    abroad = memo.get(("gateway api abroad", route.key), (route,), lambda: tuple(_abroad(route)))
    permitted = tuple(documents.permits(reference(route), (b.group, b.kind, b.namespace or ""), b.name) for b in abroad)
    return memo.get(("gateway api entries", route.key), (route, permitted, domain), partial(_entries, route, documents, domain))


def _abroad(route: Resource[Route]) -> Iterator[BackendReference]:
    for rule in route.spec.rules:
        named: list[BackendReference] = list(rule.backend_refs)
        if isinstance(rule, HttpRule | GrpcRule):
            groups: list[Filters] = [rule.filters, *(b.filters for b in rule.backend_refs)]
            named += (f.request_mirror.backend_ref for group in groups for f in group if f.request_mirror)
        yield from (b for b in named if b.namespace not in (None, route.key.namespace))


def _entries(route: Resource[Route], documents: Documents, domain: str) -> tuple[Entry, ...]:
    maker = _Maker(route, documents, domain)
    if isinstance(route.spec, HttpRoute):
        return tuple(entry for i, rule in enumerate(route.spec.rules) for entry in maker.http(i, rule))
    if isinstance(route.spec, GrpcRoute):
        return tuple(entry for i, rule in enumerate(route.spec.rules or (GrpcRule(),)) for entry in maker.grpc(i, rule))
    return ()


class _Maker:
    """Makes the entries of one route."""

    def __init__(self, route: Resource[Route], documents: Documents, domain: str) -> None:
        self._route = route
        self._documents = documents
        self._domain = domain
        self._age = seniority(route)

    def http(self, index: int, spec: HttpRule) -> Iterator[Entry]:
        rule = self._rule(index, spec, tuple(spec.backend_refs))
        for number, match in enumerate(spec.matches or (HttpRouteMatch(),)):
            yield Entry(
                rule=rule,
                match=matches.http_match(match),
                prefix=match.path.value if match.path.type is PathMatchType.PATH_PREFIX else "",
                source=rule.source if not spec.matches else self._route.at(f"spec.rules[{index}].matches[{number}]"),
                order=(matches.http_rank(match), self._age, index, number),
            )

    def grpc(self, index: int, spec: GrpcRule) -> Iterator[Entry]:
        rule = self._rule(index, spec, tuple(spec.backend_refs))
        for number, match in enumerate(spec.matches or (GrpcRouteMatch(),)):
            yield Entry(
                rule=rule,
                match=matches.grpc_match(match),
                prefix="",
                source=rule.source if not spec.matches else self._route.at(f"spec.rules[{index}].matches[{number}]"),
                order=(matches.grpc_rank(match), self._age, index, number),
            )

    def _rule(self, index: int, spec: HttpRule | GrpcRule, backends: tuple[HttpBackend | GrpcBackend, ...]) -> Rule:
        place = f"spec.rules[{index}]"
        lifted = backends[0].filters if len(backends) == 1 else ()
        of_rule: dict[str, HttpFilter | GrpcFilter] = {f.type.value: f for f in (*lifted, *spec.filters)}
        http = isinstance(spec, HttpRule)
        modifier = of_rule["RequestHeaderModifier"].request_header_modifier if "RequestHeaderModifier" in of_rule else None
        return Rule(
            route=self._route,
            name=f"{self._route.key.name}.{spec.name or index}",
            source=self._route.at(place),
            grpc=not http,
            shares=tuple(self._share(f"{place}.backendRefs[{n}]", backend, alone=len(backends) == 1) for n, backend in enumerate(backends)),
            copies=tuple(self._copies(place, spec.filters, backends)),
            request=filters.header_ops(f.request_header_modifier for f in spec.filters),
            response=filters.header_ops(f.response_header_modifier for f in spec.filters),
            host=filters.host_of(modifier),
            redirect=getattr(of_rule.get("RequestRedirect"), "request_redirect", None),
            rewrite=getattr(of_rule.get("URLRewrite"), "url_rewrite", None),
            cors=getattr(of_rule.get("CORS"), "cors", None),
            timeouts=spec.timeouts if isinstance(spec, HttpRule) else None,
            retry=spec.retry if isinstance(spec, HttpRule) else None,
            session=spec.session_persistence,
            unresolved=_unresolved((*spec.filters, *(f for b in backends for f in b.filters))),
            unsupported=unsupported(spec),
        )

    def _share(self, place: str, backend: HttpBackend | GrpcBackend, *, alone: bool) -> Share:
        modifier = next((f.request_header_modifier for f in backend.filters if f.request_header_modifier), None)
        rewrite = None if alone else next((f.url_rewrite for f in backend.filters if isinstance(f, HttpFilter) and f.url_rewrite), None)
        return Share(
            ref=resolve(backend, self._route, place, self._documents, self._domain),
            weight=backend.weight,
            request=filters.header_ops(f.request_header_modifier for f in backend.filters),
            response=filters.header_ops(f.response_header_modifier for f in backend.filters),
            host=filters.rewritten_host(rewrite) or filters.host_of(modifier),
        )

    def _copies(self, place: str, own: Filters, backends: tuple[HttpBackend | GrpcBackend, ...]) -> Iterator[Copy]:
        groups = [(f"{place}.filters", own)]
        if len(backends) == 1:
            groups.append((f"{place}.backendRefs[0].filters", backends[0].filters))
        for where, group in groups:
            for number, one in enumerate(group):
                if mirror := one.request_mirror:
                    field = f"{where}[{number}].requestMirror.backendRef"
                    yield Copy(ref=resolve(mirror.backend_ref, self._route, field, self._documents, self._domain), percent=mirror.share)


def _unresolved(found: Filters) -> Verdict:
    for one in found:
        if ref := one.extension_ref:
            return "InvalidKind", f"there is no filter {ref.kind}.{ref.group} {ref.name}: requests are answered with 500"
    return FINE


def unsupported(spec: HttpRule | GrpcRule | ConnectionRule) -> Verdict:
    """Why a rule cannot be applied. The host alone can be rewritten for one of several backends."""
    if isinstance(spec, ConnectionRule) or len(spec.backend_refs) < 2:
        return FINE
    for backend in spec.backend_refs:
        for one in backend.filters:
            kind = one.type.value
            host_only = isinstance(one, HttpFilter) and one.url_rewrite and not one.url_rewrite.path
            if kind in _FOR_ALL and not host_only:
                return "UnsupportedValue", f"a {kind} filter cannot stand beside one of several backends: give it to the rule"
    return FINE
