"""Servers of Gateways at a proxy of the mesh's edge: which it serves and where, and which rules are bound to them (BEHAVIOURS 9)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace

from tulle.compile import names, protocols, tables, tls
from tulle.compile.gatewayapi import servers as servers_of_listeners
from tulle.compile.gatewayapi.attach import GATEWAY
from tulle.compile.gatewayapi.servers import ListenerServer
from tulle.compile.memo import Memo
from tulle.compile.rules import Rules
from tulle.compile.scope import Scope
from tulle.compile.steering import Steering
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Labels, selects
from tulle.model.resource import Key, Resource, Source
from tulle.model.service import Protocol
from tulle.resources import annotations as asked
from tulle.resources.annotations import NO_TOPOLOGY, Switch, Topology, proxy_annotation
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
    original_source: Switch = Switch()
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
        original_source=asked.original_source(gateway.annotations),
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
        common = sorted(_plain_hosts(first) & _plain_hosts(other))
        return f"host {common[0]} on port {other.port.number} is already served" if common else ""
    return "" if two.is_http else f"port {other.port.number} is already served as {first.port.protocol}"


def _clash(first: Served, other: Served) -> str:
    joined = first.protocol.is_http and other.protocol.is_http
    if first.declared_port != other.declared_port and not joined:
        return f"port {first.declared_port} of Gateway {first.name} is served on {first.port} already"
    why = clash(first.spec, other.spec)
    return f"{why} of Gateway {first.name} ({first.source.origin})" if why else ""


def _plain_hosts(server: Server) -> frozenset[str]:
    """Without the namespaces that they are for, which the first packet of TLS does not tell."""
    return frozenset(written.rpartition("/")[2].lower() for written in server.hosts)


Bound = Mapping[Hashable, Steering]
_NOTHING: Bound = FrozenMap()


def bound(scope: Scope, server: Served, memo: Memo) -> Mapping[str, Bound]:
    """The VirtualServices in force at a server, from the oldest, under each of the hosts that both speak of."""
    wanted, namespace = server.hosts, scope.namespace

    def common(steering: Steering) -> tuple[str, ...]:
        if not steering.exported_to(namespace):
            return ()
        patterns = [pattern for home, pattern in wanted if home in ("*", steering.namespace)]
        found = (names.overlap(pattern, host) for host in steering.hosts for pattern in patterns)
        return tuple(dict.fromkeys(host for host in found if host))

    rules = scope.structure.rules.by_gateway.get(server.name, _NOTHING)
    return tables.grouped(memo, ("bound", scope.id, server.gateway, server.index), rules, common, (server.name, wanted))


def in_force(scope: Scope, server: Served, memo: Memo) -> dict[Steering, None]:
    """The VirtualServices in force at a server, each once, from the oldest."""
    there = {id_ for group in bound(scope, server, memo).values() for id_ in group}
    return {steering: None for id_, steering in scope.structure.rules.by_gateway.get(server.name, _NOTHING).items() if id_ in there}


def targets(scope: Scope, server: Served, memo: Memo) -> frozenset[str]:
    """Full names of all services that the rules in force at a server send to."""
    return frozenset[str]().union(*(steering.targets for steering in in_force(scope, server, memo)))
