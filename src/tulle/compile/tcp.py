"""Where whole connections go: TCP rules of VirtualServices, else the service itself."""

from __future__ import annotations

from tulle.compile import names
from tulle.compile.catalog import Backend
from tulle.compile.policies import DEFAULT
from tulle.compile.routes import BLACK_HOLE, Place, target, tcp_mismatch
from tulle.compile.steering import Steering, TcpRule
from tulle.model.proxy import TcpConnections
from tulle.model.resource import Source
from tulle.model.routing import WeightedCluster
from tulle.model.traffic import HashOn, TrafficPolicy

NOWHERE = (WeightedCluster(cluster=BLACK_HOLE),)


def to_service(backend: Backend, steering: Steering | None, place: Place) -> tuple[TcpConnections, Source | None]:
    """Connections to a port of a service as callers make them, and the rule that speaks for them."""
    rule = matching(steering, place) if steering else None
    clusters = _shares(rule, place) if rule else (WeightedCluster(cluster=names.cluster_name(backend.key.host, place.port)),)
    return connections(clusters, place), rule.source if rule else None


def by_rule(rule: TcpRule, place: Place) -> TcpConnections:
    return connections(_shares(rule, place), place)


def matching(steering: Steering, place: Place) -> TcpRule | None:
    """The first rule that holds for connections of a proxy to a port."""
    for rule in steering.tcp:
        conditions = rule.spec.match
        if not conditions or any(not tcp_mismatch(place, steering.namespace, c) for c in conditions):
            return rule
    return None


def _shares(rule: TcpRule, place: Place) -> tuple[WeightedCluster, ...]:
    destinations = rule.spec.route
    chosen = destinations if len(destinations) == 1 else tuple(d for d in destinations if d.weight)
    namespace = rule.source.key.namespace
    found = [target(place.scope, d.destination, namespace, place.port).cluster or BLACK_HOLE for d in chosen]
    if len(found) == 1:
        return (WeightedCluster(cluster=found[0]),)
    return tuple(WeightedCluster(cluster=c, weight=d.weight or 0) for c, d in zip(found, chosen, strict=True)) or NOWHERE


def connections(clusters: tuple[WeightedCluster, ...], place: Place) -> TcpConnections:
    policy = _policy(clusters[0].cluster, place)
    by_source = policy.load_balancer.hash
    return TcpConnections(
        stat_prefix=clusters[0].cluster if len(clusters) == 1 else "weighted",
        clusters=clusters,
        idle_timeout=policy.connection_pool.tcp_idle_timeout,
        hash_policy=by_source if by_source and by_source.on is HashOn.SOURCE_IP else None,
        tunnel=policy.tunnel,
    )


def _policy(cluster: str, place: Place) -> TrafficPolicy:
    if not cluster.startswith("outbound|"):
        return DEFAULT
    _, port, subset, host = cluster.split("|", 3)
    tuning = place.scope.tuning(host)
    return tuning.traffic_policy(int(port), subset) if tuning else DEFAULT
