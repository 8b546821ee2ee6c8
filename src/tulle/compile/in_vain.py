"""What rules say in vain: of ports, gateways and protocols that nothing they are for has."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tulle.compile import names, protocols, tls
from tulle.compile.catalog import Backend
from tulle.compile.findings import Found
from tulle.compile.scope import Scope
from tulle.compile.steering import Steering, TcpRule, TlsRule
from tulle.model.resource import Resource, Source
from tulle.model.service import Port, Protocol
from tulle.resources.networking.destination_rule import DestinationRule
from tulle.resources.networking.gateway import Gateway, Server
from tulle.resources.networking.traffic_policy import (
    ConsistentHash,
    H2UpgradePolicy,
    HttpPool,
    PolicyBlocks,
    TrafficPolicy,
)
from tulle.resources.networking.virtual_service import HttpMatch, TcpMatch, TlsMatch
from tulle.resources.paths import camel

Match = HttpMatch | TcpMatch | TlsMatch
_NEEDS = {
    "http": "is for HTTP",
    "tcp": "is for other protocols than HTTP",
    "tls": "passes TLS on",
}
"""Kinds of rules, and what a port must be like on which they can be in force."""
_LACKS = {
    "http": "carries no HTTP",
    "tcp": "carries HTTP, or passes TLS on",
    "tls": "passes no TLS on",
}
"""What a port is like on which they cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where the rules of a VirtualService can be in force."""

    ports: Mapping[int, Collection[str]]
    """Numbers, and the kinds of rules that can be in force there."""

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(kind for kinds in self.ports.values() for kind in kinds)


def reach(scope: Scope, steering: Steering, gateways: Collection[Resource[Gateway]]) -> Reach | None:
    """None where that cannot be told, as something that the document is for is not known, or other documents delegate to it.

    `gateways`: those of its gateways that exist.
    """
    mesh = names.MESH in steering.gateways
    services = list(_services(scope, steering)) if mesh else []
    if not steering.hosts or (mesh and not services) or len(gateways) + mesh < len(steering.gateways):
        return None
    servers = [server for gateway in gateways for server in gateway.spec.servers]
    ports = [port for backend in services for port in backend.service.ports]
    found: dict[int, set[str]] = {}
    for number, kinds in (*((p.number, _of_port(p)) for p in ports), *((s.port.number, _of_server(s)) for s in servers)):
        found.setdefault(number, set()).update(kinds)
    return Reach(ports=found)


def _services(scope: Scope, steering: Steering) -> Iterator[Backend]:
    for host in steering.hosts:
        if backend := scope.backends.get(host):
            yield backend
        elif names.is_wildcard(host):
            yield from (b for h, b in scope.backends.items() if names.covers(host, h))


def _of_port(port: Port) -> Collection[str]:
    if port.protocol is Protocol.AUTO:
        return _NEEDS
    return ("http",) if port.protocol.is_http else ("tcp",) if port.protocol is Protocol.UDP else ("tcp", "tls")


def _of_server(server: Server) -> Collection[str]:
    protocol = protocols.named(server.port.protocol) or Protocol.HTTP
    if protocol.is_tls and (server.tls is None or server.tls.mode in tls.PASSING):
        return ("tls",)
    return ("http",) if protocol.is_http or protocol is Protocol.HTTPS else ("tcp",)


def rules(steering: Steering, found: Reach | None) -> Iterator[Found]:
    """Rules, and conditions of rules, of a VirtualService that never hold."""
    whom = _whom(steering)
    ports = found.ports if found else {}
    there = found.kinds if found else frozenset(_NEEDS)
    for kind, needs in _NEEDS.items():
        if getattr(steering, kind) and kind not in there:
            yield steering.resource.at(f"spec.{kind}"), f"not in force: no port of its {whom} {needs}"
    for kind, source, match in _matches(steering):
        yield from _conditions(steering, source, match)
        if why := _port(match.port, kind, ports, whom) if kind in there else "":
            yield source, f"never matches: {why}"


def _whom(steering: Steering) -> str:
    parts = (("hosts", names.MESH in steering.gateways), ("gateways", steering.gateways != {names.MESH}))
    return " and ".join(word for word, named in parts if named)


def _matches(steering: Steering) -> Iterator[tuple[str, Source, Match]]:
    for rule in steering.http:
        yield from (("http", condition.source, condition.spec) for condition in rule.conditions if condition.spec)
    connections: tuple[TcpRule | TlsRule, ...] = (*steering.tcp, *steering.tls)
    for whole in connections:
        matches: tuple[Match, ...] = whole.spec.match
        for i, match in enumerate(matches):
            kind = "tls" if isinstance(match, TlsMatch) else "tcp"
            yield kind, steering.resource.at(f"{whole.source.field}.match[{i}]"), match


def _port(number: int | None, kind: str, ports: Mapping[int, Collection[str]], whom: str) -> str:
    """Why a rule of this kind cannot be in force on the port that it asks for."""
    if not number or not ports:
        return ""
    if number not in ports:
        return f"none of its {whom} has port {number} (they have {', '.join(map(str, sorted(ports)))})"
    return "" if kind in ports[number] else f"port {number} of its {whom} {_LACKS[kind]}"


def _conditions(steering: Steering, source: Source, match: Match) -> Iterator[Found]:
    own = {name for written in match.gateways if (name := names.gateway_name(written, source.key.namespace)) in steering.gateways}
    if match.gateways and not own:
        yield source, f"never matches: {', '.join(match.gateways)} is none of this VirtualService's gateways"


def settings(resource: Resource[object], spec: DestinationRule, ports: Sequence[Port]) -> Iterator[Found]:
    """What a DestinationRule says that means nothing for what is spoken on any of the ports it is for."""
    policies = [("spec.trafficPolicy", spec.traffic_policy)]
    policies += ((f"spec.subsets[{i}].trafficPolicy", subset.traffic_policy) for i, subset in enumerate(spec.subsets))
    for path, policy in policies if ports else ():
        if policy is None:
            continue
        own = {port.port.number for port in policy.port_level_settings}
        rest = [port for port in ports if port.number not in own] or ports
        for field, why in (*_of_blocks(policy, _Spoken.on(rest), policy), *_of_policy(policy, _Spoken.on(ports))):
            yield resource.at(f"{path}.{field}"), why
        for i, blocks in enumerate(policy.port_level_settings):
            there = _Spoken.on([port for port in ports if port.number == blocks.port.number])
            for field, why in _of_blocks(blocks, there, policy) if there else ():
                yield resource.at(f"{path}.portLevelSettings[{i}].{field}"), why


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spoken:
    """What is spoken on some ports."""

    http: bool
    http2: bool
    bytes: bool
    """Over connections, but not HTTP."""

    @classmethod
    def on(cls, ports: Iterable[Port]) -> _Spoken | None:
        spoken = {port.protocol for port in ports}
        if not spoken:
            return None
        return cls(
            http=any(p.is_http or p is Protocol.AUTO for p in spoken),
            http2=any(p.is_http2 or p is Protocol.AUTO for p in spoken),
            bytes=any(not p.is_http and p is not Protocol.UDP for p in spoken),
        )


_NO_HTTP = "has no effect: no HTTP is spoken there"
_NO_HTTP2 = "has no effect: endpoints are spoken to by HTTP/1.1 there"
_DATAGRAMS = "has no effect on datagrams"
_HTTP_ONLY = (
    *("http2_max_requests", "max_requests_per_connection", "max_retries", "idle_timeout"),
    *("use_client_protocol", "max_concurrent_streams", "http2_keep_alive"),
)
_HTTP2_ONLY = ("max_concurrent_streams", "http2_keep_alive")


def _of_blocks(blocks: PolicyBlocks, spoken: _Spoken | None, policy: TrafficPolicy) -> Iterator[tuple[str, str]]:
    if spoken is None:
        return
    pool = blocks.connection_pool.http if blocks.connection_pool else None
    if pool and not policy.tunnel:
        yield from ((f"connectionPool.http.{camel(name)}", why) for name, why in _of_pool(pool, spoken))
    balancer = blocks.load_balancer
    if balancer and balancer.consistent_hash and not spoken.http and (name := _asked(balancer.consistent_hash)):
        yield f"loadBalancer.consistentHash.{camel(name)}", f"{_NO_HTTP}, so each connection goes anywhere"
    if not spoken.http and not spoken.bytes:
        yield from ((camel(name), _DATAGRAMS) for name in ("tls", "outlier_detection") if getattr(blocks, name))


def _of_pool(pool: HttpPool, spoken: _Spoken) -> Iterator[tuple[str, str]]:
    if not spoken.http:
        yield from ((name, _NO_HTTP) for name in _HTTP_ONLY if getattr(pool, name))
        if pool.h2_upgrade_policy is H2UpgradePolicy.UPGRADE:
            yield "h2_upgrade_policy", _NO_HTTP
    elif not spoken.http2 and not pool.use_client_protocol and pool.h2_upgrade_policy is not H2UpgradePolicy.UPGRADE:
        yield from ((name, _NO_HTTP2) for name in _HTTP2_ONLY if getattr(pool, name))


def _asked(rule: ConsistentHash) -> str:
    """What of a request is hashed."""
    return next((n for n in ("http_header_name", "http_cookie", "http_query_parameter_name") if getattr(rule, n)), "")


def _of_policy(policy: TrafficPolicy, spoken: _Spoken | None) -> Iterator[tuple[str, str]]:
    if spoken is None:
        return
    if policy.tunnel and not spoken.bytes:
        yield "tunnel", "has no effect: only connections that are not HTTP are put into tunnels, and there are none"
    if policy.retry_budget and not spoken.http:
        yield "retryBudget", _NO_HTTP
    if policy.proxy_protocol and not spoken.http and not spoken.bytes:
        yield "proxyProtocol", _DATAGRAMS
