"""Route tables of gateways: a virtual host for each host that a server offers and a VirtualService speaks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tulle.compile import http3, names, tables, to_tls
from tulle.compile.memo import Memo
from tulle.compile.routes import Place, http_routes
from tulle.compile.scope import Scope
from tulle.compile.served import Bound, Served, bound
from tulle.compile.steering import Parts, Steering
from tulle.model.proxy import HttpConnections
from tulle.model.routing import RouteTable, Skipped, VirtualHost
from tulle.resources.annotations import ForwardCertificate


def http(routes: str, group: list[Served]) -> HttpConnections:
    """How requests are served whose routes stand in the table of a name."""
    details = next((d for s in group if (d := s.topology.forward_client_cert_details) is not ForwardCertificate.UNDEFINED), None)
    return HttpConnections(
        stat_prefix=f"{group[0].address}_{group[0].port}",
        routes=routes,
        edge=True,
        trusted_hops=next((n for s in group if (n := s.topology.num_trusted_proxies)), 0),
        forward_client_cert=details.value if details else "",
        http3=any(map(http3.offered, group)),
    )


def table(scope: Scope, name: str, port: int, group: list[Served], memo: Memo, secure: to_tls.Doors = ()) -> RouteTable:
    """The table of the servers of one declared port. `secure`: where the proxy serves TLS."""
    tls_only = frozenset(host for s in group if s.protocol.is_http and s.spec.tls and s.spec.tls.https_redirect for _, host in s.hosts)
    spoken = _spoken(scope, group, memo)
    own, encrypted = frozenset(s.name for s in group), group[0].protocol.is_tls

    plain = tuple((s.gateway, s.port) for s in group)
    secure = secure if tls_only else ()

    def made_of(host: str, parts: list[Parts]) -> VirtualHost:
        made = _virtual_host(host, port, parts)
        return to_tls.redirecting(made, to_tls.port(host, plain, secure)) if _redirected(host, tls_only) else made

    def make(host: str, found: tuple[tuple[Bound, int], ...]) -> VirtualHost:
        return made_of(host, list(_parts(scope, port, own, found, encrypted=encrypted)))

    which = (scope.id, name)
    made_from = (scope.structure.ground, port, own, encrypted, tls_only, plain, secure)
    made = tables.each(memo, ("edge hosts", *which), spoken, make, made_from)
    found = {host.name: host for host in made.values() if host.routes or host.require_tls}
    found.update((f"{host}:{port}", made_of(host, [])) for host in tls_only - spoken.keys())
    if not found:
        found = {"": VirtualHost(name=f"blackhole:{port}", domains=("*",), routes=())}
    hosts = tuple(tables.ordered(memo, ("edge hosts", *which), found, lambda host: host.name).values())
    return memo.get(("edge table", *which), hosts, lambda: RouteTable(name=name, virtual_hosts=hosts, ignore_port_in_host=True))


def _spoken(scope: Scope, group: list[Served], memo: Memo) -> dict[str, tuple[tuple[Bound, int], ...]]:
    """By host, what is bound to each of the servers that speak for it, with the port that the server declares."""
    found: dict[str, tuple[tuple[Bound, int], ...]] = {}
    for server in group:
        own = _spoken_at(scope, server, memo)
        both = {host: (*found[host], *own[host]) for host in found.keys() & own.keys()}
        found.update(own)
        found.update(both)
    return found


def _spoken_at(scope: Scope, server: Served, memo: Memo) -> Mapping[str, tuple[tuple[Bound, int], ...]]:
    which, port = ("spoken", scope.id, server.gateway, server.index), server.declared_port
    return tables.each(memo, which, bound(scope, server, memo), lambda _, own: ((own, port),), (port,))


def _parts(scope: Scope, port: int, own: frozenset[str], found: Iterable[tuple[Bound, int]], *, encrypted: bool) -> Iterator[Parts]:
    """The routes of each VirtualService for a host, from the oldest.

    A rule knows the port that its own Gateway declares, though a proxy that may not bind it serves it together with another.
    """
    ports: defaultdict[Steering, set[int]] = defaultdict(set)
    for group, declared in found:
        for steering in group.values():
            ports[steering].add(declared)
    for steering in sorted(ports, key=lambda s: s.age):
        declared = port if port in ports[steering] else min(ports[steering])
        yield http_routes(steering, Place(scope=scope, port=declared, gateways=own & steering.gateways, encrypted=encrypted))


def _redirected(host: str, tls_only: frozenset[str]) -> bool:
    return any(names.covers(pattern, host) for pattern in tls_only)


def _virtual_host(host: str, port: int, found: list[Parts]) -> VirtualHost:
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
    )
