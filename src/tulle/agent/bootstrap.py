"""The configuration that a proxy starts with: who it is, where its control plane is, and the limits that hold before any policy does.

Pure: a node and its metadata in, a dictionary out, in the JSON form of `envoy.config.bootstrap.v3.Bootstrap`. All else comes over xDS.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tulle.agent.sds import CERTIFICATE, ROOTS
from tulle.model.firewall import CLUSTER, SOCKET
from tulle.model.limits import FORMATTED_KEYS, MAX_REGEX_PROGRAM
from tulle.model.plain_text import FORGOTTEN, PREFIX
from tulle.model.proxy import Node, Role
from tulle.model.tls import SYSTEM_ROOTS
from tulle.settings import Address
from tulle.translate.values import CONTROL_PLANE

XDS_CLUSTER = CONTROL_PLANE
_SWITCHES = {"re2.max_program_size.error_level": MAX_REGEX_PROGRAM, FORMATTED_KEYS: True}
RUNTIME: Mapping[str, Any] = {"layers": [{"name": "tulle", "static_layer": _SWITCHES}]}
"""Limits that decide what a proxy takes and what it refuses."""

_TYPE = "type.googleapis.com/"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_CONNECTION_LIMIT = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
_UPSTREAM_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
LONGEST_CONNECTION = 600.0
"""Seconds after which streams that begin take a new connection to the control plane."""
_EVICTION = "stats_eviction_interval"
_INTERNAL_LISTENER = "envoy.extensions.bootstrap.internal_listener.v3.InternalListener"

KEPT_STATS: Mapping[str, tuple[str, ...]] = {
    "prefix": (
        "server.",
        "cluster_manager.",
        "listener_manager.",
        "control_plane.",
        f"cluster.{XDS_CLUSTER}.",
        "overload.",
        f"{PREFIX}.",
    ),
    "suffix": (
        "downstream_cx_active",
        "downstream_cx_total",
        "downstream_rq_active",
        "downstream_rq_total",
        "downstream_rq_1xx",
        "downstream_rq_2xx",
        "downstream_rq_3xx",
        "downstream_rq_4xx",
        "downstream_rq_5xx",
        "downstream_rq_time",
        "upstream_cx_active",
        "upstream_cx_total",
        "upstream_cx_connect_fail",
        "upstream_cx_overflow",
        "upstream_rq_active",
        "upstream_rq_total",
        "upstream_rq_completed",
        "upstream_rq_1xx",
        "upstream_rq_2xx",
        "upstream_rq_3xx",
        "upstream_rq_4xx",
        "upstream_rq_5xx",
        "upstream_rq_time",
        "upstream_rq_timeout",
        "upstream_rq_per_try_timeout",
        "upstream_rq_retry",
        "upstream_rq_retry_success",
        "upstream_rq_retry_limit_exceeded",
        "upstream_rq_pending_overflow",
        "membership_healthy",
        "membership_total",
        "ejections_active",
        "ejections_enforced_total",
        "fault.delays_injected",
        "fault.aborts_injected",
    ),
}
"""Statistics worth their memory: traffic, errors, retries, limits, ejections, faults. With 1000 clusters the others take 22 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberFiles:
    """Paths of the files with a member's certificate, and with whom it believes; see `sds`."""

    certificate: str
    roots: str
    life: float
    """Of the certificate, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapSettings:
    """Times in seconds."""

    xds: str = "127.0.0.1:15010"
    """`host:port`, or the absolute path of a Unix socket."""
    member: MemberFiles | None = None
    """What is shown and believed there; None where the connection is in plain text."""
    admin: str
    """Path of the Unix socket for the admin interface, below 100 bytes."""
    delta: bool = True
    """Incremental xDS; else state of the world."""
    initial_fetch_timeout: float = 15.0
    """How long a start waits for each kind of resource before going on without."""
    max_connections: int = 100_000
    """Callers connected at once, over all listeners. More are refused, so that a flood cannot take all memory."""
    ejection_log: str = ""
    """Where the proxy tells of instances that it ejects; empty for nowhere."""
    roots: str = ""
    """PEM file of the authorities that this machine trusts; empty where it has none."""
    max_heap_bytes: int = 0
    """0: no limit. Else requests are refused at 98 % of it, and memory is given back at 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What an EnvoyFilter changes of a bootstrap."""

    value: Mapping[str, Any]
    replace_lists: bool = False


def changed(config: Mapping[str, Any], changes: Iterable[Change]) -> dict[str, Any]:
    """The bootstrap with changes merged into it, one after the other: messages field by field, lists at the end of those that are there."""
    merged = dict(config)
    for change in changes:
        merged = _merged(merged, change.value, change.replace_lists)
    return merged | _in_step(config, merged)


def _in_step(config: Mapping[str, Any], merged: Mapping[str, Any]) -> dict[str, Any]:
    """Envoy forgets statistics only at every so many flushes: where those come at another pace, so does that."""
    own, flush = config.get(_EVICTION), merged.get("stats_flush_interval", "")
    every = float(flush.removesuffix("s") or 0)
    if own is None or not every or merged[_EVICTION] != own:
        return {}
    return {_EVICTION: _seconds(math.ceil(FORGOTTEN / every) * every)}


def _merged(config: Mapping[str, Any], value: Mapping[str, Any], replace_lists: bool) -> dict[str, Any]:
    merged = dict(config)
    for name, new in value.items():
        old = merged.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            merged[name] = _merged(old, new, replace_lists)
        elif isinstance(old, list) and isinstance(new, list) and not replace_lists:
            merged[name] = [*old, *new]
        else:
            merged[name] = new
    return merged


def bootstrap(node: Node, metadata: Mapping[str, Any], settings: BootstrapSettings) -> dict[str, Any]:
    """The bootstrap of this node's proxy. `metadata` is what `tulle.discovery.node.to_metadata` makes of the node."""
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": _seconds(settings.initial_fetch_timeout)}
    return {
        "node": _node(node, metadata),
        "admin": {"address": {"pipe": {"path": settings.admin, "mode": 0o600}}},
        "dynamic_resources": {"ads_config": _ads(settings), "lds_config": source, "cds_config": source},
        **({"cluster_manager": {"outlier_detection": {"event_log_path": settings.ejection_log}}} if settings.ejection_log else {}),
        "static_resources": {"clusters": [_xds_cluster(settings), _firewall_cluster(settings)], **_secrets(settings)},
        "bootstrap_extensions": [_extension("envoy.bootstrap.internal_listener", _INTERNAL_LISTENER, {})],
        "layered_runtime": RUNTIME,
        "overload_manager": _overload(settings),
        "stats_config": {"stats_matcher": {"inclusion_list": {"patterns": _kept_stats()}}},
        **({_EVICTION: _seconds(FORGOTTEN)} if node.role is Role.SIDECAR else {}),
    }


def _node(node: Node, metadata: Mapping[str, Any]) -> dict[str, Any]:
    at = node.locality
    locality = {"region": at.region, "zone": at.zone, "sub_zone": at.subzone}
    said = {"locality": {name: value for name, value in locality.items() if value}} if str(at) else {}
    # As in Istio, so that dashboards group by it: `reviews.default`.
    cluster = f"{node.service or node.id.partition('~')[2]}.{node.namespace}"
    return {"id": node.id, "cluster": cluster, "metadata": dict(metadata), **said}


def _secrets(settings: BootstrapSettings) -> dict[str, Any]:
    if not settings.roots:
        return {}
    return {"secrets": [{"name": SYSTEM_ROOTS, "validation_context": {"trusted_ca": {"filename": settings.roots}}}]}


def _ads(settings: BootstrapSettings) -> dict[str, Any]:
    # Envoy's own back-off reaches 30 s: too long for a control plane that restarts in one.
    back_off = {"retry_back_off": {"base_interval": "0.2s", "max_interval": "3s"}}
    return {
        "api_type": "DELTA_GRPC" if settings.delta else "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": XDS_CLUSTER, "retry_policy": back_off}}],
    }


def _xds_cluster(settings: BootstrapSettings) -> dict[str, Any]:
    return _cluster(XDS_CLUSTER, settings.xds, settings.member)


def _firewall_cluster(settings: BootstrapSettings) -> dict[str, Any]:
    """On the control plane's machine the process that looks at requests is asked by itself, elsewhere by way of the control plane."""
    xds = settings.xds
    return _cluster(CLUSTER, f"{xds}{SOCKET}" if xds.startswith("/") else xds, settings.member)


def _cluster(name: str, xds: str, member: MemberFiles | None) -> dict[str, Any]:
    # A control plane that is gone without a word is noticed within 20 s.
    http2 = {"http2_protocol_options": {"connection_keepalive": {"interval": "15s", "timeout": "5s"}}}
    options: dict[str, Any] = {"explicit_http_config": http2}
    if member:
        # A stream that ends with its certificate is opened again on a connection that was made with a newer one.
        options["common_http_protocol_options"] = {"max_connection_duration": _seconds(min(LONGEST_CONNECTION, member.life / 4))}
    endpoint = {"lb_endpoints": [{"endpoint": {"address": _address(xds)}}]}
    return {
        "name": name,
        "type": "STRICT_DNS" if _needs_dns(xds) else "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {_HTTP_OPTIONS: _typed(_HTTP_OPTIONS, options)},
        "load_assignment": {"cluster_name": name, "endpoints": [endpoint]},
        **({"transport_socket": _member_tls(member)} if member else {}),
    }


def _member_tls(files: MemberFiles) -> dict[str, Any]:
    context = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [_from_file(CERTIFICATE, files.certificate)],
        "validation_context_sds_secret_config": _from_file(ROOTS, files.roots),
    }
    return _extension("envoy.transport_sockets.tls", _UPSTREAM_TLS, {"common_tls_context": context})


def _from_file(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "sds_config": {"resource_api_version": "V3", "path_config_source": {"path": path}}}


def _address(xds: str) -> dict[str, Any]:
    if xds.startswith("/"):
        return {"pipe": {"path": xds}}
    address = Address.parse(xds)
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _needs_dns(xds: str) -> bool:
    if xds.startswith("/"):
        return False
    try:
        ipaddress.ip_address(Address.parse(xds).host)
    except ValueError:
        return True
    return False


def _overload(settings: BootstrapSettings) -> dict[str, Any]:
    limit = {"max_active_downstream_connections": settings.max_connections}
    connections = _extension("envoy.resource_monitors.global_downstream_max_connections", _CONNECTION_LIMIT, limit)
    if not settings.max_heap_bytes:
        return {"resource_monitors": [connections]}
    kind = "envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig"
    heap = _extension("envoy.resource_monitors.fixed_heap", kind, {"max_heap_size_bytes": settings.max_heap_bytes})
    actions = (("envoy.overload_actions.shrink_heap", 0.95), ("envoy.overload_actions.stop_accepting_requests", 0.98))
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [connections, heap],
        "actions": [{"name": name, "triggers": [{"name": heap["name"], "threshold": {"value": at}}]} for name, at in actions],
    }


def _kept_stats() -> list[dict[str, Any]]:
    plain = [{how: text} for how, texts in KEPT_STATS.items() for text in texts]
    # Of listeners alone: for each of a thousand clusters they would cost too much.
    return [*plain, {"safe_regex": {"regex": r"listener\..*\.(no_filter_chain_match|ssl\.(handshake|connection_error|fail_verify_\w+))"}}]


def _extension(name: str, kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "typed_config": _typed(kind, config)}


def _typed(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    return {"@type": _TYPE + kind, **config}


def _seconds(value: float) -> str:
    return f"{value:g}s"
