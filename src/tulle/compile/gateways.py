"""What the proxies at the mesh's edge serve (BEHAVIOURS 9): Gateways whose selector picks them, and the VirtualServices bound to those."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from tulle.compile import challenges, edge_tables, edge_tls, http3, names, tls, to_tls
from tulle.compile import tcp as tcp_routes
from tulle.compile.memo import Memo
from tulle.compile.routes import Place
from tulle.compile.scope import Scope
from tulle.compile.screens import before
from tulle.compile.served import Served, in_force
from tulle.model.proxy import Direction, FilterChain, HttpConnections, Listener, TcpConnections
from tulle.model.resource import Key
from tulle.model.routing import RouteTable
from tulle.resources.annotations import Switch


def listeners(scope: Scope, served: Iterable[Served], memo: Memo) -> tuple[tuple[Listener, ...], tuple[RouteTable, ...]]:
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
            serve = edge_tables.http(f"http.{declared}", group)
            chains: tuple[FilterChain, ...] = (FilterChain(name=f"http.{declared}", serve=serve, source=group[0].source),)
        elif group[0].protocol.is_tls:
            chains, own = edge_tls.chains(scope, group, memo)
            ended += own
        else:
            chains = _tcp_chains(scope, group[0], memo)
        if chains:
            made = replace(_listener(address, port, declared, _guarded(scope, chains, group), group), original_source=_source(scope, group))
            quic = http3.over_quic(made) if made.http3_port else None
            found += [made, quic] if quic else [made]
    secure = to_tls.doors(itertools.chain.from_iterable(ports.values()))
    made_tables = (edge_tables.table(scope, f"http.{port}", port, group, memo, secure) for port, group in sorted(tables.items()))
    plain = (_answering(scope, table, memo) for table in made_tables)
    kept = (memo.get(("edge listener", scope.id, made.name), (made,), partial(_same, made)) for made in found)
    return tuple(kept), (*plain, *sorted(ended, key=lambda t: t.name))


def _answering(scope: Scope, table: RouteTable, memo: Memo) -> RouteTable:
    """With the answers to authorities that ask whether hosts are ours."""
    asked, logins = scope.structure.challenges, scope.structure.logins
    if not asked:
        return table
    return memo.get(("answers", scope.id, table.name), (table, asked, logins), lambda: challenges.in_table(table, asked, logins.names))


def _same(listener: Listener) -> Listener:
    """The last one stays as long as the next ones are equal: what was made of it is then used again."""
    return listener


def _guarded(scope: Scope, chains: tuple[FilterChain, ...], group: list[Served]) -> tuple[FilterChain, ...]:
    """The same chains, with the policies that hold there."""
    guards, structure = scope.structure.rules.guards.seen_from(scope.backends), scope.structure
    authentications, logins = structure.authentications, structure.logins
    rate_limits, screens = structure.rules.rate_limits, structure.rules.screens
    asking = (authentications, logins, rate_limits, screens, structure.rules.transcodings)
    chains = tuple(tls.bounded(chain, structure.settings.connection_life) for chain in chains)
    if group[0].udp or not (guards.policies or any(one.by_namespace for one in asking)):
        return chains
    served: dict[Key, frozenset[str]] = {}
    for server in group:
        served[server.gateway] = served.get(server.gateway, frozenset()) | {host for _, host in server.hosts}
    ports = frozenset(p for s in group for p in (s.declared_port, s.port))
    tokens = authentications.at_edge(scope.namespace, scope.labels, served)
    shown = logins.at_edge(scope.namespace, scope.labels, served)
    limits = rate_limits.at_edge(scope.namespace, scope.labels, served)
    written = structure.rules.transcodings.at_edge(scope.namespace, scope.labels, served)
    of_requests, of_connections = (guards.at_edge(scope.namespace, scope.labels, served, ports, requests=kind) for kind in (True, False))
    screen, of_addresses = (screens.at_edge(scope.namespace, scope.labels, served, requests=kind) for kind in (True, False))

    def guarded(serve: HttpConnections | TcpConnections) -> HttpConnections | TcpConnections:
        if isinstance(serve, HttpConnections):
            return replace(serve, screen=screen, logins=shown, access=of_requests, tokens=tokens, limits=limits, transcodings=written)
        return replace(serve, access=before(of_addresses.access, of_connections))

    return tuple(replace(chain, serve=guarded(chain.serve)) for chain in chains)


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


def _source(scope: Scope, group: list[Served]) -> int | None:
    """The mark of packets that bear the caller's address; all servers on one port have it in common."""
    asked = next((s.original_source for s in group if s.original_source.on), None)
    return asked.number if asked and scope.id.transparent else None


def _tcp_chains(scope: Scope, server: Served, memo: Memo) -> tuple[FilterChain, ...]:
    """For each pair of subnets the first rule that holds; without any the port is not opened. Datagrams have one chain only."""
    place = Place(scope=scope, port=server.declared_port, gateways=frozenset((server.name,)), udp=server.udp)
    steerings = in_force(scope, server, memo)
    name = f"{'udp' if server.udp else 'tcp'}.{server.declared_port}"
    base = FilterChain(name=name, serve=TcpConnections(stat_prefix=name, clusters=()))
    if not server.udp:
        return tcp_routes.by_subnets(steerings, place, base)
    rules = (rule for steering in steerings if (rule := tcp_routes.matching(steering, place)))
    return tuple(replace(base, serve=tcp_routes.by_rule(rule, place), source=rule.source) for rule in itertools.islice(rules, 1))
