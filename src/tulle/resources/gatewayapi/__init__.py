"""The kinds of the Kubernetes Gateway API, each as a frozen model of its `spec`."""

from tulle.resources.gatewayapi.connection_routes import TcpRoute, TlsRoute, UdpRoute
from tulle.resources.gatewayapi.gateway import Gateway, GatewayClass, ListenerSet
from tulle.resources.gatewayapi.grpc_route import GrpcRoute
from tulle.resources.gatewayapi.http_route import HttpRoute
from tulle.resources.gatewayapi.policies import BackendTlsPolicy, BackendTrafficPolicy, ReferenceGrant

__all__ = [
    "BackendTlsPolicy",
    "BackendTrafficPolicy",
    "Gateway",
    "GatewayClass",
    "GrpcRoute",
    "HttpRoute",
    "ListenerSet",
    "ReferenceGrant",
    "TcpRoute",
    "TlsRoute",
    "UdpRoute",
]
