"""What the proxies at the mesh's edge serve (BEHAVIOURS 9): Gateways whose selector picks them, and the VirtualServices bound to those."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tulle.compile import edge_tls, http3, names, protocols, tls
from tulle.compile import tcp as tcp_routes
from tulle.compile.gatewayapi import servers as servers_of_listeners
from tulle.compile.gatewayapi.attach import GATEWAY
from tulle.compile.gatewayapi.servers import ListenerServer
from tulle.compile.routes import Place, http_routes
from tulle.compile.rules import Rules
from tulle.compile.scope import Scope
from tulle.compile.steering import Steering
from tulle.model.identity import Labels, selects
from tulle.model.proxy import Direction, FilterChain, HttpConnections, Listener, TcpConnections
from tulle.model.resource import Key, Resource, Source
from tulle.model.routing import Route, RouteTable, Skipped, VirtualHost
from tulle.model.service import Protocol
from tulle.resources import annotations as asked
from tulle.resources.annotations import NO_TOPOLOGY, ForwardCertificate, Switch, Topology, proxy_annotation
from tulle.resources.networking.gateway import Gateway, Server

OFFSET = 8000
"""How much higher a proxy serves a port that it has no right to bind."""
_FIRST_FREE = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server of a Gateway at one proxy."""

    gateway: Key
    index: int
    spec: Server
    source: Source
    address: str
    port: int
    """Where the proxy listens."""
    protocol: Protocol
    topology: Topology = NO_TOPOLOGY
    """What stands in front of the gateway."""
    http3: Switch = Switch()
    dropped: str = ""
    """Why it is not served; empty where it is."""

    @property
    def name(self) -> str:
        """By which rules are bound to it: as VirtualServices name the gateway, or the id of a listener."""
        if isinstance(self.spec, ListenerServer):
            return self.spec.id
        return f"{self.gateway.namespace}/{self.gateway.name}"

    @property
    def udp(self) -> bool:
        return self.protocol is Protocol.UDP

    @property
    def declared_port(self) -> int:
        return self.spec.port.number

    @property
    def hosts(self) -> tuple[tuple[str, str], ...]:
        """Namespace (or `*`) of the VirtualServices that are wanted, and host pattern."""
        pairs = (("*", h) if "/" not in h else h.split("/", 1) for h in self.spec.hosts)
        return tuple((self.gateway.namespace if ns == "." else ns, host.lower()) for ns, host in pairs)


def servers(rules: Rules, labels: Labels, bind: str, *, privileged: bool) -> tuple[Served, ...]:
    """All servers of the Gateways that pick a proxy, from the oldest, with what becomes of each."""
    picked = [g for g in rules.gateways if picks(g, labels)]
    wanted = [_server(g, i, s, bind, privileged) for g in picked for i, s in enumerate(g.spec.servers)]
    taken: dict[tuple[str, int, bool], list[Served]] = defaultdict(list)
    done = []
    for server in sorted(wanted, key=lambda s: s.port != s.declared_port):
        there = taken[server.address, server.port, server.udp]
        dropped = server.dropped or next((why for first in there if (why := _clash(first, server))), "")
        if not dropped:
            there.append(server)
        done.append(server if dropped == server.dropped else _dropped(server, dropped))
    order = {id(g): n for n, g in enumerate(picked)}
    position = {g.key: order[id(g)] for g in picked}
    return tuple(sorted(done, key=lambda s: (position[s.gateway], s.index)))


def _server(gateway: Resource[Gateway], index: int, spec: Server, bind: str, privileged: bool) -> Served:
    protocol = protocols.named(spec.port.protocol) or Protocol.HTTP
    declared = spec.port.number
    return Served(
        gateway=gateway.key,
        index=index,
        spec=spec,
        source=spec.section.source if isinstance(spec, ListenerServer) else gateway.at(f"spec.servers[{index}]"),
        address=spec.bind or bind,
        port=declared if privileged or declared >= _FIRST_FREE else declared + OFFSET,
        protocol=protocol,
        topology=proxy_annotation(gateway.annotations).topology,
        http3=asked.http3(gateway.annotations),
        dropped=unsupported(spec, protocol),
    )


def picks(gateway: Resource[Gateway], labels: Labels) -> bool:
    """Whether a Gateway is for a proxy with these labels."""
    return servers_of_listeners.picks(gateway, labels) if gateway.key.kind == GATEWAY else selects(gateway.spec.selector, labels)


def unsupported(spec: Server, protocol: Protocol) -> str:
    if protocol.is_tls and (why := tls.not_in_force(spec.tls)):
        return f"{why}, so the server is left out"
    if (spec.bind or "").startswith("unix:"):
        return "a gateway does not listen on Unix sockets"
    return ""


def _dropped(server: Served, why: str) -> Served:
    return replace(server, dropped=why)


def clash(first: Server, other: Server) -> str:
    """Why two servers on one port cannot both be served; empty where they can. HTTP joins only HTTP, and TLS only TLS for other hosts."""
    one, two = (protocols.named(s.port.protocol) or Protocol.HTTP for s in (first, other))
    if (one is Protocol.UDP) != (two is Protocol.UDP):
        return ""
    if (one.is_http, one.is_tls) != (two.is_http, two.is_tls):
        return f"{other.port.protocol} cannot share port {other.port.number} with {first.port.protocol}"
    if two.is_tls:
        common = sorted(edge_tls.hosts(first) & edge_tls.hosts(other))
        return f"host {common[0]} on port {other.port.number} is already served" if common else ""
    return "" if two.is_http else f"port {other.port.number} is already served as {first.port.protocol}"


def _clash(first: Served, other: Served) -> str:
    joined = first.protocol.is_http and other.protocol.is_http
    if first.declared_port != other.declared_port and not joined:
        return f"port {first.declared_port} of Gateway {first.name} is served on {first.port} already"
    why = clash(first.spec, other.spec)
    return f"{why} of Gateway {first.name} ({first.source.origin})" if why else ""


def listeners(scope: Scope, served: Iterable[Served]) -> tuple[tuple[Listener, ...], tuple[RouteTable, ...]]:
    ports: defaultdict[tuple[str, int, bool], list[Served]] = defaultdict(list)
    for server in served:
        if not server.dropped:
            ports[server.address, server.port, server.udp].append(server)
    for address, port, udp in tuple(ports):
        if udp and (address, port, False) in ports:  # its datagrams are not those of HTTP/3
            ports[address, port, False] = [replace(s, http3=Switch()) for s in ports[address, port, False]]
    tables: dict[int, list[Served]] = defaultdict(list)
    found, ended = [], list[RouteTable]()
    for (address, port, _), group in sorted(ports.items()):
        declared = group[0].declared_port
        if group[0].protocol.is_http:
            tables[declared] += group
            serve = _http(f"http.{declared}", group)
            chains: tuple[FilterChain, ...] = (FilterChain(name=f"http.{declared}", serve=serve, source=group[0].source),)
        elif group[0].protocol.is_tls:
            chains, own = edge_tls.chains(scope, group, edge_tls.Makers(bound=bound, http=_http, table=_table))
            ended += own
        else:
            chains = _tcp_chains(scope, group[0])
        if chains:
            made = _listener(address, port, declared, _guarded(scope, chains, group), group)
            quic = http3.over_quic(made) if made.http3_port else None
            found += [made, quic] if quic else [made]
    plain = (_table(scope, f"http.{port}", port, group) for port, group in sorted(tables.items()))
    return tuple(found), (*plain, *sorted(ended, key=lambda t: t.name))


def _http(routes: str, group: list[Served]) -> HttpConnections:
    details = next((d for s in group if (d := s.topology.forward_client_cert_details) is not ForwardCertificate.UNDEFINED), None)
    return HttpConnections(
        stat_prefix=f"{group[0].address}_{group[0].port}",
        routes=routes,
        edge=True,
        trusted_hops=next((n for s in group if (n := s.topology.num_trusted_proxies)), 0),
        forward_client_cert=details.value if details else "",
        http3=any(map(http3.offered, group)),
    )


def _guarded(scope: Scope, chains: tuple[FilterChain, ...], group: list[Served]) -> tuple[FilterChain, ...]:
    """The same chains, with the policies that hold there."""
    guards = scope.structure.rules.guards.seen_from(scope.backends)
    if not guards.policies or group[0].udp:
        return chains
    served: dict[Key, frozenset[str]] = {}
    for server in group:
        served[server.gateway] = served.get(server.gateway, frozenset()) | {host for _, host in server.hosts}
    ports = frozenset(p for s in group for p in (s.declared_port, s.port))
    by_kind = {kind: guards.at_edge(scope.namespace, scope.labels, served, ports, requests=kind) for kind in (True, False)}
    return tuple(replace(c, serve=replace(c.serve, access=by_kind[isinstance(c.serve, HttpConnections)])) for c in chains)


def _listener(address: str, port: int, declared: int, chains: tuple[FilterChain, ...], group: list[Served]) -> Listener:
    return Listener(
        name=names.listener_name(address, port, udp=group[0].udp),
        address=address,
        port=port,
        direction=Direction.OUTBOUND,
        chains=chains,
        declared_port=declared if declared != port else 0,
        sources=tuple(s.source for s in group),
        udp=group[0].udp,
        proxy_protocol=not group[0].udp and any(s.topology.proxy_protocol is not None for s in group),
        http3_port=http3.told(group),
    )


def bound(scope: Scope, server: Served) -> Iterator[tuple[str, Steering]]:
    """The VirtualServices in force at a server, from the oldest, each with the hosts that both speak of."""
    for steering in scope.structure.rules.by_gateway.get(server.name, ()):
        if not steering.exported_to(scope.namespace):
            continue
        for host in steering.hosts:
            common = {c for ns, pattern in server.hosts if ns in ("*", steering.namespace) and (c := names.overlap(pattern, host))}
            yield from ((c, steering) for c in sorted(common))


def _tcp_chains(scope: Scope, server: Served) -> tuple[FilterChain, ...]:
    """For each pair of subnets the first rule that holds; without any the port is not opened. Datagrams have one chain only."""
    place = Place(scope=scope, port=server.declared_port, gateways=frozenset((server.name,)), udp=server.udp)
    steerings = dict.fromkeys(steering for _, steering in bound(scope, server))
    name = f"{'udp' if server.udp else 'tcp'}.{server.declared_port}"
    base = FilterChain(name=name, serve=TcpConnections(stat_prefix=name, clusters=()))
    if not server.udp:
        return tcp_routes.by_subnets(steerings, place, base)
    rules = (rule for steering in steerings if (rule := tcp_routes.matching(steering, place)))
    return tuple(replace(base, serve=tcp_routes.by_rule(rule, place), source=rule.source) for rule in itertools.islice(rules, 1))


Parts = tuple[tuple[Route, ...], tuple[Skipped, ...]]


def _table(scope: Scope, name: str, port: int, group: list[Served]) -> RouteTable:
    tls_only = {host for s in group if s.protocol.is_http and s.spec.tls and s.spec.tls.https_redirect for _, host in s.hosts}
    found = _parts(scope, port, group)
    hosts = [_virtual_host(host, port, parts, _redirected(host, tls_only)) for host, parts in found.items()]
    hosts += [_virtual_host(host, port, [], True) for host in tls_only - found.keys()]
    hosts = [h for h in hosts if h.routes or h.require_tls]
    if not hosts:
        hosts = [VirtualHost(name=f"blackhole:{port}", domains=("*",), routes=())]
    return RouteTable(name=name, virtual_hosts=tuple(sorted(hosts, key=lambda h: h.name)), ignore_port_in_host=True)


def _parts(scope: Scope, port: int, group: list[Served]) -> dict[str, list[Parts]]:
    """By host, the routes of each VirtualService that is bound to one of the servers, from the oldest.

    A rule knows the port that its own Gateway declares, though a proxy that may not bind it serves it together with another.
    """
    bound_to: defaultdict[str, defaultdict[Steering, set[int]]] = defaultdict(lambda: defaultdict(set))
    for server in group:
        for host, steering in bound(scope, server):
            bound_to[host][steering].add(server.declared_port)
    own = frozenset(s.name for s in group)
    return {
        host: [
            http_routes(s, Place(scope=scope, port=port if port in found[s] else min(found[s]), gateways=own & s.gateways))
            for s in sorted(found, key=lambda s: s.age)
        ]
        for host, found in bound_to.items()
    }


def _redirected(host: str, tls_only: set[str]) -> bool:
    return any(names.covers(pattern, host) for pattern in tls_only)


def _virtual_host(host: str, port: int, found: list[Parts], require_tls: bool) -> VirtualHost:
    """Routes of several VirtualServices in one: those that take every request go last (BEHAVIOURS 6)."""
    routes = [r for part, _ in found for r in part]
    skipped = [s for _, part in found for s in part]
    ordered = sorted(routes, key=lambda r: r.match.catches_all)
    final = next((n for n, r in enumerate(ordered) if r.match.catches_all), len(ordered))
    late = [
        Skipped(source=r.source, why=f"never reached: {ordered[final].source} takes every request")
        for r in ordered[final + 1 :]
        if r.source
    ]
    return VirtualHost(
        name=f"{host}:{port}",
        domains=(host,),
        routes=tuple(ordered[: final + 1]),
        skipped=(*skipped, *late),
        require_tls=require_tls,
    )
