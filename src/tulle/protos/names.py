"""Short names for the types that Tulle speaks: `pb.Cluster` is the class of `envoy.config.cluster.v3.Cluster`."""

from __future__ import annotations

from typing import Any

from tulle.protos.library import message

_HCM = "envoy.extensions.filters.network.http_connection_manager.v3"
_LB = "envoy.extensions.load_balancing_policies"

NAMES = {
    "Any": "google.protobuf.Any",
    "ApiKeyAuth": "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuth",
    "ApiKeyAuthPerRoute": "envoy.extensions.filters.http.api_key_auth.v3.ApiKeyAuthPerRoute",
    "BasicAuth": "envoy.extensions.filters.http.basic_auth.v3.BasicAuth",
    "BasicAuthPerRoute": "envoy.extensions.filters.http.basic_auth.v3.BasicAuthPerRoute",
    "Bootstrap": "envoy.config.bootstrap.v3.Bootstrap",
    "Buffer": "envoy.extensions.filters.http.buffer.v3.Buffer",
    "ClientSideWeightedRoundRobin": f"{_LB}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
    "Cluster": "envoy.config.cluster.v3.Cluster",
    "ClusterLoadAssignment": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "Cors": "envoy.extensions.filters.http.cors.v3.Cors",
    "CorsPolicy": "envoy.extensions.filters.http.cors.v3.CorsPolicy",
    "ConsistentHashing": "envoy.extensions.matching.input_matchers.consistent_hashing.v3.ConsistentHashing",
    "CookieBasedSessionState": "envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState",
    "DeltaDiscoveryRequest": "envoy.service.discovery.v3.DeltaDiscoveryRequest",
    "DeltaDiscoveryResponse": "envoy.service.discovery.v3.DeltaDiscoveryResponse",
    "DiscoveryRequest": "envoy.service.discovery.v3.DiscoveryRequest",
    "DiscoveryResponse": "envoy.service.discovery.v3.DiscoveryResponse",
    "DnsCluster": "envoy.extensions.clusters.dns.v3.DnsCluster",
    "DownstreamTlsContext": "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "DynamicForwardProxy": "envoy.extensions.filters.http.dynamic_forward_proxy.v3.FilterConfig",
    "DynamicForwardProxyCluster": "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
    "ExtAuthz": "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
    "ExtensionWithMatcher": "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
    "ExtProcPerRoute": "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute",
    "ExternalProcessor": "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
    "GrpcJsonTranscoder": "envoy.extensions.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
    "GrpcWeb": "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb",
    "HTTPFault": "envoy.extensions.filters.http.fault.v3.HTTPFault",
    "HttpInspector": "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    "HeaderMutation": "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "HeaderBasedSessionState": "envoy.extensions.http.stateful_session.header.v3.HeaderBasedSessionState",
    "HttpConnectionManager": f"{_HCM}.HttpConnectionManager",
    "HttpFilterConfig": "envoy.config.route.v3.FilterConfig",
    "HttpProtocolOptions": "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "HttpOriginalSource": "envoy.extensions.filters.http.original_src.v3.OriginalSrc",
    "HttpRequestHeaderMatchInput": "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    "InternalListener": "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
    "InternalUpstreamTransport": "envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
    "JwtAuthentication": "envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
    "Listener": "envoy.config.listener.v3.Listener",
    "LocalRateLimit": "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "Lua": "envoy.extensions.filters.http.lua.v3.Lua",
    "HttpRateLimit": "envoy.extensions.filters.http.ratelimit.v3.RateLimit",
    "RateLimitRequest": "envoy.service.ratelimit.v3.RateLimitRequest",
    "RateLimitResponse": "envoy.service.ratelimit.v3.RateLimitResponse",
    "NetworkExtAuthz": "envoy.extensions.filters.network.ext_authz.v3.ExtAuthz",
    "NetworkRBAC": "envoy.extensions.filters.network.rbac.v3.RBAC",
    "OAuth2": "envoy.extensions.filters.http.oauth2.v3.OAuth2",
    "OriginalSource": "envoy.extensions.filters.listener.original_src.v3.OriginalSrc",
    "PreviousHosts": "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    "PreviousPriorities": "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
    "ProcessingRequest": "envoy.service.ext_proc.v3.ProcessingRequest",
    "ProcessingResponse": "envoy.service.ext_proc.v3.ProcessingResponse",
    "ProxyProtocol": "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol",
    "ProxyProtocolUpstreamTransport": "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
    "QuicDownstreamTransport": "envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
    "RBAC": "envoy.extensions.filters.http.rbac.v3.RBAC",
    "RBACPerRoute": "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    "RawBuffer": "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "Resource": "envoy.service.discovery.v3.Resource",
    "RouteConfiguration": "envoy.config.route.v3.RouteConfiguration",
    "Router": "envoy.extensions.filters.http.router.v3.Router",
    "SPIFFECertValidatorConfig": "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
    "SetFilterState": "envoy.extensions.filters.http.set_filter_state.v3.Config",
    "SniDynamicForwardProxy": "envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
    "Secret": "envoy.extensions.transport_sockets.tls.v3.Secret",
    "SkipFilter": "envoy.extensions.filters.common.matcher.action.v3.SkipFilter",
    "SourcePortInput": "envoy.extensions.matching.common_inputs.network.v3.SourcePortInput",
    "StatefulSession": "envoy.extensions.filters.http.stateful_session.v3.StatefulSession",
    "StatefulSessionPerRoute": "envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute",
    "StatsAccessLog": "envoy.extensions.access_loggers.stats.v3.Config",
    "StdoutAccessLog": "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    "TcpProxy": "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "TlsInspector": "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "UdpProxyConfig": "envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
    "UdpRoute": "envoy.extensions.filters.udp.udp_proxy.v3.Route",
    "UpstreamTlsContext": "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "VirtualHost": "envoy.config.route.v3.VirtualHost",
}


class _Types:
    def __getattr__(self, name: str) -> Any:
        if name not in NAMES:
            raise AttributeError(f"no short name {name!r} for a message type")
        made = message(NAMES[name])
        setattr(self, name, made)
        return made


pb = _Types()


def type_url(name: str) -> str:
    """The type URL of a message type, by its short name."""
    return f"type.googleapis.com/{NAMES[name]}"
