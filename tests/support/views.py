"""Parts of views, with what a test does not care about filled in."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import (
    Cluster,
    Direction,
    EndpointGroup,
    FilterChain,
    HttpConnections,
    Layer,
    Listener,
    ProxyView,
    TcpConnections,
)
from tulle.model.resource import Key, Origin, Source
from tulle.model.routing import Action, Compare, Forward, Route, RouteMatch, RouteTable, StringMatch, VirtualHost, WeightedCluster
from tulle.model.service import Endpoint
from tulle.model.traffic import TrafficPolicy
from tulle.protos import pb
from tulle.translate.routes import host_part, table_body


def to(*clusters: str, **more: Any) -> Forward:
    """Forward to clusters in equal parts."""
    return Forward(clusters=tuple(WeightedCluster(cluster=name) for name in clusters), **more)


def exact(value: str) -> StringMatch:
    return StringMatch(compare=Compare.EXACT, value=value)


def route(path: str | None, action: Action, **more: Any) -> Route:
    """A route for one path; None for all."""
    return Route(name="default", match=RouteMatch(path=exact(path) if path else None), action=action, **more)


def host(name: str, *routes: Route, domains: tuple[str, ...] = (), **more: Any) -> VirtualHost:
    return VirtualHost(name=name, domains=domains or (name,), routes=routes, **more)


def table(name: str, *hosts: VirtualHost, **more: Any) -> RouteTable:
    return RouteTable(name=name, virtual_hosts=hosts, **more)


def route_configuration(of: RouteTable) -> Any:
    """The message for a whole table."""
    return pb.RouteConfiguration.FromString(table_body(of, [host_part(one) for one in of.virtual_hosts]))


def http_listener(name: str, routes: str | RouteTable, *, address: str = "127.0.0.1", port: int = 0, **more: Any) -> Listener:
    serve = HttpConnections(stat_prefix=name, routes=routes, **more)
    return Listener(name=name, address=address, port=port, direction=Direction.OUTBOUND, chains=(FilterChain(name="http", serve=serve),))


def tcp_listener(name: str, *clusters: str, address: str = "127.0.0.1") -> Listener:
    serve = TcpConnections(stat_prefix=name, clusters=tuple(WeightedCluster(cluster=to) for to in clusters))
    return Listener(name=name, address=address, port=0, direction=Direction.OUTBOUND, chains=(FilterChain(name="tcp", serve=serve),))


def cluster(name: str, policy: TrafficPolicy | None = None, **more: Any) -> Cluster:
    return Cluster(name=name, policy=policy or TrafficPolicy(), **{"http": True, **more})


def endpoints(name: str, *ports: int) -> EndpointGroup:
    return EndpointGroup(name=name, endpoints=tuple(Endpoint(address="127.0.0.1", port=port) for port in ports))


def view(*parts: Listener | RouteTable | Cluster | EndpointGroup) -> ProxyView:
    """A view of one layer."""
    return ProxyView(layers=(layer(*parts),))


def layer(*parts: Listener | RouteTable | Cluster | EndpointGroup) -> Layer:
    return Layer(
        listeners=tuple(x for x in parts if isinstance(x, Listener)),
        route_tables=tuple(x for x in parts if isinstance(x, RouteTable)),
        clusters=tuple(x for x in parts if isinstance(x, Cluster)),
        endpoints=tuple(x for x in parts if isinstance(x, EndpointGroup)),
    )


def source(name: str = "reviews", *, line: int = 0, kind: str = "VirtualService") -> Source:
    key = Key(kind=kind, namespace="default", name=name)
    return Source(key=key, origin=Origin(path="in.yaml", line=line))
