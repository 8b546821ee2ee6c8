"""How connections to a destination are balanced, pooled and judged."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from enum import Enum
from typing import Annotated, Self

from pydantic import PlainValidator

from tulle.model.frozen import FrozenMap
from tulle.resources.names import HeaderName, HostOrIp, Named, Plain
from tulle.resources.networking.common import PortSelector
from tulle.resources.networking.tls import ClientTls
from tulle.resources.scalars import (
    AnyDuration,
    Duration,
    Flag,
    FloatPercent,
    Int32,
    Map,
    Percent,
    Port,
    Text,
    UInt,
    choice,
    number,
    whole,
)
from tulle.resources.spec import Problem, Spec, shown


class SimpleLb(Enum):
    """LEAST_CONN is read as LEAST_REQUEST."""

    UNSPECIFIED = "UNSPECIFIED"
    LEAST_CONN = "LEAST_CONN"
    RANDOM = "RANDOM"
    PASSTHROUGH = "PASSTHROUGH"
    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"


class CookieAttribute(Spec):
    name: Named
    value: Plain | None = None


class HttpCookie(Spec):
    name: Named
    path: Plain | None = None
    ttl: AnyDuration | None = None
    """None: the cookie is read but never made; zero makes a session cookie."""
    attributes: tuple[CookieAttribute, ...] = ()


RingSize = Annotated[int, whole(0, 8 * 1024 * 1024)]
"""What the data plane has room for."""


class RingHash(Spec):
    minimum_ring_size: RingSize = 0


class Maglev(Spec):
    table_size: Annotated[int, whole(0, 5_000_010)] = 0
    """0 leaves it to the data plane: 65537."""

    def check(self) -> Iterable[Problem]:
        if self.table_size == 1 or any(self.table_size % divisor == 0 for divisor in range(2, math.isqrt(self.table_size) + 1)):
            yield ("table_size",), f"must be a prime number, not {self.table_size}"


class ConsistentHash(Spec):
    """What of a request picks its endpoint; without any, the caller's address does."""

    at_most_one_of = (
        ("http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name"),
        ("ring_hash", "maglev", "minimum_ring_size"),
    )

    http_header_name: HeaderName | None = None
    http_cookie: HttpCookie | None = None
    use_source_ip: Flag | None = None
    http_query_parameter_name: Named | None = None
    ring_hash: RingHash | None = None
    maglev: Maglev | None = None
    minimum_ring_size: RingSize | None = None
    """The old spelling; folded into `ring_hash`."""

    def settled(self) -> Self:
        if self.minimum_ring_size is None:
            return self
        return self.model_copy(update={"ring_hash": RingHash(minimum_ring_size=self.minimum_ring_size), "minimum_ring_size": None})


class Distribute(Spec):
    from_: Text = ""
    to: Map[UInt] = FrozenMap()

    def check(self) -> Iterable[Problem]:
        if self.to and sum(self.to.values()) != 100:
            yield ("to",), f"the shares must add up to 100, not {sum(self.to.values())}"


class Failover(Spec):
    from_: Text = ""
    to: Text = ""


class LocalityLb(Spec):
    at_most_one_of = (("distribute", "failover"),)

    enabled: Flag | None = None
    distribute: tuple[Distribute, ...] = ()
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[Text, ...] = ()


class ZoneAwareLb(Spec):
    enabled: Flag | None = None
    failover: tuple[Failover, ...] = ()
    failover_priority: tuple[Text, ...] = ()
    min_cluster_size: Annotated[int, whole(1, 2**32 - 1)] | None = None


class BackendUtilization(Spec):
    error_utilization_penalty_percent: UInt | None = None
    metric_names_for_computing_utilization: tuple[Text, ...] = ()
    weight_expiration_period: AnyDuration | None = None
    weight_stabilization_period: AnyDuration | None = None
    weight_update_period: AnyDuration | None = None


class Warmup(Spec):
    duration: Duration
    minimum_percent: FloatPercent | None = None
    aggression: Annotated[float, PlainValidator(number)] | None = None

    def check(self) -> Iterable[Problem]:
        if self.aggression is not None and self.aggression < 1:
            yield ("aggression",), f"must be at least 1, not {self.aggression:g}"


class LoadBalancer(Spec):
    at_most_one_of = (("simple", "consistent_hash", "backend_utilization"),)

    simple: Annotated[SimpleLb, choice(SimpleLb)] | None = None
    consistent_hash: ConsistentHash | None = None
    backend_utilization: BackendUtilization | None = None
    locality_lb_setting: LocalityLb | None = None
    zone_aware_lb_setting: ZoneAwareLb | None = None
    warmup: Warmup | None = None
    warmup_duration_secs: Duration | None = None
    """The old spelling; folded into `warmup`."""

    def settled(self) -> Self:
        update: dict[str, object] = {}
        if self.simple is SimpleLb.LEAST_CONN:
            update["simple"] = SimpleLb.LEAST_REQUEST
        if self.warmup_duration_secs is not None:
            update["warmup_duration_secs"] = None
            update["warmup"] = self.warmup or Warmup(duration=self.warmup_duration_secs)
        return self.model_copy(update=update) if update else self


_LONGEST_SILENCE = timedelta(seconds=32767)
"""Linux takes no more."""


class TcpKeepalive(Spec):
    """Counted in whole seconds."""

    probes: Annotated[int, whole(0, 127)] | None = None
    time: Duration | None = None
    interval: Duration | None = None

    def check(self) -> Iterable[Problem]:
        for name in ("time", "interval"):
            if (given := getattr(self, name)) and given > _LONGEST_SILENCE:
                yield (name,), "must be at most 32767s: Linux takes no more"


class TcpPool(Spec):
    max_connections: Int32 | None = None
    connect_timeout: Duration | None = None
    tcp_keepalive: TcpKeepalive | None = None
    max_connection_duration: Duration | None = None
    idle_timeout: AnyDuration | None = None


class H2UpgradePolicy(Enum):
    DEFAULT = "DEFAULT"
    DO_NOT_UPGRADE = "DO_NOT_UPGRADE"
    UPGRADE = "UPGRADE"


class Http2KeepAlive(Spec):
    interval: Duration | None = None
    timeout: Duration | None = None


class HttpPool(Spec):
    http1_max_pending_requests: Int32 | None = None
    http2_max_requests: Int32 | None = None
    max_requests_per_connection: Int32 | None = None
    max_retries: Int32 | None = None
    idle_timeout: Duration | None = None
    h2_upgrade_policy: Annotated[H2UpgradePolicy, choice(H2UpgradePolicy)] = H2UpgradePolicy.DEFAULT
    use_client_protocol: Flag = False
    max_concurrent_streams: Int32 | None = None
    http2_keep_alive: Http2KeepAlive | None = None

    def check(self) -> Iterable[Problem]:
        if self.use_client_protocol and self.h2_upgrade_policy is H2UpgradePolicy.UPGRADE:
            yield ("use_client_protocol",), "must not be true where h2UpgradePolicy is UPGRADE"


class ConnectionPool(Spec):
    """Zero means the same as unset."""

    some_of = ("tcp", "http")

    tcp: TcpPool | None = None
    http: HttpPool | None = None


class OutlierDetection(Spec):
    consecutive_errors: Int32 | None = None
    """The old spelling of a count of failures in a row, of every sort; kept apart, since no field of today's means the same."""
    split_external_local_origin_errors: Flag = False
    consecutive_local_origin_failures: UInt | None = None
    consecutive_gateway_errors: UInt | None = None
    consecutive_5xx_errors: UInt | None = None
    interval: Duration | None = None
    base_ejection_time: Duration | None = None
    max_ejection_percent: Percent | None = None
    min_health_percent: Percent | None = None
    outlier_detection_http_error_codes: tuple[Annotated[int, whole(100, 599)], ...] = ()

    def check(self) -> Iterable[Problem]:
        if self.consecutive_local_origin_failures and not self.split_external_local_origin_errors:
            yield ("consecutive_local_origin_failures",), "needs splitExternalLocalOriginErrors: true"


class PolicyBlocks(Spec):
    load_balancer: LoadBalancer | None = None
    connection_pool: ConnectionPool | None = None
    outlier_detection: OutlierDetection | None = None
    tls: ClientTls | None = None


class PortTrafficPolicy(PolicyBlocks):
    """Replaces the whole policy for one port: what is not set here is as if nothing had been said (BEHAVIOURS.md, 7)."""

    some_of = ("load_balancer", "connection_pool", "outlier_detection", "tls")

    port: PortSelector


class TunnelProtocol(Enum):
    CONNECT = "CONNECT"
    POST = "POST"


class Tunnel(Spec):
    protocol: Annotated[TunnelProtocol, choice(TunnelProtocol)] = TunnelProtocol.CONNECT
    target_host: HostOrIp
    target_port: Port

    def check(self) -> Iterable[Problem]:
        if "*" in self.target_host:
            yield ("target_host",), f"must be a host name without wildcard, not {shown(self.target_host)}"


class ProxyProtocolVersion(Enum):
    V1 = "V1"
    V2 = "V2"


class ProxyProtocol(Spec):
    version: Annotated[ProxyProtocolVersion, choice(ProxyProtocolVersion)] = ProxyProtocolVersion.V1


class RetryBudget(Spec):
    percent: FloatPercent | None = None
    budget_interval: AnyDuration | None = None
    min_retry_concurrency: UInt | None = None


class TrafficPolicy(PolicyBlocks):
    some_of = (
        "load_balancer",
        "connection_pool",
        "outlier_detection",
        "tls",
        "port_level_settings",
        "tunnel",
        "proxy_protocol",
        "retry_budget",
    )
    at_most_one_of = (("tunnel", "proxy_protocol"),)

    port_level_settings: tuple[PortTrafficPolicy, ...] = ()
    tunnel: Tunnel | None = None
    proxy_protocol: ProxyProtocol | None = None
    retry_budget: RetryBudget | None = None
