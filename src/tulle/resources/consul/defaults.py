"""service-defaults and proxy-defaults: what holds for a service, or for all, where nothing else is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from tulle.model.frozen import FrozenMap
from tulle.resources.consul.common import Entry, Free, ServiceName
from tulle.resources.scalars import AnyDuration, Int32, Map, Percent, Text, UInt, text_that
from tulle.resources.spec import Spec, shown

PROTOCOLS = ("tcp", "http", "http2", "grpc")


def _protocol(value: str) -> str | None:
    return None if value.lower() in PROTOCOLS else f"must be one of {', '.join(PROTOCOLS)}, not {shown(value)}"


Protocol = Annotated[str, text_that(_protocol)]


class Limits(Spec):
    max_connections: Int32 | None = None
    max_pending_requests: Int32 | None = None
    max_concurrent_requests: Int32 | None = None


class PassiveHealthCheck(Spec):
    interval: AnyDuration | None = None
    max_failures: UInt | None = None
    enforcing_consecutive_5xx: UInt | None = None
    max_ejection_percent: Percent | None = None
    base_ejection_time: AnyDuration | None = None


class UpstreamConfig(Spec):
    name: ServiceName | None = None
    namespace: Text | None = None
    partition: Text | None = None
    peer: Text | None = None
    protocol: Protocol | None = None
    connect_timeout_ms: UInt | None = None
    limits: Limits | None = None
    passive_health_check: PassiveHealthCheck | None = None
    mesh_gateway: Free = None
    balance_outbound_connections: Text | None = None
    balance_inbound_connections: Text | None = None
    synonyms: ClassVar[Mapping[str, str]] = {"envoyListenerJSON": "envoy_listener_json", "envoyClusterJSON": "envoy_cluster_json"}

    envoy_listener_json: Text | None = None
    envoy_cluster_json: Text | None = None


class Upstreams(Spec):
    """How callers that run here reach others."""

    defaults: UpstreamConfig | None = None
    overrides: tuple[UpstreamConfig, ...] = ()


class ServiceDefaults(Entry):
    synonyms: ClassVar[Mapping[str, str]] = {"externalSNI": "external_sni", "mutualTLSMode": "mutual_tls_mode"}

    protocol: Protocol | None = None
    balance_inbound_connections: Text | None = None
    mode: Text | None = None
    upstream_config: Upstreams | None = None
    transparent_proxy: Free = None
    mutual_tls_mode: Text | None = None
    envoy_extensions: Free = None
    destination: Free = None
    local_connect_timeout_ms: UInt | None = None
    local_request_timeout_ms: UInt | None = None
    max_inbound_connections: UInt | None = None
    mesh_gateway: Free = None
    external_sni: Text | None = None
    expose: Free = None
    rate_limits: Free = None


_NO_CONFIG: Mapping[str, object] = FrozenMap()


class ProxyDefaults(Entry):
    """Its name is `global`."""

    synonyms: ClassVar[Mapping[str, str]] = {"mutualTLSMode": "mutual_tls_mode"}

    config: Map[Free] = _NO_CONFIG
    mode: Text | None = None
    transparent_proxy: Free = None
    mutual_tls_mode: Text | None = None
    mesh_gateway: Free = None
    expose: Free = None
    access_logs: Free = None
    envoy_extensions: Free = None
    failover_policy: Free = None
    prioritize_by_locality: Free = None

    @property
    def protocol(self) -> str:
        """What services speak that say nothing else; empty for none."""
        value = self.config.get("protocol")
        return value.lower() if isinstance(value, str) and value.lower() in PROTOCOLS else ""
