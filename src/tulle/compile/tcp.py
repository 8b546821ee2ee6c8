"""Where whole connections go: TCP rules of VirtualServices, else the service itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tulle.compile import names
from tulle.compile.catalog import Backend
from tulle.compile.gatewayapi.clients import dialled
from tulle.compile.policies import DEFAULT
from tulle.compile.routes import BLACK_HOLE, Place, Target, proxy_condition_mismatch, subnet_mismatch, target, tcp_mismatch
from tulle.compile.steering import Steering, TcpRule, TlsRule
from tulle.compile.subnets import Asked, cells
from tulle.model.proxy import FilterChain, TcpConnections
from tulle.model.resource import Source
from tulle.model.routing import WeightedCluster
from tulle.model.traffic import HashOn, TrafficPolicy
from tulle.resources.networking.virtual_service import TlsMatch

NOWHERE = (WeightedCluster(cluster=BLACK_HOLE),)


def to_service(backend: Backend, steering: Steering | None, place: Place, sni: str = "") -> tuple[TcpConnections, Source | None]:
    """Connections to a port of a service as callers make them, and the rule that speaks for them.

    `sni`: the name that callers ask for, where it can be told before they do.
    """
    rule = (named(steering, place, sni) or matching(steering, place)) if steering else None
    clusters = _shares(rule, place) if rule else (WeightedCluster(cluster=names.cluster_name(backend.key.host, place.port, udp=place.udp)),)
    return connections(clusters, place), rule.source if rule else None


def by_rule(rule: TcpRule | TlsRule, place: Place) -> TcpConnections:
    return connections(_shares(rule, place), place)


def matching(steering: Steering, place: Place) -> TcpRule | None:
    """The first rule that holds for connections of a proxy to a port."""
    for rule in steering.tcp:
        if rule.udp not in (None, place.udp) or not _is_for(rule, steering, place):
            continue
        conditions = rule.spec.match
        if not conditions or any(not tcp_mismatch(place, steering.namespace, c) for c in conditions):
            return rule
    return None


def _is_for(rule: TcpRule | TlsRule, steering: Steering, place: Place) -> bool:
    """Whether the place's port is the one that the rule names."""
    if not rule.port_name:
        return True
    known = (place.scope.backends.get(host) for host in steering.hosts)
    ports = (p for backend in known if backend for p in backend.served(udp=place.udp))
    return any((p.name, p.number) == (rule.port_name, place.port) for p in ports)


def by_subnets(steerings: Iterable[Steering], place: Place, base: FilterChain) -> tuple[FilterChain, ...]:
    """A chain for each pair of subnets that rules speak of, with the first rule that holds there: `base` filled in."""
    found = [pair for steering in steerings for pair in _by_address(steering, place)]
    return tuple(
        replace(
            base,
            name=f"{base.name}{cell}",
            serve=by_rule(rule, place),
            destination_cidrs=cell.destinations,
            source_cidrs=(cell.source,) if cell.source else (),
            source=rule.source,
        )
        for cell in cells([asked for _, asked in found])
        for rule in (found[cell.number][0],)
    )


def _by_address(steering: Steering, place: Place) -> Iterator[tuple[TcpRule, Asked]]:
    """The rules that hold for connections of a proxy to a port, each with what it asks of the addresses at both ends."""
    for rule in (r for r in steering.tcp if r.udp in (None, place.udp) and _is_for(r, steering, place)):
        if not rule.spec.match:
            yield rule, Asked()
        for match in rule.spec.match:
            if not proxy_condition_mismatch(place, steering.namespace, match):
                yield rule, Asked(destinations=match.destination_subnets, source=match.source_subnet or "")


def tls_matches(steering: Steering, place: Place) -> Iterator[tuple[TlsRule, TlsMatch]]:
    """The rules by server name that hold for connections of a proxy to a port, in their order."""
    for rule in steering.tls:
        for match in rule.spec.match if _is_for(rule, steering, place) else ():
            if not proxy_condition_mismatch(place, steering.namespace, match):
                yield rule, match


def named(steering: Steering, place: Place, sni: str) -> TlsRule | None:
    """The first rule for a server name."""
    found = ((r, m) for r, m in tls_matches(steering, place) if sni and not subnet_mismatch(place, m.destination_subnets))
    return next((rule for rule, match in found if any(names.covers(host.lower(), sni) for host in match.sni_hosts)), None)


def _shares(rule: TcpRule | TlsRule, place: Place) -> tuple[WeightedCluster, ...]:
    destinations = rule.spec.route
    chosen = destinations if len(destinations) == 1 else tuple(d for d in destinations if d.weight)
    namespace = rule.source.key.namespace
    targets = [_within_reach(rule, target(place.scope, d.destination, namespace, place.port, udp=place.udp)) for d in chosen]
    found = [WeightedCluster(cluster=dialled(t.cluster or BLACK_HOLE, rule.client, place.scope), dial=t.dial) for t in targets]
    if len(found) == 1:
        return tuple(found)
    return tuple(replace(share, weight=d.weight or 0) for share, d in zip(found, chosen, strict=True)) or NOWHERE


def _within_reach(rule: TcpRule | TlsRule, found: Target) -> Target:
    return Target() if strays(rule, found) else found


def strays(rule: TcpRule | TlsRule, found: Target) -> bool:
    """Whether a wildcard, which leads to the very host that is asked for, would lead to one of which it does not speak."""
    if not found.dial:
        return False
    host = names.parse_cluster_name(found.cluster)[2]
    asked = [name for match in rule.spec.match for name in match.sni_hosts] if isinstance(rule, TlsRule) else []
    return not asked or not all(names.covers(host, name.lower()) for name in asked)


def connections(clusters: tuple[WeightedCluster, ...], place: Place) -> TcpConnections:
    policy = _policy(clusters[0].cluster, place)
    by_source = policy.load_balancer.hash
    return TcpConnections(
        stat_prefix=clusters[0].cluster if len(clusters) == 1 else "weighted",
        clusters=clusters,
        idle_timeout=policy.connection_pool.tcp_idle_timeout,
        life=policy.connection_pool.max_connection_duration,
        hash_policy=by_source if by_source and by_source.on is HashOn.SOURCE_IP else None,
        tunnel=policy.tunnel,
    )


def _policy(cluster: str, place: Place) -> TrafficPolicy:
    if not names.is_outbound(cluster):
        return DEFAULT
    port, subset, host = names.parse_cluster_name(cluster)
    tuning = place.scope.tuning(host)
    return tuning.traffic_policy(port, subset) if tuning else DEFAULT
