"""Which messages a patch is for. Old names of filters mean today's."""

from __future__ import annotations

from typing import Any

from tulle.model.patches import Patch, PatchMatch

_OLD_NAMES = {
    "envoy.http_connection_manager": "envoy.filters.network.http_connection_manager",
    "envoy.tcp_proxy": "envoy.filters.network.tcp_proxy",
    "envoy.router": "envoy.filters.http.router",
    "envoy.cors": "envoy.filters.http.cors",
    "envoy.fault": "envoy.filters.http.fault",
    "envoy.grpc_web": "envoy.filters.http.grpc_web",
    "envoy.lua": "envoy.filters.http.lua",
    "envoy.ext_authz": "envoy.filters.http.ext_authz",
    "envoy.listener.tls_inspector": "envoy.filters.listener.tls_inspector",
    "envoy.listener.proxy_protocol": "envoy.filters.listener.proxy_protocol",
}
_VIRTUAL = {"virtualInbound": "SIDECAR_INBOUND", "virtualOutbound": "SIDECAR_OUTBOUND"}
"""Istio's two listeners that stand for all. Here each port has one of its own."""
_ACTIONS = {"ROUTE": "route", "REDIRECT": "redirect", "DIRECT_RESPONSE": "direct_response"}


def same_filter(wanted: str, name: str) -> bool:
    return _OLD_NAMES.get(wanted, wanted) == _OLD_NAMES.get(name, name)


def in_context(patch: Patch, context: str) -> bool:
    return patch.context in ("ANY", context)


def cluster_context(name: str, *, gateway: bool) -> str:
    if gateway:
        return "GATEWAY"
    return "SIDECAR_INBOUND" if name.startswith("inbound|") else "SIDECAR_OUTBOUND"


def matches_cluster(match: PatchMatch, name: str) -> bool:
    if match.cluster and match.cluster != name:
        return False
    if not (match.cluster_port or match.service or match.subset):
        return True
    parts = name.split("|")
    if len(parts) != 4:
        return False
    direction, port, subset, host = parts
    if match.service and direction != "inbound" and match.service != host:
        return False
    return (not match.cluster_port or port == str(match.cluster_port)) and (not match.subset or match.subset == subset)


def matches_listener(match: PatchMatch, listener: Any, context: str, declared: int) -> bool:
    """A port is the one that the listener is bound to, that was declared, or that callers of the workload dial."""
    if match.listener and match.listener != listener.name and _VIRTUAL.get(match.listener) != context:
        return False
    return not match.listener_port or match.listener_port in _ports(listener, declared)


def _ports(listener: Any, declared: int) -> set[int]:
    ports = {listener.address.socket_address.port_value, declared}
    for chain in listener.filter_chains:
        direction, _, rest = chain.name.partition("|")
        port = rest.partition("|")[0].removesuffix("/udp")
        if direction in ("inbound", "outbound") and port.isdecimal():
            ports.add(int(port))
    return ports - {0}


def matches_chain(match: PatchMatch, chain: Any, listener: Any, declared: int) -> bool:
    how = chain.filter_chain_match
    if match.chain and match.chain != chain.name:
        return False
    if match.sni and match.sni not in how.server_names:
        return False
    if match.transport_protocol and match.transport_protocol != how.transport_protocol:
        return False
    if match.application_protocols and not set(match.application_protocols) <= set(how.application_protocols):
        return False
    return not match.destination_port or match.destination_port in {how.destination_port.value, *_ports(listener, declared)}


def has_filter(match: PatchMatch, chain: Any) -> bool:
    return not match.filter or any(same_filter(match.filter, f.name) for f in chain.filters)


def matches_table(match: PatchMatch, name: str) -> bool:
    if match.route_table and match.route_table != name:
        return False
    return not match.route_port or str(match.route_port) in name.replace("|", ".").replace("_", ".").split(".")


def matches_host(match: PatchMatch, host: Any) -> bool:
    if match.virtual_host and match.virtual_host != host.name:
        return False
    return not match.domain or match.domain in host.domains


def matches_route(match: PatchMatch, route: Any) -> bool:
    if match.route and match.route != route.name:
        return False
    return match.route_action == "ANY" or route.WhichOneof("action") == _ACTIONS[match.route_action]
