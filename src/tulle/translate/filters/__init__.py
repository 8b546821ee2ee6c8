"""Envoy's HTTP filters, one file each, all of one shape. Their order is the order of this list.

Which filters a listener has must not depend on its routes: a changed route must not change the listener, which would
close connections. So a filter that only some routes use is there always, switched off, and these routes switch it on.
"""

from __future__ import annotations

from typing import Any, Protocol

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route, RouteTable
from tulle.protos import any_, pb
from tulle.translate import access, authorizers, claims, firewall, logins, rate_limits, screens, tokens, transcoding
from tulle.translate.filters import (
    alternative,
    cors,
    dynamic_forward_proxy,
    dynamic_port,
    fault,
    grpc_web,
    original_source,
    own_address,
    requests_told,
    router,
    stateful_session,
    websocket_key,
)
from tulle.translate.values import Fields


class Filter(Protocol):
    @property
    def NAME(self) -> str:  # noqa: N802
        """Envoy's name for the filter."""

    def applies(self, serve: HttpConnections, listener: Listener) -> bool:
        """Whether these connections have the filter."""

    def http_filter(self, listener: Listener) -> Fields:
        """The fields of the HttpFilter, its name apart."""

    def per_route(self, route: Route) -> Any | None:
        """The message that the route adds; None when it does not use the filter."""


FIRST: tuple[Filter, ...] = (own_address, alternative, grpc_web)
"""Before JSON is turned into gRPC: what browsers send is gRPC by then."""
FILTERS: tuple[Filter, ...] = (
    *FIRST,
    cors,
    fault,
    stateful_session,
    dynamic_port,
    dynamic_forward_proxy,
    websocket_key,
    original_source,
    requests_told,
    router,
)


def http_filters(serve: HttpConnections, listener: Listener, *, upgraded: bool = False) -> list[Fields]:
    """The filters of a connection manager, in order: first those that refuse. What is upgraded has no body whose end could be awaited."""
    guards = [
        *access.deciding(serve.screen.access),
        *logins.http_filters(serve.logins),
        *access.asking(serve.access),
        *tokens.http_filters(serve.tokens, edge=serve.edge),
        *_deciding(serve),
        *rate_limits.http_filters(serve.limits),
        *([] if upgraded else screens.holding(serve.screen)),
        *firewall.http_filters(serve.screen),
    ]
    ways = [(kind, {"name": kind.NAME} | kind.http_filter(listener)) for kind in FILTERS if kind.applies(serve, listener)]
    first, then = ([made for kind, made in ways if (kind in FIRST) is early] for early in (True, False))
    return [*guards, *first, *([] if upgraded else transcoding.http_filters(serve.transcodings)), *then]


def _deciding(serve: HttpConnections) -> list[Fields]:
    """Callers' own requests, inside of the proxy's machine, are asked nothing."""
    if isinstance(serve.routes, RouteTable):
        return access.prepared()
    return access.standing(serve.access) if serve.edge else access.deciding(serve.access)


_GUARDS = (
    *access.NAMES,
    authorizers.HTTP,
    claims.JWT,
    *logins.PLAIN,
    rate_limits.LOCAL,
    rate_limits.GLOBAL,
    screens.BUFFER,
    firewall.NAME,
    transcoding.NAME,
)
"""All that `http_filters` puts before the others, but for logins that are for some hosts only, which have names of their own."""


def per_route(route: Route) -> Fields:
    """What a route says to the filters (`typed_per_filter_config`)."""
    if route.unguarded is not None:
        off = any_(pb.HttpFilterConfig(disabled=True))
        return dict.fromkeys((*_GUARDS, *(name for login in route.unguarded for name in logins.names(login))), off)
    made = [(kind.NAME, kind.per_route(route)) for kind in FILTERS]
    if route.firewalls:
        made.append((firewall.BY_ROUTE, firewall.per_route(route.firewalls)))
    return {name: any_(message) for name, message in made if message is not None}
