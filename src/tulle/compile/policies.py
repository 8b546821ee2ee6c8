"""DestinationRules: how connections to a service are balanced, pooled and judged, by port and subset (BEHAVIOURS 7, 21 to 23)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from tulle.model.identity import selects
from tulle.model.resource import Key, Source
from tulle.model.service import Endpoint
from tulle.model.traffic import (
    Algorithm,
    ConnectionPool,
    Distribution,
    HashOn,
    HashPolicy,
    LoadBalancer,
    LocalityRules,
    OutlierDetection,
    Pings,
    RetryBudget,
    TcpKeepalive,
    TrafficPolicy,
    Tunnel,
    Utilization,
)
from tulle.resources.networking import traffic_policy as spec
from tulle.resources.networking.destination_rule import Subset
from tulle.resources.networking.tls import ClientTls, ClientTlsMode

_ALGORITHMS = {
    spec.SimpleLb.LEAST_CONN: Algorithm.LEAST_REQUEST,
    spec.SimpleLb.LEAST_REQUEST: Algorithm.LEAST_REQUEST,
    spec.SimpleLb.ROUND_ROBIN: Algorithm.ROUND_ROBIN,
    spec.SimpleLb.RANDOM: Algorithm.RANDOM,
    spec.SimpleLb.PASSTHROUGH: Algorithm.PASSTHROUGH,
}
_WARMED = frozenset({Algorithm.ROUND_ROBIN, Algorithm.LEAST_REQUEST, Algorithm.BACKEND_UTILIZATION})
_ZERO = timedelta(0)
DEFAULT = TrafficPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The parts of a policy that override one another as wholes."""

    load_balancer: spec.LoadBalancer | None = None
    connection_pool: spec.ConnectionPool | None = None
    outlier_detection: spec.OutlierDetection | None = None
    tunnel: spec.Tunnel | None = None
    proxy_protocol: spec.ProxyProtocol | None = None
    retry_budget: spec.RetryBudget | None = None
    tls: ClientTls | None = None


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
    choosers: Mapping[str, Callable[[Endpoint], bool]] = field(default_factory=dict)
    """By subset, what tells its instances, where labels do not."""
    standing_in: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """By subset (`*` for all), the hosts and subsets whose endpoints are asked when none of its own are left."""

    def traffic_policy(self, port: int, subset: str = "") -> TrafficPolicy:
        return compiled(self._blocks(port, subset))

    def client_tls(self, port: int, subset: str = "") -> ClientTls | None:
        return self._blocks(port, subset).tls

    @property
    def encrypts(self) -> bool:
        return any(rule.mode in (ClientTlsMode.SIMPLE, ClientTlsMode.MUTUAL) for rule in self._tls_rules())

    @property
    def credentials(self) -> tuple[str, ...]:
        """The names of all Secrets that its TLS settings speak of."""
        return tuple(dict.fromkeys(rule.credential_name for rule in self._tls_rules() if rule.credential_name))

    def _tls_rules(self) -> Iterator[ClientTls]:
        for policy in (self.policy, *(subset.traffic_policy for subset, _ in self.subsets.values())):
            for blocks in (policy, *policy.port_level_settings) if policy else ():
                if blocks.tls:
                    yield blocks.tls

    def _blocks(self, port: int, subset: str) -> Blocks:
        blocks = _for_port(Blocks(), self.policy, port)
        known = self.subsets.get(subset)
        return _for_port(blocks, known[0].traffic_policy, port) if known else blocks

    def holds(self, subset: str, endpoint: Endpoint) -> bool:
        """Whether an instance is one of a subset."""
        if chooser := self.choosers.get(subset):
            return chooser(endpoint)
        return selects(self.subsets[subset][0].labels, endpoint.labels)

    def stand_ins(self, subset: str) -> tuple[tuple[str, str], ...]:
        return self.standing_in.get(subset) or self.standing_in.get("*", ())

    def source(self, subset: str) -> Source:
        return self.subsets[subset][1] if subset in self.subsets else self.policy_source


def _for_port(base: Blocks, policy: spec.TrafficPolicy | None, port: int) -> Blocks:
    """Blocks that are set override; settings of the very port replace all blocks, so what they lack goes back to its default."""
    if policy is None:
        return base
    base = replace(
        base,
        tunnel=policy.tunnel or base.tunnel,
        proxy_protocol=policy.proxy_protocol or base.proxy_protocol,
        retry_budget=policy.retry_budget or base.retry_budget,
    )
    for own in policy.port_level_settings:
        if own.port.number == port:
            return _with(base, own, Blocks())
    return _with(base, policy, base)


def _with(base: Blocks, own: spec.PolicyBlocks, rest: Blocks) -> Blocks:
    """`base` with the blocks that can be set for a port, those that are not set from `rest`."""
    return replace(
        base,
        load_balancer=own.load_balancer or rest.load_balancer,
        connection_pool=own.connection_pool or rest.connection_pool,
        outlier_detection=own.outlier_detection or rest.outlier_detection,
        tls=own.tls or rest.tls,
    )


def compiled(blocks: Blocks) -> TrafficPolicy:
    return TrafficPolicy(
        load_balancer=load_balancer(blocks.load_balancer),
        connection_pool=connection_pool(blocks.connection_pool),
        outlier_detection=outlier_detection(blocks.outlier_detection),
        retry_budget=_retry_budget(blocks.retry_budget),
        proxy_protocol=_PROXY_VERSIONS[blocks.proxy_protocol.version] if blocks.proxy_protocol else None,
        tunnel=_tunnel(blocks.tunnel),
    )


_PROXY_VERSIONS = {spec.ProxyProtocolVersion.V1: 1, spec.ProxyProtocolVersion.V2: 2}


def _retry_budget(rule: spec.RetryBudget | None) -> RetryBudget | None:
    if rule is None:
        return None
    return RetryBudget(
        percent=20.0 if rule.percent is None else rule.percent,
        interval=rule.budget_interval,
        min_concurrency=3 if rule.min_retry_concurrency is None else rule.min_retry_concurrency,
    )


def _tunnel(rule: spec.Tunnel | None) -> Tunnel | None:
    if rule is None:
        return None
    return Tunnel(host=rule.target_host, port=rule.target_port, post=rule.protocol is spec.TunnelProtocol.POST)


def load_balancer(rule: spec.LoadBalancer | None) -> LoadBalancer:
    return replace(_algorithm(rule), locality=_places(rule)) if rule else LoadBalancer()


_ENOUGH = 6
"""Endpoints that the caller's region must have for zones to be looked at where nothing is said: Envoy's default."""


def _places(rule: spec.LoadBalancer) -> LocalityRules | None:
    """Zones speak before places, where both are set."""
    zones = rule.zone_aware_lb_setting
    if zones is None or zones.enabled is False:
        return _locality(rule.locality_lb_setting)
    return LocalityRules(
        zones=zones.min_cluster_size or _ENOUGH,
        failover=tuple((f.from_, f.to) for f in zones.failover),
        failover_priority=zones.failover_priority,
    )


def _locality(rule: spec.LocalityLb | None) -> LocalityRules | None:
    if rule is None:
        return None
    return LocalityRules(
        enabled=rule.enabled is not False,
        distribute=tuple(Distribution(caller=d.from_ or "*", shares=tuple(d.to.items())) for d in rule.distribute),
        failover=tuple((f.from_, f.to) for f in rule.failover),
        failover_priority=rule.failover_priority,
    )


def _algorithm(rule: spec.LoadBalancer) -> LoadBalancer:
    if rule.consistent_hash is not None:
        return _hashed(rule.consistent_hash)
    if rule.backend_utilization is not None:
        return _by_utilization(rule.backend_utilization, rule.warmup)
    algorithm = _ALGORITHMS.get(rule.simple, Algorithm.LEAST_REQUEST) if rule.simple else Algorithm.LEAST_REQUEST
    return _warmed(algorithm, rule.warmup)


def _by_utilization(rule: spec.BackendUtilization, warmup: spec.Warmup | None) -> LoadBalancer:
    found = Utilization(
        metrics=rule.metric_names_for_computing_utilization,
        error_penalty_percent=rule.error_utilization_penalty_percent,
        blackout=rule.weight_stabilization_period,
        expiration=rule.weight_expiration_period,
        update=rule.weight_update_period,
    )
    return replace(_warmed(Algorithm.BACKEND_UTILIZATION, warmup), utilization=found)


def _warmed(algorithm: Algorithm, rule: spec.Warmup | None) -> LoadBalancer:
    if rule is None or algorithm not in _WARMED:
        return LoadBalancer(algorithm=algorithm)
    percent, aggression = rule.minimum_percent, rule.aggression
    return LoadBalancer(
        algorithm=algorithm,
        warmup=rule.duration,
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
        attributes = tuple((a.name, a.value or "") for a in cookie.attributes)
        return HashPolicy(
            on=HashOn.COOKIE, name=cookie.name, cookie_path=cookie.path or "", cookie_ttl=cookie.ttl, cookie_attributes=attributes
        )
    return HashPolicy(on=HashOn.SOURCE_IP)


def connection_pool(rule: spec.ConnectionPool | None) -> ConnectionPool:
    """Zero is the same as unset (BEHAVIOURS 22)."""
    if rule is None:
        return ConnectionPool()
    tcp, http = rule.tcp or spec.TcpPool(), rule.http or spec.HttpPool()
    keepalive, pings = tcp.tcp_keepalive, http.http2_keep_alive
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
        pings=Pings(interval=pings.interval, timeout=pings.timeout) if pings else None,
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
        error_codes=rule.outlier_detection_http_error_codes,
    )
