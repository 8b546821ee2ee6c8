"""Which messages a patch is for. Old names of filters mean today's."""

from __future__ import annotations

from typing import Any

from tulle.model.patch_names import named_host, named_listener, ports_of, server_of
from tulle.model.patches import PatchMatch

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
_ACTIONS = {"ROUTE": "route", "REDIRECT": "redirect", "DIRECT_RESPONSE": "direct_response"}


def same_filter(wanted: str, name: str) -> bool:
    return _OLD_NAMES.get(wanted, wanted) == _OLD_NAMES.get(name, name)


def matches_listener(match: PatchMatch, listener: Any, context: str, declared: int) -> bool:
    """A port is the one that the listener is bound to, that was declared, or that callers of the workload dial."""
    if not named_listener(match, listener.name, context):
        return False
    if match.listener_port_name and not any(server_of(c.name).name == match.listener_port_name for c in listener.filter_chains):
        return False
    return not match.listener_port or match.listener_port in _ports(listener, declared)


def _ports(listener: Any, declared: int) -> set[int]:
    ports = {listener.address.socket_address.port_value, declared}
    return ports.union(*(ports_of(chain.name) for chain in listener.filter_chains)) - {0}


def matches_chain(match: PatchMatch, chain: Any, listener: Any, declared: int) -> bool:
    how = chain.filter_chain_match
    if match.chain and match.chain != chain.name:
        return False
    if match.sni and match.sni not in how.server_names:
        return False
    if match.transport_protocol and match.transport_protocol != how.transport_protocol:
        return False
    if match.listener_port_name and match.listener_port_name != server_of(chain.name).name:
        return False
    if match.transport_socket and match.transport_socket != chain.transport_socket.name:
        return False
    if match.application_protocols and not set(match.application_protocols) <= set(how.application_protocols):
        return False
    return not match.destination_port or match.destination_port in {how.destination_port.value, *_ports(listener, declared)}


def has_filter(match: PatchMatch, chain: Any) -> bool:
    return not match.filter or any(same_filter(match.filter, f.name) for f in chain.filters)


def matches_host(match: PatchMatch, host: Any, table: str) -> bool:
    return named_host(match, host.name, host.domains, table)


def matches_route(match: PatchMatch, route: Any) -> bool:
    if match.route and match.route != route.name:
        return False
    return match.route_action == "ANY" or route.WhichOneof("action") == _ACTIONS[match.route_action]
