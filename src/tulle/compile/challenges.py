"""How gateways answer an authority that asks whether a host is ours: before any policy, and for no other request.

HTTP-01 is answered on every port with plain HTTP, as nobody knows which of them the world sees as port 80; TLS-ALPN-01 on every port with a
server for the host that ends TLS, even while this has no certificate yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tulle.compile import names, tls, to_tls
from tulle.compile.mesh import Mesh
from tulle.compile.served import Served, servers
from tulle.model.challenges import ALPN, Challenge, ChallengeType
from tulle.model.proxy import FilterChain, HttpConnections, Listener, Node, Role
from tulle.model.routing import Compare, DirectResponse, Route, RouteMatch, RouteTable, StringMatch, VirtualHost
from tulle.model.tls import Certificate, DownstreamTls

Challenges = tuple[Challenge, ...]


def answers(mesh: Mesh, node: Node, kind: ChallengeType, host: str) -> bool:
    """Whether a proxy has a port on which it can answer for a host."""
    if node.role is not Role.GATEWAY:
        return False
    there = servers(mesh.structure.rules, node.labels, node.bind, privileged=node.privileged_ports)
    wanted = _takes_http if kind is ChallengeType.HTTP_01 else ends_for
    return any(wanted(server, host) for server in there if not server.dropped)


def _takes_http(server: Served, _host: str) -> bool:
    return server.protocol.is_http and not server.udp


def ends_for(server: Served, host: str) -> bool:
    """Whether a server ends TLS for a host."""
    spec = server.spec.tls
    passes = spec is not None and spec.mode in tls.PASSING
    return server.protocol.is_tls and not passes and any(names.covers(pattern, host) for _, pattern in server.hosts)


# === HTTP-01


def in_table(table: RouteTable, challenges: Challenges, logins: tuple[str, ...]) -> RouteTable:
    """The table with the answers in front. `logins`: the names of all that asks callers who they are, which these requests pass by."""
    asked: dict[str, list[Route]] = {}
    for one in challenges:
        if one.kind is ChallengeType.HTTP_01:
            asked.setdefault(one.host, []).append(_answer(one, logins))
    for host, routes in asked.items():
        table = replace(table, virtual_hosts=tuple(_with_host(table, host, tuple(routes))))
    return table


def _answer(of: Challenge, logins: tuple[str, ...]) -> Route:
    return Route(
        name="acme-challenge",
        match=RouteMatch(path=StringMatch(compare=Compare.EXACT, value=of.path)),
        action=DirectResponse(status=200, body=of.answer.encode()),
        unguarded=logins,
        source=of.source,
    )


def _with_host(table: RouteTable, host: str, routes: tuple[Route, ...]) -> Iterator[VirtualHost]:
    """What took the host's requests takes them still, after the answers."""
    taking = _taking(table, host)
    if taking is None or host not in taking.domains:
        yield _answering(replace(taking, name=f"{taking.name}>{host}", domains=(host,)) if taking else _nothing(host), routes)
    for one in table.virtual_hosts:
        yield _answering(one, routes) if one is taking and host in one.domains else one


def _nothing(host: str) -> VirtualHost:
    return VirtualHost(name=f"acme>{host}", domains=(host,), routes=())


def _taking(table: RouteTable, host: str) -> VirtualHost | None:
    """As proxies choose: the name itself, then the longest pattern."""
    fitting = ((len(domain), one) for one in table.virtual_hosts for domain in one.domains if names.covers(domain, host))
    exact = next((one for one in table.virtual_hosts if host in one.domains), None)
    return exact or max(fitting, key=lambda found: found[0], default=(0, None))[1]


def _answering(of: VirtualHost, routes: tuple[Route, ...]) -> VirtualHost:
    """A host that sends callers to HTTPS does so for all other requests."""
    return replace(of, routes=(*routes, *((to_tls.USUAL,) if of.require_tls else ()), *of.routes), require_tls=False)


# === TLS-ALPN-01


def chains(found: Iterable[FilterChain], group: Iterable[Served], challenges: Challenges) -> tuple[FilterChain, ...]:
    """The chains that servers on one address need beside their own."""
    there, servers_ = list(found), tuple(group)
    asked = {one.host: one for one in challenges if one.kind is ChallengeType.TLS_ALPN_01}
    made: list[FilterChain] = []
    for host, one in asked.items():
        if any(ends_for(server, host) for server in servers_):
            made += (_chain(one), *_kept(there, host))
    return tuple(made)


def _chain(of: Challenge) -> FilterChain:
    """Ends with the handshake: whoever comes so has nothing to ask beyond it."""
    name = f"{ALPN}>{of.host}"
    nothing = HttpConnections(stat_prefix="acme", routes=RouteTable(name=name, virtual_hosts=()), edge=True)
    shown = DownstreamTls(certificates=(of.certificate.name,), protocols=(ALPN,))
    return FilterChain(name=name, serve=nothing, server_names=(of.host,), application_protocols=(ALPN,), tls=shown, source=of.source)


def _kept(there: list[FilterChain], host: str) -> Iterator[FilterChain]:
    """Proxies look at the most specific name first and never go back: what took the host by a pattern takes it by its name, too."""
    for subnets in dict.fromkeys(chain.destination_cidrs for chain in there):
        group = [chain for chain in there if chain.destination_cidrs == subnets]
        fitting = {n for chain in group for n in chain.server_names or ("*",) if names.covers(n, host)}
        best = host if host in fitting else max(fitting, key=len, default="")
        for chain in group if best not in ("", host) else ():
            if best in (chain.server_names or ("*",)):
                yield replace(chain, name=f"{chain.name}>{host}", server_names=(host,))


def certificates(listeners: Iterable[Listener], challenges: Challenges) -> Iterator[Certificate]:
    """Those that the chains of some listeners show."""
    shown = {name for listener in listeners for chain in listener.chains if chain.tls for name in chain.tls.certificates}
    return (one.certificate for one in challenges if one.chain and one.certificate.name in shown)
