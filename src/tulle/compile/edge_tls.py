"""What gateways serve over TLS: HTTPS ended here, TLS ended here, and TLS passed on by the name that callers ask for (BEHAVIOURS 9)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tulle.compile import challenges, edge_tables, names, tls
from tulle.compile import tcp as tcp_routes
from tulle.compile.catalog import Backend
from tulle.compile.gatewayapi import listener_tls
from tulle.compile.gatewayapi.servers import ListenerServer
from tulle.compile.memo import Memo
from tulle.compile.routes import Place
from tulle.compile.scope import Scope
from tulle.compile.served import Served, in_force
from tulle.model.proxy import Cluster, EndpointGroup, FilterChain, TcpConnections
from tulle.model.routing import DirectResponse, Route, RouteMatch, RouteTable, VirtualHost, WeightedCluster
from tulle.model.service import Protocol
from tulle.model.tls import DownstreamTls
from tulle.resources.networking.tls import ServerTls, ServerTlsMode

Part = TypeVar("Part", Cluster, EndpointGroup)


@dataclass(slots=True)
class _Port:
    """The chains of one address. No two may take the same connections: the first that names a host has it."""

    taken: set[tuple[object, ...]] = field(default_factory=set)
    chains: list[FilterChain] = field(default_factory=list)

    def add(self, chain: FilterChain) -> bool:
        """Adds a chain for those of its hosts that are not taken; False where there are none."""
        more = (chain.destination_cidrs, chain.source_cidrs, chain.application_protocols)
        wanted = chain.server_names or ("",)
        free = tuple(n for n in dict.fromkeys(wanted) if (n, more) not in self.taken)
        self.taken.update((n, more) for n in free)
        if free:
            self.chains.append(replace(chain, server_names=tuple(n for n in free if n)))
        return bool(free)


def chains(scope: Scope, group: Iterable[Served], memo: Memo) -> tuple[tuple[FilterChain, ...], tuple[RouteTable, ...]]:
    """What TLS servers on one address do. One that lacks its certificate is left out, and the others go on."""
    port, tables = _Port(), list[RouteTable]()
    for server in group:
        spec = server.spec.tls
        if spec is None:
            continue
        if spec.mode in tls.PASSING:
            passed = _passed(scope, server, memo) if spec.mode is ServerTlsMode.PASSTHROUGH else _to_services(scope, server)
            for chain in passed:
                port.add(chain)
        elif isinstance(ended := _ended(scope, server, spec), DownstreamTls):
            made = _https_table(scope, server, memo) if server.protocol is Protocol.HTTPS else None
            own = (_https(server, ended, made),) if made else _tcp(scope, server, ended, memo)
            added = [port.add(chain) for chain in own]
            if made and any(added):
                tables.append(made)
    for chain in challenges.chains(port.chains, group, scope.structure.challenges):
        port.add(chain)
    return tuple(_completed(port)), tuple(tables)


def _completed(port: _Port) -> Iterator[FilterChain]:
    """Proxies take the longest prefix of the address dialled before they look at a name, and never go back.

    So a chain for all addresses is there once more for each subnet that another chain speaks of.
    """
    subnets_ = dict.fromkeys(cidr for chain in port.chains for cidr in chain.destination_cidrs)
    for chain in list(port.chains):
        yield chain
        for cidr in subnets_ if not chain.destination_cidrs else ():
            there = replace(chain, name=f"{chain.name}>{cidr}", destination_cidrs=(cidr,))
            if port.add(there):
                yield port.chains[-1]


def _ended(scope: Scope, server: Served, spec: ServerTls) -> DownstreamTls | tls.Missing:
    if isinstance(server.spec, ListenerServer):
        return listener_tls.downstream(server.spec.ended, scope.keyring, http=server.protocol is Protocol.HTTPS)
    if spec.mode is ServerTlsMode.ISTIO_MUTUAL:
        return tls.gateway_of_the_mesh(spec, scope.structure.settings.believed, http=server.protocol is Protocol.HTTPS)
    return tls.downstream(spec, scope.keyring, server.gateway.namespace, http=server.protocol is Protocol.HTTPS)


def _server_names(hosts: Iterable[str]) -> tuple[str, ...]:
    """As a chain matches them: none where any name will do."""
    found = tuple(dict.fromkeys(h.lower() for h in hosts))
    return () if "*" in found else found


def _https_table(scope: Scope, server: Served, memo: Memo) -> RouteTable:
    name = f"https.{server.declared_port}.{server.spec.port.name}.{server.gateway.name}.{server.gateway.namespace}"
    table = edge_tables.table(scope, name, server.declared_port, [server], memo)
    return _telling(table, server.spec.others, server) if isinstance(server.spec, ListenerServer) else table


def _telling(table: RouteTable, others: tuple[str, ...], server: Served) -> RouteTable:
    """With 421 (RFC 9110, 15.5.20) for the hosts of other listeners, so that callers make other connections to them."""
    if not others:
        return table
    away = Route(name="misdirected", match=RouteMatch(), action=DirectResponse(status=421), source=server.source)
    own = {domain for host in table.virtual_hosts if host.routes for domain in host.domains}
    found = [VirtualHost(name=f"misdirected:{host}", domains=(host,), routes=(away,)) for host in others if host not in own]
    kept = [host for host in table.virtual_hosts if host.routes or not set(host.domains) & set(others)]
    return replace(table, virtual_hosts=(*kept, *found))


def _https(server: Served, ended: DownstreamTls, table: RouteTable) -> FilterChain:
    return FilterChain(
        name=table.name,
        serve=edge_tables.http(table.name, [server]),
        server_names=_server_names(host for _, host in server.hosts),
        tls=ended,
        source=server.source,
    )


def _tcp(scope: Scope, server: Served, ended: DownstreamTls, memo: Memo) -> tuple[FilterChain, ...]:
    """For each pair of subnets the first TCP rule that holds takes all that comes out of TLS."""
    name = f"tls.{server.declared_port}.{server.spec.port.name}.{server.gateway.name}.{server.gateway.namespace}"
    steerings = in_force(scope, server, memo)
    base = FilterChain(
        name=name,
        serve=TcpConnections(stat_prefix=name, clusters=()),
        server_names=_server_names(host for _, host in server.hosts),
        tls=ended,
    )
    return tcp_routes.by_subnets(steerings, _place(scope, server), base)


def _passed(scope: Scope, server: Served, memo: Memo) -> Iterator[FilterChain]:
    """Rules by server name, as far as the server offers the names."""
    place = _place(scope, server)
    for steering in in_force(scope, server, memo):
        offered = tuple(pattern for ns, pattern in server.hosts if ns in ("*", steering.namespace))
        for rule, match in tcp_routes.tls_matches(steering, place):
            wanted = [common for sni in match.sni_hosts for p in offered if (common := names.overlap(p, sni.lower()))]
            if wanted:
                serve = tcp_routes.by_rule(rule, place)
                yield FilterChain(
                    name=f"{rule.source.key.name}.{rule.source.field}",
                    serve=serve,
                    server_names=_server_names(wanted),
                    destination_cidrs=match.destination_subnets,
                    source=rule.source,
                )


def _place(scope: Scope, server: Served) -> Place:
    return Place(scope=scope, port=server.declared_port, gateways=frozenset((server.name,)))


def direct(scope: Scope, server: Served) -> Iterator[Backend]:
    """The services that an AUTO_PASSTHROUGH server leads to: no wildcards, as callers ask for a service by its name."""
    if server.spec.tls and server.spec.tls.mode is ServerTlsMode.AUTO_PASSTHROUGH:
        patterns = [pattern for ns, pattern in server.hosts]
        yield from (b for h, b in scope.backends.items() if not names.is_wildcard(h) and any(names.covers(p, h) for p in patterns))


def passing(made: Iterable[Cluster]) -> Iterator[Cluster]:
    """Without TLS of this proxy's own: callers speak it with the endpoints."""
    return (replace(cluster, tls=None, mesh_tls=None) for cluster in made)


def by_sni(made: Iterable[Part]) -> Iterator[Part]:
    """Clusters or endpoints under the names that sidecars ask for. For datagrams they ask for none."""
    for part in made:
        kind, port, subset, host = part.name.split("|", 3)
        if kind == "outbound" and port.isdecimal():
            yield replace(part, name=names.sni_name(host, int(port), subset))


def _to_services(scope: Scope, server: Served) -> Iterator[FilterChain]:
    """Each port and subset of the services under its own name. The bytes stay as they are, mutual TLS of sidecars included."""
    for backend in direct(scope, server):
        tuning = scope.tuning(backend.key.host)
        for port in backend.ports:
            for subset in ("", *(tuning.subsets if tuning else ())):
                name = names.sni_name(backend.key.host, port.number, subset)
                serve = tcp_routes.connections((WeightedCluster(cluster=name),), _place(scope, server))
                yield FilterChain(
                    name=name, serve=serve, server_names=(name,), application_protocols=tls.MESH_PROTOCOLS, source=server.source
                )
