"""What sidecars of one scope share: clusters, endpoints and the forward proxy's route table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from tulle.compile import clusters, egress, names
from tulle.compile import tcp as tcp_routes
from tulle.compile.catalog import Backend
from tulle.compile.clusters import Placed
from tulle.compile.egress import Opened
from tulle.compile.memo import Memo
from tulle.compile.originate import secured
from tulle.compile.routes import BLACK_HOLE, Place, Target, default_route, http_routes, target
from tulle.compile.scope import Scope
from tulle.compile.steering import Steering
from tulle.model.proxy import Cluster, Direction, FilterChain, HttpConnections, Layer, Listener
from tulle.model.routing import (
    Compare,
    DirectResponse,
    Forward,
    HeaderMatch,
    Route,
    RouteMatch,
    RouteTable,
    Skipped,
    StringMatch,
    VirtualHost,
    WeightedCluster,
)
from tulle.model.service import Port, Protocol
from tulle.resources.networking.common import Destination
from tulle.resources.networking.sidecar import EgressProxy

HTTP_PROXY = "http_proxy"
"""The route table of the forward proxy."""
_CONNECT = RouteMatch(headers=(HeaderMatch(name=":method", match=StringMatch(compare=Compare.EXACT, value="CONNECT")),))
_INSIDE = Route(name="connect", match=_CONNECT, action=Forward(clusters=(WeightedCluster(cluster=clusters.CONNECT),), connect=True))
"""HTTP inside of CONNECT is routed like HTTP outside of it."""


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
    listed = tuple(scope.listed())
    steered = [s for b in listed if (s := scope.steering(b.key.host))]
    own_hosts = tuple(_hosts_without_service(scope))
    reached = _reached(scope, listed, [*steered, *(s for _, s in own_hosts)])
    found: list[Cluster] = [clusters.BLACK_HOLE_CLUSTER]
    placed = clusters.placed((b, scope.tuning(b.key.host)) for b in reached)
    for backend in (b for b in reached if b.key.host not in placed.inline):
        found += secured(scope, backend, clusters.clusters(backend, scope.tuning(backend.key.host), memo), memo)
    hosts = _distinct([*_service_hosts(scope, listed, memo), *(_bare_host(scope, h, s, memo) for h, s in own_hosts)])
    return Outbound(
        scope=scope,
        backends=reached,
        by_host={b.key.host: b for b in reached},
        clusters=layer(("outbound clusters", scope.id), memo, clusters=tuple(found)),
        placed=placed,
        egress=egress.listeners(scope, partial(_hosts_on, scope, memo)),
        forward=_forward(scope, hosts, memo),
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


def _reached(scope: Scope, listed: Iterable[Backend], steerings: Iterable[Steering]) -> tuple[Backend, ...]:
    """What callers may name, and what rules send them to."""
    found = {b.key.host: b for b in listed}
    if proxy := egress_proxy(scope):
        found[proxy.key.host] = proxy
    for steering in dict.fromkeys(steerings):
        found.update((t, backend) for t in steering.targets if (backend := scope.backends.get(t)))
    return tuple(found[host] for host in sorted(found))


def _hosts_without_service(scope: Scope) -> Iterator[tuple[str, Steering]]:
    """Hosts of VirtualServices that stand for no service: they are served on port 80 (BEHAVIOURS 15). So are those of Consul's entries."""
    rules = scope.structure.rules
    mesh = rules.mesh
    for host, found in (*mesh.exact.items(), *mesh.wild):
        if host in scope.backends or (names.is_wildcard(host) and any(names.covers(host, known) for known in scope.backends)):
            continue
        first = next((s for s in found if scope.sees(s)), None)
        if first is not None:
            yield host, first
    alone = (host for host in rules.chains if host not in scope.backends)
    yield from ((host, rules.chains[host]) for host in alone if not any(scope.sees(s) for _, s in mesh.candidates(host)))


def _hosts_on(scope: Scope, memo: Memo, listed: Iterable[Backend], number: int) -> tuple[VirtualHost, ...]:
    """The services on one port, with or without that port behind the name, and all other hosts."""
    hosts = _distinct(_service_hosts(scope, listed, memo, only=number))
    bare = tuple(replace(h, domains=tuple(dict.fromkeys(d.removesuffix(f":{number}") for d in h.domains))) for h in hosts)
    return (*bare, *_rest(scope, hosts))


def _service_hosts(scope: Scope, listed: Iterable[Backend], memo: Memo, only: int = 0) -> Iterator[VirtualHost]:
    """On all ports, or on `only` one."""
    for backend in listed:
        steering = scope.steering(backend.key.host)
        tuning = scope.tuning(backend.key.host)
        for port in (p for p in backend.ports if only in (0, p.number)):
            # The short name is for clients of the namespace in the host, which is not always the one that declares it.
            viewer = scope.id if steering else backend.key.host.endswith(f".{scope.namespace}.svc.{scope.domain}")
            name = ("vhost", backend.key, port.number, viewer, tuning.key if tuning else None)
            made_from = (backend, tuning, *scope.footing(steering))
            yield memo.get(name, made_from, partial(_virtual_host, scope, backend, port, steering))


def _virtual_host(scope: Scope, backend: Backend, port: Port, steering: Steering | None) -> VirtualHost:
    place = Place(scope=scope, port=port.number, dialled=backend.service.virtual)
    http = port.protocol.is_http or port.protocol is Protocol.AUTO
    routes, skipped = service_routes(backend, steering, place) if http else ((), ())
    connect = _INSIDE if port.protocol.is_http else _tunnel(backend, steering, place)
    return VirtualHost(
        name=f"{backend.key.host}:{port.number}",
        domains=names.domains(_forms(scope, backend), port.number),
        routes=(connect, *routes),
        skipped=skipped,
    )


def service_routes(backend: Backend, steering: Steering | None, place: Place) -> tuple[tuple[Route, ...], tuple[Skipped, ...]]:
    """The rules for a service, or its default route where no rule is in force."""
    routes, skipped = http_routes(steering, place) if steering else ((), ())
    return routes or (default_route(place, backend),), skipped


def _tunnel(backend: Backend, steering: Steering | None, place: Place) -> Route:
    """CONNECT to a port that does not speak plain HTTP: the bytes go straight to the service."""
    serve, source = tcp_routes.to_service(backend, steering, place, backend.key.host)
    return Route(name="connect", match=_CONNECT, action=Forward(clusters=serve.clusters, connect=True), source=source)


def _forms(scope: Scope, backend: Backend) -> tuple[str, ...]:
    virtual = (names.bracketed(a) for a in backend.service.virtual if names.is_address(a))
    return (*names.aliases(backend.key.host, scope.namespace, scope.domain), *virtual)


def _bare_host(scope: Scope, host: str, steering: Steering, memo: Memo) -> VirtualHost:
    name = ("bare vhost", host, scope.id)
    return memo.get(name, scope.footing(steering), lambda: _bare(scope, host, steering))


def _bare(scope: Scope, host: str, steering: Steering) -> VirtualHost:
    routes, skipped = http_routes(steering, Place(scope=scope, port=80))
    shown = names.bracketed(host) if names.is_address(host) else host
    forms = names.aliases(shown, scope.namespace, scope.domain)
    return VirtualHost(name=f"{host}:80", domains=names.domains(forms, 80), routes=(_INSIDE, *routes), skipped=skipped)


def _distinct(hosts: Iterable[VirtualHost]) -> tuple[VirtualHost, ...]:
    """Sorted by name, and no domain twice, which no proxy would take: full names come before short forms, then the first wins."""
    ordered = sorted((h for h in hosts if h.routes), key=lambda h: h.name)
    owner: dict[str, str] = {}
    for host in ordered:
        owner.setdefault(host.name, host.name)
        if host.name.endswith(":80"):
            owner.setdefault(host.name.removesuffix(":80"), host.name)
    for host in ordered:
        for domain in host.domains:
            owner.setdefault(domain, host.name)
    return tuple(kept for host in ordered if (kept := _kept(host, owner)).domains)


def _kept(host: VirtualHost, owner: dict[str, str]) -> VirtualHost:
    if all(owner[d] == host.name for d in host.domains):
        return host
    return replace(host, domains=tuple(d for d in host.domains if owner[d] == host.name))


def _forward(scope: Scope, hosts: tuple[VirtualHost, ...], memo: Memo) -> Layer:
    rest = _rest(scope, hosts)
    table = memo.get(("http_proxy", scope.id), (*hosts, *rest), lambda: RouteTable(name=HTTP_PROXY, virtual_hosts=(*hosts, *rest)))
    return layer(
        ("forward", scope.id),
        memo,
        listeners=(_INTERNAL,),
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
            Route(name="connect", match=_CONNECT, action=Forward(clusters=to, connect=True)),
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
