"""Connections to the workload beside a sidecar: a listener and a cluster for each of its ports."""

from __future__ import annotations

from tulle.compile import actions, names
from tulle.compile.policies import DEFAULT
from tulle.model.proxy import Cluster, Direction, FilterChain, HttpConnections, InboundPort, Listener, Node, TcpConnections
from tulle.model.routing import Forward, Route, RouteMatch, RouteTable, VirtualHost, WeightedCluster
from tulle.model.service import Endpoint, Protocol, port_key
from tulle.model.traffic import ConnectionPool, TrafficPolicy

_AS_CALLED = TrafficPolicy(connection_pool=ConnectionPool(use_client_protocol=True))
"""The workload is spoken to as the caller spoke, so that gRPC gets through on a port that is called `http`."""


def inbound(node: Node) -> tuple[tuple[Listener, ...], tuple[Cluster, ...]]:
    ports = {(p.listen_address, _key(p.listen, p)): p for p in reversed(node.inbound)}
    by_service_port = {_key(p.service_port, p): p for p in reversed(node.inbound)}
    listeners = tuple(_listener(port) for _, port in sorted(ports.items()) if by_service_port[_key(port.service_port, port)] is port)
    return listeners, tuple(_cluster(port) for _, port in sorted(by_service_port.items()))


def _key(number: int, port: InboundPort) -> int:
    return port_key(number, udp=port.protocol is Protocol.UDP)


def cluster_name(port: InboundPort) -> str:
    return f"inbound|{port.service_port}{'/udp' if port.protocol is Protocol.UDP else ''}||"


def _listener(port: InboundPort) -> Listener:
    name = cluster_name(port)
    http = HttpConnections(stat_prefix=name, routes=_table(port))
    tcp = TcpConnections(stat_prefix=name, clusters=(WeightedCluster(cluster=name),))
    udp = port.protocol is Protocol.UDP
    return Listener(
        name=names.listener_name(port.listen_address, port.listen, udp=udp),
        address=port.listen_address,
        port=port.listen,
        direction=Direction.INBOUND,
        chains=(FilterChain(name=name, serve=http if port.protocol.is_http else tcp),),
        udp=udp,
    )


def _table(port: InboundPort) -> RouteTable:
    name = cluster_name(port)
    grpc = port.protocol in (Protocol.GRPC, Protocol.GRPC_WEB)
    action = Forward(clusters=(WeightedCluster(cluster=name),), retry=None if grpc else actions.INBOUND_RETRY)
    host = VirtualHost(
        name=f"inbound|http|{port.service_port}", domains=("*",), routes=(Route(name="default", match=RouteMatch(), action=action),)
    )
    return RouteTable(name=name, virtual_hosts=(host,))


def _cluster(port: InboundPort) -> Cluster:
    http2 = port.protocol.is_http2
    return Cluster(
        name=cluster_name(port),
        policy=_AS_CALLED if port.protocol.is_http and not http2 else DEFAULT,
        endpoints=(Endpoint(address=port.target_address, port=port.target),),
        http=port.protocol.is_http,
        http2=http2,
    )
