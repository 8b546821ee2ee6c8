"""What one proxy is to do."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

from tulle.compile import challenges, clusters, edge_tls, gateways, inbound, names, served, sign_in, upstreams
from tulle.compile.catalog import Backend
from tulle.compile.clusters import Placed
from tulle.compile.dressing import dressed
from tulle.compile.guards import NO_GUARDS
from tulle.compile.locality import ANYWHERE, Standpoint, standpoint
from tulle.compile.memo import Memo
from tulle.compile.mesh import Mesh
from tulle.compile.originate import endpoints_for, secured
from tulle.compile.outbound import HTTP_PROXY, Outbound, layer, outbound
from tulle.compile.patching import patch_set
from tulle.compile.policies import Tuning
from tulle.compile.scope import Scope, scope_of
from tulle.compile.workloads import SERVICE
from tulle.compile.zones import Zone, caller_zones
from tulle.model.proxy import Cluster, Direction, EndpointGroup, FilterChain, HttpConnections, Layer, Listener, Node, ProxyView, Role
from tulle.model.tls import DownstreamTls, Secret, UpstreamTls


def view(mesh: Mesh, node: Node) -> ProxyView:
    """All that a proxy is to do. Proxies of one scope share their layers, and so do meshes while nothing in a layer changes."""
    scope = scope_of(mesh.structure, node, mesh.memo)
    seen = _gateway(mesh, scope, node) if node.role is Role.GATEWAY else _sidecar(mesh, scope, node)
    seen = dressed(seen, mesh.structure.rules.dressing, mesh.memo)
    patches = patch_set(mesh, node)
    return seen if patches is None else replace(seen, patches=patches)


def _sidecar(mesh: Mesh, scope: Scope, node: Node) -> ProxyView:
    found = outbound(scope, mesh.memo)
    forward = (found.forward,) if node.http_proxy or any(o.table for o in found.egress) else ()
    shared = (found.clusters, _endpoints(mesh, scope, found.backends, found.placed, node))
    own = _own(mesh, node, found)
    secrets = _secrets(mesh, scope, (own, *shared), node.id) if _ends_tls(scope) else _secrets(mesh, scope, shared)
    return ProxyView(layers=(own, *forward, *shared, *secrets))


def _ends_tls(scope: Scope) -> bool:
    """Whether the proxies of a scope may need secrets for connections that they receive."""
    return scope.sidecar is not None and any(item.tls for item in scope.sidecar.spec.ingress)


def gateway_addresses(mesh: Mesh, node: Node) -> tuple[served.Served, ...]:
    """The servers of all Gateways that pick a gateway proxy: where each is served, or why it is not (`dropped`)."""
    return served.servers(mesh.structure.rules, node.labels, node.bind, privileged=node.privileged_ports)


def _own(mesh: Mesh, node: Node, found: Outbound) -> Layer:
    """What no other proxy has: its workload's ports, its forward proxy, its upstreams."""
    memo = mesh.memo
    sidecar = found.scope.sidecar
    guards = mesh.structure.rules.guards.seen_from(found.by_host)
    posture = mesh.catalog.peers.posture(node.namespace, node.labels)
    asked = inbound.Asked(
        guards=guards,
        tokens=mesh.structure.authentications.at(node.namespace, node.labels, node.service),
        logins=mesh.structure.logins.at(node.namespace, node.labels, node.service),
        limits=mesh.structure.rules.rate_limits.at(node.namespace, node.labels, node.service),
        transcodings=mesh.structure.rules.transcodings.at(node.namespace, node.labels, node.service),
        screened=mesh.structure.rules.screens.at(node.namespace, node.labels, node.service),
    )
    upgraded = _upgraded(found.scope, node)
    made_from = (node, sidecar, posture, mesh.structure.rules.guards, tuple(guards.authorizers), replace(asked, guards=NO_GUARDS), upgraded)
    listeners, own_clusters = memo.get(("inbound", node.id), made_from, lambda: inbound.inbound(node, sidecar, posture, asked, upgraded))
    forward = memo.get(("forward listener", node.id), (node.http_proxy,), lambda: _forward_listener(node))
    more, tables = upstreams.upstreams(node, found, memo) if node.upstreams else ((), ())
    taken = {x.name for x in (*listeners, *forward, *more)}
    opened = tuple(o for o in found.egress if o.listener.name not in taken)
    return layer(
        ("own", node.id),
        memo,
        listeners=(*listeners, *forward, *more, *(o.listener for o in opened)),
        route_tables=(*tables, *(o.table for o in opened if o.table)),
        clusters=own_clusters,
    )


def _upgraded(scope: Scope, node: Node) -> frozenset[int]:
    """The ports of the workload's service for which a DestinationRule, as seen from its own namespace, says `h2UpgradePolicy: UPGRADE`."""
    tuning = scope.tuning(names.resolve(node.service, node.namespace, scope.domain)) if node.service else None
    if tuning is None:
        return frozenset()
    ways = itertools.product((port.service_port for port in node.inbound), ("", *tuning.subsets))
    return frozenset(port for port, subset in ways if tuning.traffic_policy(port, subset).connection_pool.upgrade_to_http2)


def _forward_listener(node: Node) -> tuple[Listener, ...]:
    if node.http_proxy is None:
        return ()
    address, port = node.http_proxy
    serve = HttpConnections(stat_prefix=HTTP_PROXY, routes=HTTP_PROXY, forward_proxy=True)
    chain = FilterChain(name=HTTP_PROXY, serve=serve)
    return (Listener(name=f"{address}_{port}", address=address, port=port, direction=Direction.OUTBOUND, chains=(chain,)),)


def _endpoints(mesh: Mesh, scope: Scope, backends: tuple[Backend, ...], placed: Placed, node: Node) -> Layer:
    """The endpoints of all clusters of a scope that do not hold their own, and the clusters that depend on the proxy's place."""
    peers = _peers(mesh, node) if placed.zoned else ()
    caller = standpoint(node.locality, node.labels, node.ip, placed.labels, peers) if placed.hosts else ANYWHERE
    footing = (scope.structure.ground, scope.structure.rules.gateway_api.calls, backends, placed, mesh.catalog)
    return mesh.memo.get(("endpoint layer", scope.id, caller), footing, lambda: _gathered(mesh, scope, backends, placed, caller))


def _peers(mesh: Mesh, node: Node) -> tuple[tuple[Zone, int], ...]:
    """How many instances of the proxy's own service each zone has."""
    made_from = (mesh.catalog,)
    return mesh.memo.get(
        ("peers", node.namespace, node.service),
        made_from,
        lambda: caller_zones(
            [w.endpoint.locality for w in mesh.catalog.workloads.matching(node.namespace, {SERVICE: node.service} if node.service else {})]
        ),
    )


def _gathered(mesh: Mesh, scope: Scope, backends: tuple[Backend, ...], placed: Placed, caller: Standpoint) -> Layer:
    """The same layer as before if no endpoint of the scope changed."""
    memo, edge = mesh.memo, scope.id.role is Role.GATEWAY

    def place(backend: Backend) -> Standpoint:
        return caller if backend.key.host in placed.hosts else ANYWHERE

    parts = tuple(
        endpoints_for(scope, backend, groups, memo)
        for backend in backends
        if (found := mesh.endpoint_set(backend.key))
        for tuning in (scope.tuning(backend.key.host),)
        for groups in (clusters.endpoint_groups(backend, found, tuning, memo, place(backend), _stand_ins(mesh, scope, tuning)),)
    )
    inline = tuple(
        secured(scope, b, clusters.clusters(b, scope.tuning(b.key.host), memo, edge=edge, caller=caller), memo, caller)
        for b in backends
        if b.key.host in placed.inline
    )
    flat = itertools.chain.from_iterable
    return memo.get(
        ("endpoints of", scope.id, caller), (parts, inline), lambda: Layer(endpoints=tuple(flat(parts)), clusters=tuple(flat(inline)))
    )


def _stand_ins(mesh: Mesh, scope: Scope, tuning: Tuning | None) -> dict[str, clusters.StandIn]:
    """The services that stand in for one, as far as they are known."""
    hosts = {host for legs in tuning.standing_in.values() for host, _ in legs} if tuning else set()
    known = {host: backend for host in hosts if (backend := scope.backends.get(host))}
    return {
        host: clusters.StandIn(endpoints=endpoints, tuning=scope.tuning(host))
        for host, backend in known.items()
        if (endpoints := mesh.endpoint_set(backend.key))
    }


def _gateway(mesh: Mesh, scope: Scope, node: Node) -> ProxyView:
    doors, beyond, backends, placed = mesh.memo.get(("gateway", scope.id), (scope,), lambda: _served(mesh, scope))
    layers = (doors, beyond, _endpoints(mesh, scope, backends, placed, node), *_named(mesh, scope))
    return ProxyView(layers=(*layers, *_secrets(mesh, scope, layers)))


def _named(mesh: Mesh, scope: Scope) -> tuple[Layer, ...]:
    """What AUTO_PASSTHROUGH leads to: every service, under the names that sidecars ask for, and in plain bytes."""
    memo = mesh.memo
    backends = memo.get(("asked by name", scope.id), (scope,), lambda: _askable(scope))
    if not backends:
        return ()
    made, found = list[Cluster](), list[EndpointGroup]()
    for backend in backends:
        tuning, endpoints = scope.tuning(backend.key.host), mesh.endpoint_set(backend.key)
        made += edge_tls.by_sni(edge_tls.passing(clusters.clusters(backend, tuning, memo, edge=True)))
        found += edge_tls.by_sni(clusters.endpoint_groups(backend, endpoints, tuning, memo) if endpoints else ())
    parts = (tuple(made), tuple(found))
    return (memo.get(("named layer", scope.id), parts, lambda: Layer(clusters=parts[0], endpoints=parts[1])),)


def _askable(scope: Scope) -> tuple[Backend, ...]:
    which = scope.id
    there = served.servers(scope.structure.rules, scope.labels, which.bind, privileged=which.privileged)
    return tuple(dict.fromkeys(b for server in there if not server.dropped for b in edge_tls.direct(scope, server)))


def _secrets(mesh: Mesh, scope: Scope, layers: tuple[Layer, ...], of: str = "") -> tuple[Layer, ...]:
    """A layer of the secrets that these layers name and of no others: a proxy never has one that it has no use for.

    `of`: whose layers they are, where proxies of the scope do not share them.
    """
    users = ((part.listeners, part.clusters) for part in layers)
    made_from = (*users, mesh.structure.credentials, mesh.structure.challenges)
    secrets = mesh.memo.get(("secrets", scope.id, of), made_from, lambda: _held(scope, layers))
    return (mesh.memo.get(("secret layer", scope.id, of), secrets, lambda: Layer(secrets=secrets)),) if secrets else ()


def _held(scope: Scope, layers: tuple[Layer, ...]) -> tuple[Secret, ...]:
    listeners = [listener for part in layers for listener in part.listeners]
    return (
        *scope.keyring.held(_users(layers)),
        *sign_in.secrets(listeners),
        *challenges.certificates(listeners, scope.structure.challenges),
    )


def _users(layers: tuple[Layer, ...]) -> Iterator[DownstreamTls | UpstreamTls | None]:
    for part in layers:
        yield from (chain.tls for listener in part.listeners for chain in listener.chains)
        yield from (cluster.tls for cluster in part.clusters)


def _served(mesh: Mesh, scope: Scope) -> tuple[Layer, Layer, tuple[Backend, ...], Placed]:
    """A gateway has clusters only for what its rules send to. They have a layer of their own: routes change more often."""
    which, memo = scope.id, mesh.memo
    there = served.servers(scope.structure.rules, scope.labels, which.bind, privileged=which.privileged)
    listeners, tables = gateways.listeners(scope, there, memo)
    sent = {a.host for a in scope.structure.rules.guards.authorizers.values()}
    sent.update(*(served.targets(scope, server, memo) for server in there if not server.dropped))
    hosts = tuple(sorted(filter(scope.backends.__contains__, sent)))
    footing = (scope.structure.ground, scope.structure.rules.gateway_api.calls, hosts)
    backends, placed, made = memo.get(("gateway clusters", which), footing, lambda: _sent_to(scope, hosts, memo))
    asked = memo.get(("gateway providers", which), listeners, lambda: sign_in.clusters(listeners))
    doors = layer(("gateway", which), memo, listeners=listeners, route_tables=tables)
    return doors, layer(("beyond the gateway", which), memo, clusters=(*made, *asked)), backends, placed


def _sent_to(scope: Scope, hosts: tuple[str, ...], memo: Memo) -> tuple[tuple[Backend, ...], Placed, tuple[Cluster, ...]]:
    backends = tuple(scope.backends[host] for host in hosts)
    placed = clusters.placed((b, scope.tuning(b.key.host)) for b in backends)
    made: list[Cluster] = [clusters.BLACK_HOLE_CLUSTER]
    for backend in (b for b in backends if b.key.host not in placed.inline):
        made += secured(scope, backend, clusters.clusters(backend, scope.tuning(backend.key.host), memo, edge=True), memo)
    return backends, placed, tuple(made)
