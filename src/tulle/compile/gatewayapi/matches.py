"""Conditions of HTTPRoutes and GRPCRoutes in the words of routes, and which of two goes first."""

from __future__ import annotations

import re

from tulle.model.routing import Compare, HeaderMatch, QueryMatch, RouteMatch, StringMatch
from tulle.resources.gatewayapi import http_route as spec
from tulle.resources.gatewayapi.grpc_route import GrpcRouteMatch, MethodMatch
from tulle.resources.gatewayapi.http_route import HttpRouteMatch, PathMatchType, ValueMatchType

Rank = tuple[int, int, int, int, int]
"""Sorts conditions so that the one that goes first comes first."""

_COMPARE = {
    PathMatchType.EXACT: Compare.EXACT,
    PathMatchType.PATH_PREFIX: Compare.PATH_PREFIX,
    PathMatchType.REGULAR_EXPRESSION: Compare.REGEX,
}
_ORDER = {PathMatchType.EXACT: 0, PathMatchType.REGULAR_EXPRESSION: 1, PathMatchType.PATH_PREFIX: 2}
"""The specification leaves the place of expressions open: behind exact paths, before prefixes."""
_ANY_NAME = "[^/]+"


def http_match(match: HttpRouteMatch) -> RouteMatch:
    method = HeaderMatch(name=":method", match=StringMatch(compare=Compare.EXACT, value=match.method)) if match.method else None
    return RouteMatch(
        path=_path(match.path),
        headers=(*((method,) if method else ()), *_headers(match.headers)),
        query=tuple(QueryMatch(name=q.name, match=_value(q)) for q in match.query_params),
    )


def _path(path: spec.PathMatch) -> StringMatch | None:
    """None takes every path."""
    if path.type is PathMatchType.PATH_PREFIX and path.value == "/":
        return None
    return StringMatch(compare=_COMPARE[path.type], value=path.value)


def _headers(headers: tuple[spec.HeaderMatch, ...]) -> tuple[HeaderMatch, ...]:
    """Of names that differ only in case, the first counts."""
    first = {h.name.lower(): h for h in reversed(headers)}
    return tuple(HeaderMatch(name=name, match=_value(h)) for name, h in sorted(first.items()))


def _value(one: spec.HeaderMatch | spec.QueryMatch) -> StringMatch:
    return StringMatch(compare=Compare.EXACT if one.type is ValueMatchType.EXACT else Compare.REGEX, value=one.value)


def http_rank(match: HttpRouteMatch) -> Rank:
    return (_ORDER[match.path.type], -len(match.path.value), not match.method, -len(match.headers), -len(match.query_params))


def grpc_match(match: GrpcRouteMatch) -> RouteMatch:
    return RouteMatch(path=_call(match.method) if match.method else None, headers=_headers(match.headers))


def _call(method: MethodMatch) -> StringMatch:
    """gRPC calls are requests for `/SERVICE/METHOD`."""
    if method.type is ValueMatchType.REGULAR_EXPRESSION:
        return StringMatch(compare=Compare.REGEX, value=f"/(?:{method.service or _ANY_NAME})/(?:{method.method or _ANY_NAME})")
    if method.service and method.method:
        return StringMatch(compare=Compare.EXACT, value=f"/{method.service}/{method.method}")
    if method.service:
        return StringMatch(compare=Compare.PREFIX, value=f"/{method.service}/")
    return StringMatch(compare=Compare.REGEX, value=f"/{_ANY_NAME}/{re.escape(method.method or '')}")


def grpc_rank(match: GrpcRouteMatch) -> Rank:
    method = match.method
    service, call = (len(method.service or ""), len(method.method or "")) if method else (0, 0)
    return (-1, -service, -call, -len(match.headers), 0)
