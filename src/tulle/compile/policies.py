"""DestinationRules: how connections to a service are balanced, pooled and judged, by port and subset (BEHAVIOURS 7, 21 to 23)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from tulle.model.resource import Key, Source
from tulle.model.traffic import Algorithm, ConnectionPool, HashOn, HashPolicy, LoadBalancer, OutlierDetection, TcpKeepalive, TrafficPolicy
from tulle.resources.networking import traffic_policy as spec
from tulle.resources.networking.destination_rule import Subset

_ALGORITHMS = {
    spec.SimpleLb.LEAST_CONN: Algorithm.LEAST_REQUEST,
    spec.SimpleLb.LEAST_REQUEST: Algorithm.LEAST_REQUEST,
    spec.SimpleLb.ROUND_ROBIN: Algorithm.ROUND_ROBIN,
    spec.SimpleLb.RANDOM: Algorithm.RANDOM,
    spec.SimpleLb.PASSTHROUGH: Algorithm.PASSTHROUGH,
}
_WARMED = frozenset({Algorithm.ROUND_ROBIN, Algorithm.LEAST_REQUEST})
_ZERO = timedelta(0)
DEFAULT = TrafficPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The parts of a policy that override one another as wholes."""

    load_balancer: spec.LoadBalancer | None = None
    connection_pool: spec.ConnectionPool | None = None
    outlier_detection: spec.OutlierDetection | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuning:
    """What the DestinationRules of one namespace say about one host. Equal by identity."""

    key: Key
    """The oldest of them: the one whose policy holds."""
    members: tuple[Key, ...]
    host: str
    policy: spec.TrafficPolicy | None
    policy_source: Source
    subsets: Mapping[str, tuple[Subset, Source]]
    overruled: Mapping[Key, tuple[tuple[Source, str], ...]]
    """By document, the parts that another one keeps from being in force."""
    export_to: tuple[str, ...] = ()
    selector: Mapping[str, str] | None = None
    """In force only for clients with these labels, in its own namespace."""

    def traffic_policy(self, port: int, subset: str = "") -> TrafficPolicy:
        blocks = _for_port(Blocks(), self.policy, port)
        known = self.subsets.get(subset)
        return compiled(_for_port(blocks, known[0].traffic_policy, port) if known else blocks)

    def labels(self, subset: str) -> Mapping[str, str]:
        return self.subsets[subset][0].labels

    def source(self, subset: str) -> Source:
        return self.subsets[subset][1] if subset in self.subsets else self.policy_source


def _for_port(base: Blocks, policy: spec.TrafficPolicy | None, port: int) -> Blocks:
    """Blocks that are set override; settings of the very port replace all blocks, so what they lack goes back to its default."""
    if policy is None:
        return base
    for own in policy.port_level_settings:
        if own.port.number == port:
            return _blocks(own)
    mine = _blocks(policy)
    return Blocks(
        load_balancer=mine.load_balancer or base.load_balancer,
        connection_pool=mine.connection_pool or base.connection_pool,
        outlier_detection=mine.outlier_detection or base.outlier_detection,
    )


def _blocks(policy: spec.PolicyBlocks) -> Blocks:
    return Blocks(load_balancer=policy.load_balancer, connection_pool=policy.connection_pool, outlier_detection=policy.outlier_detection)


def compiled(blocks: Blocks) -> TrafficPolicy:
    return TrafficPolicy(
        load_balancer=load_balancer(blocks.load_balancer),
        connection_pool=connection_pool(blocks.connection_pool),
        outlier_detection=outlier_detection(blocks.outlier_detection),
    )


def load_balancer(rule: spec.LoadBalancer | None) -> LoadBalancer:
    if rule is None:
        return LoadBalancer()
    if rule.consistent_hash is not None:
        return _hashed(rule.consistent_hash)
    algorithm = _ALGORITHMS.get(rule.simple, Algorithm.LEAST_REQUEST) if rule.simple else Algorithm.LEAST_REQUEST
    if rule.warmup is None or algorithm not in _WARMED:
        return LoadBalancer(algorithm=algorithm)
    percent, aggression = rule.warmup.minimum_percent, rule.warmup.aggression
    return LoadBalancer(
        algorithm=algorithm,
        warmup=rule.warmup.duration,
        warmup_minimum_percent=10.0 if percent is None else percent,
        warmup_aggression=1.0 if aggression is None else aggression,
    )


def _hashed(rule: spec.ConsistentHash) -> LoadBalancer:
    policy = _hash_policy(rule)
    if rule.maglev is not None:
        return LoadBalancer(algorithm=Algorithm.MAGLEV, hash=policy, table_size=rule.maglev.table_size or None)
    ring = rule.ring_hash.minimum_ring_size if rule.ring_hash else 0
    return LoadBalancer(algorithm=Algorithm.RING_HASH, hash=policy, minimum_ring_size=ring or 1024)


def _hash_policy(rule: spec.ConsistentHash) -> HashPolicy:
    if rule.http_header_name:
        return HashPolicy(on=HashOn.HEADER, name=rule.http_header_name.lower())
    if rule.http_query_parameter_name:
        return HashPolicy(on=HashOn.QUERY, name=rule.http_query_parameter_name)
    if cookie := rule.http_cookie:
        return HashPolicy(on=HashOn.COOKIE, name=cookie.name, cookie_path=cookie.path or "", cookie_ttl=cookie.ttl)
    return HashPolicy(on=HashOn.SOURCE_IP)


def connection_pool(rule: spec.ConnectionPool | None) -> ConnectionPool:
    """Zero is the same as unset (BEHAVIOURS 22)."""
    if rule is None:
        return ConnectionPool()
    tcp, http = rule.tcp or spec.TcpPool(), rule.http or spec.HttpPool()
    keepalive = tcp.tcp_keepalive
    return ConnectionPool(
        max_connections=tcp.max_connections or None,
        connect_timeout=tcp.connect_timeout or timedelta(seconds=10),
        keepalive=TcpKeepalive(probes=keepalive.probes, time=keepalive.time, interval=keepalive.interval) if keepalive else None,
        max_connection_duration=tcp.max_connection_duration,
        tcp_idle_timeout=tcp.idle_timeout,
        max_pending_requests=http.http1_max_pending_requests or None,
        max_requests=http.http2_max_requests or None,
        max_requests_per_connection=http.max_requests_per_connection or None,
        max_retries=http.max_retries or None,
        idle_timeout=http.idle_timeout or tcp.idle_timeout,
        max_concurrent_streams=http.max_concurrent_streams or None,
        use_client_protocol=http.use_client_protocol,
        upgrade_to_http2=http.h2_upgrade_policy is spec.H2UpgradePolicy.UPGRADE,
    )


def outlier_detection(rule: spec.OutlierDetection | None) -> OutlierDetection | None:
    """The old `consecutiveErrors` counts 5xx answers and failed connections, as it reads."""
    if rule is None:
        return None
    errors = rule.consecutive_5xx_errors if rule.consecutive_5xx_errors is not None else rule.consecutive_errors
    return OutlierDetection(
        consecutive_5xx=5 if errors is None else errors or None,
        consecutive_gateway_errors=rule.consecutive_gateway_errors or None,
        split_external_local_errors=rule.split_external_local_origin_errors,
        consecutive_local_failures=rule.consecutive_local_origin_failures or None,
        interval=rule.interval or timedelta(seconds=10),
        base_ejection_time=rule.base_ejection_time or timedelta(seconds=30),
        max_ejection_percent=rule.max_ejection_percent or 10,
        min_health_percent=rule.min_health_percent or 0,
    )
