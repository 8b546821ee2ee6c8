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


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpKeepalive:
    probes: int | None = None
    time: timedelta | None = None
    interval: timedelta | None = None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficPolicy:
    """All that a DestinationRule says about one port of one subset, defaults filled in."""

    load_balancer: LoadBalancer = LoadBalancer()
    connection_pool: ConnectionPool = ConnectionPool()
    outlier_detection: OutlierDetection | None = None
