"""What a VirtualService names that is not there, or that another one has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from tulle.compile import match, names
from tulle.compile.findings import Found
from tulle.compile.routes import target
from tulle.compile.scope import Scope
from tulle.compile.steering import Condition, Steering, TcpRule, TlsRule
from tulle.compile.tcp import strays
from tulle.model.resource import Resource, Source
from tulle.resources.networking.common import Destination
from tulle.resources.networking.gateway import Gateway

_CLOSED = "its connections are closed"
_STRAYS = "a wildcard leads to the host that is asked for, which may be none of its own here"
Rivals = Iterable[tuple[str, int, tuple[Steering, ...]]]
"""A host, its place among those of a VirtualService, and all that name it, from the oldest."""


def destination_problems(scope: Scope, steering: Steering) -> Iterator[Found]:
    """Destinations that lead nowhere, as seen from the VirtualService's own namespace."""
    for place, destination, namespace, effect, rule in _destinations(steering):
        backend = scope.backends.get(names.resolve(destination.host, namespace, scope.domain))
        some_port = backend.ports[0].number if backend and backend.ports else 0
        found = target(scope, destination, namespace, some_port)
        if found.why and effect is _CLOSED and backend and (ports := backend.served(udp=True)):
            # A `tcp` rule also speaks for the datagrams that come to its port.
            datagrams = target(scope, destination, namespace, ports[0].number, udp=True)
            if not datagrams.why:
                continue
            found = found if backend.ports else datagrams
        why = found.why or (_STRAYS if rule and strays(rule, found) else "")
        if why:
            yield place, f"{why}: {effect}"


def _destinations(steering: Steering) -> Iterator[tuple[Source, Destination, str, str, TcpRule | TlsRule | None]]:
    """Each with what becomes of what is sent there, and the rule where it is one for whole connections."""
    refused = "its requests are answered with 503"
    for rule in steering.http:
        spec = rule.spec
        for i, shared in enumerate(spec.route):
            yield rule.at(f"route[{i}].destination"), shared.destination, rule.namespace, refused, None
        for i, copied in enumerate(spec.mirrors):
            yield rule.at(f"mirrors[{i}].destination"), copied.destination, rule.namespace, "nothing is mirrored there", None
        if spec.mirror is not None:
            yield rule.at("mirror"), spec.mirror, rule.namespace, "nothing is mirrored there", None
    connections: tuple[TcpRule | TlsRule, ...] = (*steering.tcp, *steering.tls)
    for whole in connections:
        for i, part in enumerate(whole.spec.route):
            where = steering.resource.at(f"{whole.source.field}.route[{i}].destination")
            yield where, part.destination, steering.namespace, _CLOSED, whole


def claim_problems(steering: Steering) -> Iterator[Found]:
    """Matches on tokens in calls between workloads, whose proxies look at no tokens on the way out."""
    for rule in steering.http if names.MESH in steering.gateways else ():
        for condition in rule.conditions:
            if condition.spec and (claim := match.claim_in(condition.spec)):
                yield condition.source, f"{claim} is known at gateways only: calls between workloads never match"


def gateway_problems(steering: Steering, known: tuple[Resource[Gateway], ...]) -> Iterator[Found]:
    """Gateways that do not exist, and hosts that none of a gateway's servers offers."""
    by_name = {f"{g.key.namespace}/{g.key.name}": g for g in known}
    for index, written in enumerate(steering.resource.spec.gateways):
        name = names.gateway_name(written, steering.namespace)
        if name == names.MESH:
            continue
        source = steering.resource.at(f"spec.gateways[{index}]")
        if name not in by_name:
            yield source, f"Gateway {name} does not exist"
        elif steering.hosts and not any(_offers(by_name[name], host, steering.namespace) for host in steering.hosts):
            yield source, f"Gateway {name} ({by_name[name].origin}) serves none of the hosts {', '.join(steering.hosts)}"


def _offers(gateway: Resource[Gateway], host: str, namespace: str) -> bool:
    for offered in (h for server in gateway.spec.servers for h in server.hosts):
        wanted, _, pattern = offered.rpartition("/")
        home = gateway.key.namespace if wanted == "." else wanted
        if home in ("", "*", namespace) and names.overlap(pattern.lower(), host):
            return True
    return False


def host_problems(steering: Steering, rivals: Rivals) -> Iterator[Found]:
    """Hosts that an older VirtualService has to itself: sidecars never join two (BEHAVIOURS 6)."""
    for host, index, owners in rivals:
        older = itertools.takewhile(lambda s: s.key != steering.key, owners)
        other = next((s for s in older if _meet(s, steering)), None)
        if other is not None:
            where = f"VirtualService {other.namespace}/{other.key.name} ({other.resource.origin})"
            yield steering.resource.at(f"spec.hosts[{index}]"), f"{where} is older and has host {host} to itself on sidecars"


def route_problems(steering: Steering, routed: Iterable[tuple[str, int, Steering]]) -> Iterator[Found]:
    """Hosts of services that have routes of the Gateway API, which go before VirtualServices on sidecars."""
    for host, index, other in routed:
        where = f"{other.key.kind} {other.resource.key.namespace}/{other.key.name} ({other.resource.origin})"
        yield steering.resource.at(f"spec.hosts[{index}]"), f"{where} is for service {host}, and goes first on sidecars"


def _meet(one: Steering, other: Steering) -> bool:
    """Whether some namespace sees both."""
    spots = {ns for s in (one, other) for ns in (s.namespace, *s.export_to)}
    return any(one.exported_to(ns) and other.exported_to(ns) for ns in spots)


def left_out_on_sidecars(steering: Steering) -> Iterator[Found]:
    """Conditions on the caller's address, which sidecars do not see."""
    if names.MESH not in steering.gateways:
        return
    for tcp in steering.tcp:
        for i, match_ in enumerate(tcp.spec.match):
            if match_.source_subnet and (not match_.gateways or names.MESH in match_.gateways):
                where = steering.resource.at(f"{tcp.source.field}.match[{i}].sourceSubnet")
                yield where, "not in force on sidecars, which leave the match out: gateways honour it"


def unreached(steering: Steering) -> Iterator[Found]:
    """Rules behind one that takes every request from every caller."""
    final: Source | None = None
    for rule in steering.http:
        for condition in rule.conditions:
            if final is not None:
                yield condition.source, f"never reached: {final.field} ({final.origin}) takes every request"
            elif _takes_all(condition):
                final = condition.source


def _takes_all(condition: Condition) -> bool:
    spec = condition.spec
    if spec is None:
        return True
    limited = spec.port or spec.source_labels or spec.source_namespace or spec.gateways
    return not limited and match.route_match(spec).catches_all
