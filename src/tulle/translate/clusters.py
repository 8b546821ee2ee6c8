"""Clusters: envoy.config.cluster.v3.Cluster."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tulle.model.proxy import Cluster
from tulle.model.service import Resolution
from tulle.model.traffic import (
    Algorithm,
    ConnectionPool,
    LoadBalancer,
    OutlierDetection,
    RetryBudget,
    TcpKeepalive,
    TrafficPolicy,
    Utilization,
)
from tulle.protos import any_, pb
from tulle.translate import dns, tls
from tulle.translate.endpoints import assignment
from tulle.translate.values import ADS, YES, ZERO, Fields, duration, number, present

NO_LIMIT = 4_294_967_295
"""Istio's default for each of Envoy's circuit breakers (BEHAVIOURS.md, 22)."""

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MAX_STREAMS = 1_073_741_824
_PONG = timedelta(seconds=20)
"""How long the answer to a PING may take where nothing is said of it, as in gRPC."""


def cluster(of: Cluster) -> Any:
    """The message for a cluster."""
    policy = of.policy
    pool = policy.connection_pool
    fields: Fields = {
        "name": of.name,
        "connect_timeout": duration(pool.connect_timeout),
        "circuit_breakers": {"thresholds": [_thresholds(pool, policy.retry_budget)]},
        "common_lb_config": _common_lb(policy),
        # A host that leaves takes no new requests; those that it has run to their end, and its connections then close.
        "ignore_health_on_host_removal": True,
    }
    fields |= _discovery(of)
    if "lb_policy" not in fields:
        fields |= _balancing(policy.load_balancer)
    if policy.outlier_detection:
        fields["outlier_detection"] = _outlier(policy.outlier_detection)
    fields |= _sockets(of)
    if pool.keepalive:
        fields["upstream_connection_options"] = {"tcp_keepalive": _keepalive(pool.keepalive)}
    if options := _http_options(of):
        fields["typed_extension_protocol_options"] = {HTTP_OPTIONS: any_(pb.HttpProtocolOptions(**options))}
    return pb.Cluster(**fields)


def _sockets(of: Cluster) -> Fields:
    """What is between the proxy and its endpoints: TLS, or nothing; with `mesh_tls` it is for each endpoint to say (Istio's names)."""
    version = of.policy.proxy_protocol
    rest = tls.upstream(of.tls) if of.tls else None
    rest = _announced(version, rest or _plain()) if version else rest
    if of.mesh_tls is None:
        return {"transport_socket": rest} if rest else {}
    mutual = tls.upstream(of.mesh_tls)
    matches = [
        {"name": "tlsMode-istio", "match": {"tlsMode": "istio"}, "transport_socket": _announced(version, mutual) if version else mutual},
        {"name": "tlsMode-disabled", "match": {}, "transport_socket": rest or _plain()},
    ]
    return {"transport_socket_matches": matches}


def _plain() -> Fields:
    return {"name": "envoy.transport_sockets.raw_buffer", "typed_config": any_(pb.RawBuffer())}


def _announced(version: int, inner: Fields) -> Fields:
    """The transport socket that tells the endpoint of the caller's address before anything else."""
    config = pb.ProxyProtocolUpstreamTransport(config={"version": f"V{version}"}, transport_socket=inner)
    return {"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": any_(config)}


def _discovery(of: Cluster) -> Fields:
    """How the cluster's endpoints are found. A policy that leaves no choice of endpoint sets `lb_policy` too."""
    if of.internal_listener:
        return _internal(of.name, of.internal_listener)
    if of.policy.load_balancer.algorithm is Algorithm.PASSTHROUGH or of.resolution is Resolution.NONE:
        return {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}
    if of.resolution is Resolution.DYNAMIC_DNS:
        config = pb.DynamicForwardProxyCluster(dns_cache_config=dns.CACHE)
        made = {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": any_(config)}
        return {"cluster_type": made, "lb_policy": "CLUSTER_PROVIDED"}
    if of.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN):
        return _dns(of)
    if of.endpoints is None:
        return {"type": "EDS", "eds_cluster_config": {"eds_config": ADS, "service_name": of.name}}
    return {"type": "STATIC", "load_assignment": assignment(of.name, of.endpoints, of.localities)}


def _internal(name: str, listener: str) -> Fields:
    endpoint = {"address": {"envoy_internal_address": {"server_listener_name": listener, "endpoint_id": name}}}
    socket = any_(pb.InternalUpstreamTransport(transport_socket=_plain()))
    return {
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}]},
        "transport_socket": {"name": "envoy.transport_sockets.internal_upstream", "typed_config": socket},
    }


def _dns(of: Cluster) -> Fields:
    """DNS uses all addresses of all names; DNS_ROUND_ROBIN the first address of one name, for each new connection."""
    config = pb.DnsCluster(
        dns_refresh_rate=duration(dns.REFRESH),
        respect_dns_ttl=True,
        dns_lookup_family="V4_PREFERRED",
        all_addresses_in_single_endpoint=of.resolution is Resolution.DNS_ROUND_ROBIN,
    )
    return {
        "cluster_type": {"name": "envoy.clusters.dns", "typed_config": any_(config)},
        "load_assignment": assignment(of.name, of.endpoints or (), of.localities),
    }


def _common_lb(policy: TrafficPolicy) -> Fields:
    """Endpoints known to be bad get no traffic, however many they are, unless the user says so (Envoy's panic mode begins at 50 %)."""
    outlier, locality = policy.outlier_detection, policy.load_balancer.locality
    fields: Fields = {
        "healthy_panic_threshold": {"value": float(outlier.min_health_percent if outlier else 0)},
        "update_merge_window": duration(ZERO),
    }
    return fields | {"locality_weighted_lb_config": {}} if locality and (locality.distribute or locality.zones) else fields


def _thresholds(pool: ConnectionPool, budget: RetryBudget | None) -> Fields:
    limits = {
        "max_connections": pool.max_connections,
        "max_pending_requests": pool.max_pending_requests,
        "max_requests": pool.max_requests,
        "max_retries": pool.max_retries,
    }
    fields: Fields = {name: number(NO_LIMIT if limit is None else limit) for name, limit in limits.items()}
    return fields | {"retry_budget": _budget(budget)} if budget else fields


def _budget(of: RetryBudget) -> Fields:
    """Takes the place of `max_retries`."""
    interval = {"budget_interval": duration(of.interval)} if of.interval else {}
    return {"budget_percent": {"value": of.percent}, "min_retry_concurrency": number(of.min_concurrency)} | interval


def _keepalive(of: TcpKeepalive) -> Fields:
    return present(
        {
            "keepalive_probes": number(of.probes) if of.probes else None,
            "keepalive_time": None if of.time is None else number(_seconds(of.time)),
            "keepalive_interval": None if of.interval is None else number(_seconds(of.interval)),
        }
    )


def _seconds(of: timedelta) -> int:
    """Whole ones: none would switch off what is asked for."""
    return max(1, round(of.total_seconds()))


def _outlier(of: OutlierDetection) -> Fields:
    """Only what is counted is enforced. One host may always go: else 10 % of three hosts would be none."""
    fields: Fields = {
        "interval": duration(of.interval),
        "base_ejection_time": duration(of.base_ejection_time),
        "max_ejection_percent": number(of.max_ejection_percent),
        "enforcing_consecutive_5xx": number(100 if of.consecutive_5xx else 0),
        "enforcing_consecutive_gateway_failure": number(100 if of.consecutive_gateway_errors else 0),
        "enforcing_success_rate": number(0),
        "always_eject_one_host": YES,
    }
    if of.consecutive_5xx:
        fields["consecutive_5xx"] = number(of.consecutive_5xx)
    if of.consecutive_gateway_errors:
        fields["consecutive_gateway_failure"] = number(of.consecutive_gateway_errors)
    return fields | (_local_errors(of) if of.split_external_local_errors else {})


def _local_errors(of: OutlierDetection) -> Fields:
    fields: Fields = {"split_external_local_origin_errors": True, "enforcing_local_origin_success_rate": number(0)}
    if of.consecutive_local_failures is not None:
        fields["consecutive_local_origin_failure"] = number(of.consecutive_local_failures)
        fields["enforcing_consecutive_local_origin_failure"] = number(100 if of.consecutive_local_failures else 0)
    return fields


def _balancing(of: LoadBalancer) -> Fields:
    if of.utilization:
        return {"load_balancing_policy": _by_utilization(of, of.utilization)}
    more = _CONFIGS.get(of.algorithm)
    policy: Fields = {"lb_policy": of.algorithm.value}
    return policy | more(of) if more else policy


def _by_utilization(of: LoadBalancer, by: Utilization) -> Fields:
    fields = present(
        {
            "blackout_period": None if by.blackout is None else duration(by.blackout),
            "weight_expiration_period": None if by.expiration is None else duration(by.expiration),
            "weight_update_period": None if by.update is None else duration(by.update),
            "error_utilization_penalty": None if by.error_penalty_percent is None else {"value": by.error_penalty_percent / 100},
        }
    )
    config = pb.ClientSideWeightedRoundRobin(**fields, metric_names_for_computing_utilization=by.metrics, **_slow_start(of))
    name = "envoy.load_balancing_policies.client_side_weighted_round_robin"
    return {"policies": [{"typed_extension_config": {"name": name, "typed_config": any_(config)}}]}


def _slow_start(of: LoadBalancer) -> Fields:
    if of.warmup is None:
        return {}
    aggression = {"default_value": of.warmup_aggression, "runtime_key": "upstream.slow_start.aggression"}
    window = {"slow_start_window": duration(of.warmup), "aggression": aggression}
    return {"slow_start_config": window | {"min_weight_percent": {"value": of.warmup_minimum_percent}}}


def _maglev(of: LoadBalancer) -> Fields:
    return {} if of.table_size is None else {"maglev_lb_config": {"table_size": number(of.table_size)}}


_CONFIGS: dict[Algorithm, Callable[[LoadBalancer], Fields]] = {
    Algorithm.ROUND_ROBIN: lambda of: {"round_robin_lb_config": slow} if (slow := _slow_start(of)) else {},
    Algorithm.LEAST_REQUEST: lambda of: {"least_request_lb_config": slow} if (slow := _slow_start(of)) else {},
    Algorithm.RING_HASH: lambda of: {"ring_hash_lb_config": {"minimum_ring_size": number(of.minimum_ring_size)}},
    Algorithm.MAGLEV: _maglev,
}


def _http_options(of: Cluster) -> Fields:
    pool = of.policy.connection_pool
    if of.resolution is Resolution.DYNAMIC_DNS:
        # Envoy wants these of a cluster whose hosts are the caller's choice, even where it speaks no TLS.
        checks = {"upstream_http_protocol_options": {"auto_sni": True, "auto_san_validation": True}}
        return _common_http(pool) | _version(of, pool) | checks
    common = _common_http(pool) | _errors(of.policy.outlier_detection)
    common |= tls.by_host(of.tls) if of.tls and of.http else {}
    return common | _version(of, pool) if of.http or common else {}


def _errors(of: OutlierDetection | None) -> Fields:
    """Which answers count as errors, where they are not all of 5xx."""
    if of is None or not of.error_codes:
        return {}
    rules = [{"http_response_headers_match": {"headers": [_status(code)]}} for code in of.error_codes]
    return {"outlier_detection": {"error_matcher": rules[0] if len(rules) == 1 else {"or_match": {"rules": rules}}}}


def _status(code: int) -> Fields:
    return {"name": ":status", "string_match": {"exact": str(code)}}


def _common_http(pool: ConnectionPool) -> Fields:
    idle = pool.idle_timeout if pool.idle_timeout is not None else pool.tcp_idle_timeout
    common = present(
        {
            "idle_timeout": None if idle is None else duration(idle),
            "max_connection_duration": None if pool.max_connection_duration is None else duration(pool.max_connection_duration),
            "max_requests_per_connection": number(pool.max_requests_per_connection) if pool.max_requests_per_connection else None,
        }
    )
    return {"common_http_protocol_options": common} if common else {}


def _version(of: Cluster, pool: ConnectionPool) -> Fields:
    # Or WebSockets would not get through.
    http2: Fields = {"max_concurrent_streams": number(pool.max_concurrent_streams or _MAX_STREAMS), "allow_connect": True}
    if pool.pings and pool.pings.interval:
        http2["connection_keepalive"] = {"interval": duration(pool.pings.interval), "timeout": duration(pool.pings.timeout or _PONG)}
    if pool.use_client_protocol:
        return {"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": http2}}
    if of.http2 or pool.upgrade_to_http2:
        return {"explicit_http_config": {"http2_protocol_options": http2}}
    return {"explicit_http_config": {"http_protocol_options": {}}}
