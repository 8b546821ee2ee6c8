"""What sidecars of one scope share: clusters, endpoints and the forward proxy's route table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from tulle.compile import clusters, egress, mesh_hosts, names
from tulle.compile.catalog import Backend
from tulle.compile.clusters import Placed
from tulle.compile.egress import Opened
from tulle.compile.memo import Memo
from tulle.compile.originate import secured
from tulle.compile.routes import BLACK_HOLE, Target, target
from tulle.compile.scope import Scope
from tulle.model.proxy import Cluster, Direction, FilterChain, HttpConnections, Layer, Listener
from tulle.model.routing import (
    DirectResponse,
    Forward,
    Route,
    RouteMatch,
    RouteTable,
    VirtualHost,
    WeightedCluster,
)
from tulle.resources.networking.common import Destination
from tulle.resources.networking.sidecar import EgressProxy

HTTP_PROXY = "http_proxy"
"""The route table of the forward proxy."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outbound:
    """Made once for each scope, and again only when the structure of the mesh changes."""

    scope: Scope
    backends: tuple[Backend, ...]
    """The services that it has clusters for."""
    by_host: Mapping[str, Backend]
    clusters: Layer
    """Without those that look different from different places."""
    placed: Placed
    egress: tuple[Opened, ...]
    """Listeners of a Sidecar resource."""
    forward: Layer


def outbound(scope: Scope, memo: Memo) -> Outbound:
    return memo.get(("outbound", scope.id), (scope,), lambda: _outbound(scope, memo))


def _outbound(scope: Scope, memo: Memo) -> Outbound:
    ground = scope.structure.ground
    listed = memo.get(("listed", scope.id), (ground,), lambda: tuple(scope.listed()))
    steered, bare = mesh_hosts.steered(scope, listed, memo), mesh_hosts.without_service(scope, memo)
    sent = frozenset(target for steering in (*steered.values(), *bare.values()) if steering for target in steering.targets)
    by_host, placed, made = memo.get(("reached", scope.id), (ground, sent), lambda: _reached(scope, listed, sent, memo))
    return Outbound(
        scope=scope,
        backends=tuple(by_host.values()),
        by_host=by_host,
        clusters=layer(("outbound clusters", scope.id), memo, clusters=made),
        placed=placed,
        egress=egress.listeners(scope, partial(_hosts_on, scope, memo)),
        forward=_forward(scope, mesh_hosts.everywhere(scope, steered, bare, memo), memo),
    )


def layer(
    name: tuple[object, ...],
    memo: Memo,
    *,
    clusters: tuple[Cluster, ...] = (),
    route_tables: tuple[RouteTable, ...] = (),
    listeners: tuple[Listener, ...] = (),
) -> Layer:
    """A layer of these parts: the same one as before if they are."""
    parts = (listeners, route_tables, clusters)
    return memo.get(("layer", *name), parts, lambda: Layer(listeners=listeners, route_tables=route_tables, clusters=clusters))


def _reached(
    scope: Scope, listed: Iterable[Backend], sent: Iterable[str], memo: Memo
) -> tuple[Mapping[str, Backend], Placed, tuple[Cluster, ...]]:
    """What callers may name, and what rules send them to: by host, and the clusters that look the same from every place."""
    found = {b.key.host: b for b in listed}
    if proxy := egress_proxy(scope):
        found[proxy.key.host] = proxy
    found.update((target, backend) for target in sent if (backend := scope.backends.get(target)))
    reached = {host: found[host] for host in sorted(found)}
    placed = clusters.placed((b, scope.tuning(host)) for host, b in reached.items())
    made: list[Cluster] = [clusters.BLACK_HOLE_CLUSTER]
    for host, backend in reached.items():
        if host not in placed.inline:
            made += secured(scope, backend, clusters.clusters(backend, scope.tuning(host), memo), memo)
    return reached, placed, tuple(made)


def _hosts_on(scope: Scope, memo: Memo, listed: Iterable[Backend], number: int) -> tuple[VirtualHost, ...]:
    """The services on one port, with or without that port behind the name, and all other hosts."""
    hosts = mesh_hosts.on_port(scope, listed, number, memo)
    bare = tuple(replace(h, domains=tuple(dict.fromkeys(d.removesuffix(f":{number}") for d in h.domains))) for h in hosts)
    return (*bare, *_rest(scope, hosts))


def _forward(scope: Scope, hosts: tuple[VirtualHost, ...], memo: Memo) -> Layer:
    rest = _rest(scope, hosts)
    table = memo.get(("http_proxy", scope.id), (*hosts, *rest), lambda: RouteTable(name=HTTP_PROXY, virtual_hosts=(*hosts, *rest)))
    return layer(
        ("forward", scope.id),
        memo,
        listeners=(replace(_INTERNAL, sources=(scope.sidecar.at("spec"),)) if scope.sidecar else _INTERNAL,),
        route_tables=(table,),
        clusters=(clusters.CONNECT_CLUSTER, clusters.ALLOW_ANY_CLUSTER),
    )


def _rest(scope: Scope, hosts: tuple[VirtualHost, ...]) -> tuple[VirtualHost, ...]:
    """What becomes of requests for hosts that are not known."""
    if any("*" in h.domains for h in hosts):
        return ()
    if not scope.allow_any:
        return (_BLOCK,)
    said = _said_proxy(scope)
    return (_ALLOW if said is None else _through(_target_of(scope, said).cluster or BLACK_HOLE),)


def _said_proxy(scope: Scope) -> EgressProxy | None:
    policy = scope.sidecar.spec.outbound_traffic_policy if scope.sidecar else None
    return policy.egress_proxy if policy else None


def _target_of(scope: Scope, said: EgressProxy) -> Target:
    return target(scope, Destination(host=said.host, subset=said.subset, port=said.port), scope.namespace, said.port.number)


def egress_proxy(scope: Scope) -> Backend | None:
    """The service that requests for unknown hosts are sent to, where a Sidecar resource names one that is known."""
    said = _said_proxy(scope)
    return scope.backends.get(names.resolve(said.host, scope.namespace, scope.domain)) if said else None


def _through(cluster: str) -> VirtualHost:
    to = (WeightedCluster(cluster=cluster),)
    return VirtualHost(
        name="allow_any",
        domains=("*",),
        routes=(
            Route(name="connect", match=mesh_hosts.CONNECT, action=Forward(clusters=to, connect=True)),
            Route(name="allow_any", match=RouteMatch(), action=Forward(clusters=to)),
        ),
    )


_ALLOW = _through(clusters.ALLOW_ANY)
_BLOCK = VirtualHost(
    name="block_all",
    domains=("*",),
    routes=(Route(name="block_all", match=RouteMatch(), action=DirectResponse(status=502)),),
)
_INTERNAL = Listener(
    name=clusters.CONNECT,
    address="",
    port=0,
    direction=Direction.OUTBOUND,
    chains=(
        FilterChain(
            name=clusters.CONNECT,
            serve=HttpConnections(stat_prefix=clusters.CONNECT, routes=HTTP_PROXY, internal=True, forward_proxy=True),
        ),
    ),
)
