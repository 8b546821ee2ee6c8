"""How connections to a cluster are balanced, pooled and judged. Times are `timedelta`; None means that the data plane's default holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum


class Algorithm(Enum):
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    RING_HASH = "RING_HASH"
    MAGLEV = "MAGLEV"
    BACKEND_UTILIZATION = "BACKEND_UTILIZATION"
    """By the load that the endpoints report of themselves (ORCA)."""


class HashOn(Enum):
    HEADER = "header"
    COOKIE = "cookie"
    SOURCE_IP = "source-ip"
    QUERY = "query"


@dataclass(frozen=True, slots=True, kw_only=True)
class HashPolicy:
    """What of a request picks its endpoint."""

    on: HashOn
    name: str = ""
    cookie_path: str = ""
    cookie_ttl: timedelta | None = None
    """None: the cookie is read but never made; zero makes a session cookie."""
    cookie_attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How callers of a place share their requests among places. Places are `region/zone/subzone`; later parts may be absent or `*`."""

    caller: str
    shares: tuple[tuple[str, int], ...]
    """Place and percentage. Endpoints elsewhere get nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityRules:
    """Which endpoints are near to a caller, and which stand in for them (BEHAVIOURS.md, 24)."""

    enabled: bool = True
    distribute: tuple[Distribution, ...] = ()
    failover: tuple[tuple[str, str], ...] = ()
    """From one region to another."""
    zones: int = 0
    """Above 0: requests stay in the caller's zone as far as its endpoints can take them, where its region has so many endpoints."""
    by_region: bool = False
    """Together with `zones`: other regions stand in, instead of being zones like others."""
    failover_priority: tuple[str, ...] = ()
    """Labels, or `label=value`: endpoints that share the first ones with the caller come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilization:
    """How load that endpoints report becomes their weight. None is the data plane's default."""

    metrics: tuple[str, ...] = ()
    error_penalty_percent: float | None = None
    blackout: timedelta | None = None
    """How long a new endpoint's reports are not trusted yet."""
    expiration: timedelta | None = None
    update: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    algorithm: Algorithm = Algorithm.LEAST_REQUEST
    hash: HashPolicy | None = None
    """Present for RING_HASH and MAGLEV."""
    minimum_ring_size: int = 1024
    table_size: int | None = None
    """Maglev's; None for the data plane's default."""
    warmup: timedelta | None = None
    warmup_minimum_percent: float = 10.0
    warmup_aggression: float = 1.0
    locality: LocalityRules | None = None
    """None: nothing is said of it."""
    utilization: Utilization | None = None
    """Present for BACKEND_UTILIZATION."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpKeepalive:
    probes: int | None = None
    time: timedelta | None = None
    interval: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pings:
    """HTTP/2 PING frames that show whether a connection still works."""

    interval: timedelta | None = None
    timeout: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """Limits towards one cluster (Envoy's circuit breakers and connection options). None is Istio's default: no limit."""

    max_connections: int | None = None
    connect_timeout: timedelta = timedelta(seconds=10)
    keepalive: TcpKeepalive | None = None
    max_connection_duration: timedelta | None = None
    tcp_idle_timeout: timedelta | None = None
    max_pending_requests: int | None = None
    max_requests: int | None = None
    max_requests_per_connection: int | None = None
    max_retries: int | None = None
    idle_timeout: timedelta | None = None
    max_concurrent_streams: int | None = None
    use_client_protocol: bool = False
    upgrade_to_http2: bool = False
    pings: Pings | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlierDetection:
    """When an endpoint that answers badly is taken out for a while (BEHAVIOURS.md, 23)."""

    consecutive_5xx: int | None = 5
    """None: not counted."""
    consecutive_gateway_errors: int | None = None
    split_external_local_errors: bool = False
    consecutive_local_failures: int | None = None
    interval: timedelta = timedelta(seconds=10)
    base_ejection_time: timedelta = timedelta(seconds=30)
    max_ejection_percent: int = 10
    min_health_percent: int = 0
    error_codes: tuple[int, ...] = ()
    """HTTP statuses that count as errors, instead of all 5xx."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """At most this share of the requests under way may be retries."""

    percent: float = 20.0
    interval: timedelta | None = None
    """Counts the requests of this time, too, not only those under way."""
    min_concurrency: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunnel:
    """Connections are carried inside an HTTP request to the endpoint, a forward proxy."""

    host: str
    port: int
    post: bool = False
    """POST instead of CONNECT."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPolicy:
    """All that a DestinationRule says about one port of one subset, defaults filled in."""

    load_balancer: LoadBalancer = LoadBalancer()
    connection_pool: ConnectionPool = ConnectionPool()
    outlier_detection: OutlierDetection | None = None
    retry_budget: RetryBudget | None = None
    proxy_protocol: int | None = None
    """Version of the PROXY protocol (1 or 2) in which endpoints are told of the caller's address."""
    tunnel: Tunnel | None = None
