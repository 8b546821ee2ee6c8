"""Listeners: envoy.config.listener.v3.Listener."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from tulle.model.access import Access, Attribute
from tulle.model.proxy import Direction, FilterChain, HttpConnections, Listener, TcpConnections
from tulle.model.routing import RouteTable, WeightedCluster
from tulle.protos import any_, pb
from tulle.translate import access, dns, firewall, logins, plain_text, screens, tls, udp
from tulle.translate.endpoints import address
from tulle.translate.filters import http_filters, original_source
from tulle.translate.snapshot import CLUSTER, ROUTES, Reference
from tulle.translate.values import ADS, YES, ZERO, Fields, cidr, duration, number

HCM = "envoy.filters.network.http_connection_manager"
SNI_PROXY = "envoy.filters.network.sni_dynamic_forward_proxy"
TCP_PROXY = "envoy.filters.network.tcp_proxy"
PROXY_PROTOCOL = "envoy.filters.listener.proxy_protocol"
ORIGINAL_SOURCE = "envoy.filters.listener.original_src"
HTTP_INSPECTOR = "envoy.filters.listener.http_inspector"
TLS_INSPECTOR = "envoy.filters.listener.tls_inspector"

SERVER_NAME = "istio-envoy"
"""The `server` header that users of Istio know (BEHAVIOURS.md, 13)."""

_BACKLOG = 4096
_HEADERS_TIMEOUT = timedelta(seconds=60)
"""At the edge, callers that send their headers one byte at a time are cut off."""
_NOBODY = cidr("255.255.255.255/32")
"""At the edge nobody's `x-envoy-` headers count: an address of the house is no proof, as balancers in front have one, too."""
_SERVING, _SILENT = 0.45, 0.1
"""Parts of the life of a connection that carries requests."""
_SETTING = ("APPEND_FORWARD", "SANITIZE_SET")
"""Of what becomes of x-forwarded-client-cert: those that write the caller's own certificate into it."""


def listener(of: Listener) -> Any:
    """The message for a listener."""
    if of.udp and not of.quic:
        return udp.listener(of)
    fields: Fields = {
        "name": of.name,
        "filter_chains": [_chain(chain, of) for chain in of.chains],
        "traffic_direction": _direction(of),
    }
    fields |= _bound(of) if of.address else {"internal_listener": {}}
    if most := _held(of):
        fields["per_connection_buffer_limit_bytes"] = number(most)
    fields |= plain_text.refusals(of.counted_as)
    if filters := _listener_filters(of):
        fields["listener_filters"] = filters
    if of.patience:
        fields |= {"listener_filters_timeout": duration(of.patience), "continue_on_listener_filters_timeout": True}
    return pb.Listener(**fields)


def _direction(of: Listener) -> str:
    """As the agent speaks of at the end: callers who send requests can be told to go elsewhere, those who send bytes are served on."""
    if of.direction is Direction.OUTBOUND:
        return "OUTBOUND"
    return "INBOUND" if any(isinstance(chain.serve, HttpConnections) for chain in of.chains) else "UNSPECIFIED"


def _held(of: Listener) -> int | None:
    """Bytes of a body that firewalls may need at once, where they are more than usual."""
    return firewall.held(tuple(f for chain in of.chains if isinstance(chain.serve, HttpConnections) for f in chain.serve.screen.firewalls))


def _listener_filters(of: Listener) -> list[Fields]:
    """The PROXY header comes before all else that a caller says."""
    filters: list[Fields] = []
    if of.proxy_protocol:
        filters.append({"name": PROXY_PROTOCOL, "typed_config": any_(pb.ProxyProtocol())})
    if not of.quic and any(_looks_at_tls(chain) for chain in of.chains):
        filters.append({"name": TLS_INSPECTOR, "typed_config": any_(pb.TlsInspector())})
    if of.looks_for_http:
        filters.append({"name": HTTP_INSPECTOR, "typed_config": any_(pb.HttpInspector())})
    if of.original_source is not None and not original_source.by_request(of):
        filters.append({"name": ORIGINAL_SOURCE, "typed_config": any_(pb.OriginalSource(mark=of.original_source))})
    return filters


def references(of: Listener) -> tuple[Reference, ...]:
    """What the listener's chains name."""
    return tuple(dict.fromkeys(named for chain in of.chains for named in (*_named(chain.serve), *tls.references(chain.tls))))


def _bound(of: Listener) -> Fields:
    if of.quic:
        # The kernel hands over several datagrams at once where it can.
        options: Fields = {"quic_options": {}, "downstream_socket_config": {"prefer_gro": YES}}
        return {"address": udp.address(of), "enable_reuse_port": YES, "udp_listener_config": options}
    return {"address": address(of.address, of.port), "enable_reuse_port": YES, "tcp_backlog_size": number(_BACKLOG)}


def _named(serve: HttpConnections | TcpConnections) -> Iterable[Reference]:
    yield from ((CLUSTER, name) for name in access.clusters(serve.access))
    yield from logins.references(serve.logins) if isinstance(serve, HttpConnections) else ()
    if isinstance(serve, TcpConnections):
        yield from ((CLUSTER, to.cluster) for to in _taking(serve.clusters))
    else:
        yield (ROUTES, _table(serve.routes))


def _chain(of: FilterChain, within: Listener) -> Fields:
    fields: Fields = {"name": of.name, "filters": _filters(of.serve, within)}
    if of.tls:
        fields["transport_socket"] = tls.quic(of.tls) if within.quic else tls.downstream(of.tls)
    return fields | {"filter_chain_match": match} if (match := _match(of)) else fields


def _match(of: FilterChain) -> Fields:
    given: Fields = {
        "server_names": list(of.server_names),
        "transport_protocol": of.transport_protocol,
        "application_protocols": list(of.application_protocols),
        "prefix_ranges": [cidr(text) for text in of.destination_cidrs],
        "source_prefix_ranges": [cidr(text) for text in of.source_cidrs],
    }
    return {name: value for name, value in given.items() if value}


def _looks_at_tls(chain: FilterChain) -> bool:
    named = chain.serve.access.asks_for(Attribute.SNI)
    return bool(chain.server_names or chain.transport_protocol or chain.application_protocols or named)


def _filters(serve: HttpConnections | TcpConnections, within: Listener) -> list[Fields]:
    """Without a filter, Envoy closes the connection: that is what a chain without a cluster does."""
    if isinstance(serve, HttpConnections):
        return [{"name": HCM, "typed_config": any_(connection_manager(serve, within))}]
    if not _taking(serve.clusters):
        return []
    return [*access.network_filters(serve.access), *_by_name(serve), {"name": TCP_PROXY, "typed_config": any_(_tcp_proxy(serve, within))}]


def _by_name(serve: TcpConnections) -> list[Fields]:
    """Looks up the name that TLS asks for, where that is the endpoint."""
    port = next((to.dial for to in serve.clusters if to.dial), 0)
    config = pb.SniDynamicForwardProxy(dns_cache_config=dns.CACHE, port_value=port)
    return [{"name": SNI_PROXY, "typed_config": any_(config)}] if port else []


def connection_manager(serve: HttpConnections, within: Listener) -> Any:
    """The message for HTTP connections."""
    fields: Fields = {
        "stat_prefix": serve.stat_prefix,
        "http_filters": http_filters(serve, within),
        "server_name": SERVER_NAME,
        "use_remote_address": {"value": serve.edge},
        "generate_request_id": YES,
        "stream_idle_timeout": duration(ZERO),
        # HTTP/1.0 too: other proxies and some clients' CONNECT still speak it.
        "http_protocol_options": {"allow_absolute_url": YES, "accept_http_10": True},
        "http2_protocol_options": {"allow_connect": True},
        "upgrade_configs": _upgrades(serve, within),
        "internal_address_config": {"cidr_ranges": [_NOBODY]} if serve.edge else {},
    } | screens.settings(serve.screen)
    if options := screens.options(serve.screen) | (_bounds(serve.life) if serve.life else {}):
        fields |= {"common_http_protocol_options": options, "http1_safe_max_connection_duration": bool(serve.life)}
    if told := [*firewall.access_log(serve.screen), *plain_text.requests(serve.counted_as)]:
        fields["access_log"] = told
    if within.quic:
        fields["codec_type"] = "HTTP3"
    if serve.edge:
        fields["request_headers_timeout"] = duration(_HEADERS_TIMEOUT)
    if serve.trusted_hops:
        fields["xff_num_trusted_hops"] = serve.trusted_hops
    if serve.forward_client_cert:
        fields["forward_client_cert_details"] = serve.forward_client_cert
    if serve.forward_client_cert in _SETTING:
        # Inside of the mesh the identity says it all; the whole certificate would make every request a kilobyte longer.
        whole = {"cert": True} if serve.edge else {}
        fields["set_current_client_cert_details"] = {"subject": YES, "dns": True, "uri": True} | whole
    return pb.HttpConnectionManager(**fields, **_routes(serve.routes))


def _bounds(life: timedelta) -> Fields:
    """A part for the connection, one for silence on it until its last request, and one for that: together its life."""
    serving = duration(life * _SERVING)
    return {"max_connection_duration": serving, "idle_timeout": duration(life * _SILENT), "max_stream_duration": serving}


def _upgrades(serve: HttpConnections, within: Listener) -> list[Fields]:
    own = {"filters": http_filters(serve, within, upgraded=True)} if screens.holding(serve.screen) else {}
    return [{"upgrade_type": kind, **own} for kind in (("websocket", "CONNECT") if serve.forward_proxy else ("websocket",))]


def _routes(routes: str | RouteTable) -> Fields:
    """A listener's own table is sent apart, too: so it can change, with who is let in, and connections live on."""
    return {"rds": {"route_config_name": _table(routes), "config_source": ADS}}


def _table(routes: str | RouteTable) -> str:
    return routes if isinstance(routes, str) else routes.name


def own_tables(of: Listener) -> Mapping[str, tuple[RouteTable, Access]]:
    """The tables that belong to the listener alone, by name, each with who is let in."""
    serving = (chain.serve for chain in of.chains if isinstance(chain.serve, HttpConnections))
    return {serve.routes.name: (serve.routes, serve.access) for serve in serving if isinstance(serve.routes, RouteTable)}


def shared_tables(of: Listener) -> Iterator[tuple[str, Access]]:
    """The names of the tables that a gateway's listener has in common with others, each with who is let in here."""
    for chain in of.chains:
        if isinstance(chain.serve, HttpConnections) and chain.serve.edge and isinstance(chain.serve.routes, str):
            yield chain.serve.routes, chain.serve.access


def _tcp_proxy(serve: TcpConnections, within: Listener) -> Any:
    fields: Fields = {"stat_prefix": serve.stat_prefix} | _tcp_destination(serve.clusters) | plain_text.connections(serve.counted_as)
    if serve.idle_timeout is not None:
        fields["idle_timeout"] = duration(serve.idle_timeout)
    if serve.access or within.direction is Direction.INBOUND:
        # When who is let in changes, open connections end with the next bytes, and their callers come again: nobody looks at them later.
        # Here also those that began before there was a policy. At gateways rules change for other reasons, too: those go on until drained.
        fields["check_drain_close"] = YES
    if serve.life is not None:
        fields["max_downstream_connection_duration"] = duration(serve.life)
    if serve.hash_policy:
        fields["hash_policy"] = [{"source_ip": {}}]
    if tunnel := serve.tunnel:
        host = f"[{tunnel.host}]" if ":" in tunnel.host else tunnel.host
        fields["tunneling_config"] = {"hostname": f"{host}:{tunnel.port}", "use_post": tunnel.post}
    return pb.TcpProxy(**fields)


def _taking(clusters: tuple[WeightedCluster, ...]) -> tuple[WeightedCluster, ...]:
    """The clusters that get connections; Envoy's TCP proxy takes no weight of 0."""
    return clusters if len(clusters) == 1 else tuple(to for to in clusters if to.weight)


def _tcp_destination(clusters: tuple[WeightedCluster, ...]) -> Fields:
    if len(clusters) == 1:
        return {"cluster": clusters[0].cluster}
    return {"weighted_clusters": {"clusters": [{"name": to.cluster, "weight": to.weight} for to in _taking(clusters)]}}
