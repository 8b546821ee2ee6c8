"""Connections to the workload beside a sidecar: a listener and a cluster for each of its ports."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from tulle.compile import actions, names, protocols, sniffing, tls
from tulle.compile.credentials import Keyring
from tulle.compile.guards import NO_GUARDS, Guards, Policy
from tulle.compile.peers import Posture, Ruled
from tulle.compile.policies import DEFAULT, connection_pool
from tulle.compile.screens import ScreenDocument, before, screen
from tulle.model.access import OPEN, Access
from tulle.model.logins import Login
from tulle.model.proxy import Cluster, Direction, FilterChain, HttpConnections, InboundPort, Listener, Node, TcpConnections
from tulle.model.rate_limits import RateLimit
from tulle.model.resource import Resource, Source
from tulle.model.routing import Forward, Route, RouteMatch, RouteTable, VirtualHost, WeightedCluster
from tulle.model.screen import NO_SCREEN, Screen
from tulle.model.service import Endpoint, Protocol, port_key
from tulle.model.tls import DownstreamTls
from tulle.model.tokens import Tokens
from tulle.model.traffic import ConnectionPool, TrafficPolicy
from tulle.model.transcoding import Transcoding
from tulle.resources.networking.sidecar import Ingress, Sidecar
from tulle.resources.security.peer_authentication import MtlsMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of those who call the workload."""

    guards: Guards = NO_GUARDS
    tokens: tuple[Tokens, ...] = ()
    logins: tuple[Login, ...] = ()
    limits: tuple[RateLimit, ...] = ()
    screened: tuple[ScreenDocument, ...] = ()
    transcodings: tuple[Transcoding, ...] = ()


NOTHING = Asked()


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A port of the workload, with what a Sidecar resource says of it."""

    port: InboundPort
    endpoint: Endpoint
    pool: ConnectionPool
    ruled: Ruled
    trust_domains: tuple[str, ...]
    connection_life: timedelta | None = None
    screen: Screen = NO_SCREEN
    access: Access = OPEN
    asked: Asked = NOTHING
    source: Source | None = None
    ended: DownstreamTls | None = None
    """How TLS is ended that is not the mesh's own, where the resource says so. Plain text is not taken then."""


def inbound(
    node: Node, sidecar: Resource[Sidecar] | None, posture: Posture, asked: Asked = NOTHING, upgraded: Collection[int] = ()
) -> tuple[tuple[Listener, ...], tuple[Cluster, ...]]:
    """Ports that the Sidecar resource does not speak of are served as the workload registered them.

    `upgraded`: those of the service to which proxies of callers make HTTP/2 of all that they are asked.
    """
    policies = asked.guards.at(node.namespace, node.labels, node.service)
    ports = {(p.listen_address, _key(p.listen, p)): p for p in reversed((*node.inbound, *_more_ports(node, sidecar)))}
    by_service_port = {_key(p.service_port, p): p for p in reversed(tuple(ports.values()))}
    chosen = [port for _, port in sorted(ports.items()) if by_service_port[_key(port.service_port, port)] is port]
    served = [_served(port, node, sidecar, posture) for port in chosen]
    in_order = sorted(served, key=lambda s: _key(s.port.service_port, s.port))
    return tuple(_listener(of, asked, policies) for of in served), tuple(_cluster(s, upgraded) for s in in_order)


def _access(port: InboundPort, guards: Guards, policies: tuple[Policy, ...]) -> Access:
    """Callers know the port by the service's number, people who look at the workload by its own."""
    if not policies:
        return OPEN
    return guards.access(policies, frozenset((port.service_port, port.target)), requests=port.protocol.is_http)


def _more_ports(node: Node, sidecar: Resource[Sidecar] | None) -> Iterator[InboundPort]:
    """Ingress ports that the workload did not register are opened where the resource says."""
    known = {p.service_port for p in node.inbound if p.protocol is not Protocol.UDP}
    for item in sidecar.spec.ingress if sidecar else ():
        bind = item.bind or node.ip
        if item.port.number not in known and not bind.startswith("unix:"):
            number = item.port.number
            protocol = protocols.of_port(number, item.port.name or "", item.port.protocol or "")
            yield InboundPort(service_port=number, listen=number, target=number, protocol=protocol, listen_address=bind)


def _served(port: InboundPort, node: Node, sidecar: Resource[Sidecar] | None, posture: Posture) -> Served:
    endpoint = Endpoint(address=port.target_address, port=port.target)
    plain = Served(
        port=port,
        endpoint=endpoint,
        pool=ConnectionPool(),
        ruled=posture.port(port.service_port),
        trust_domains=posture.trust_domains,
        connection_life=posture.connection_life,
    )
    if sidecar is None or port.protocol is Protocol.UDP:
        return plain
    spec = sidecar.spec
    found = next(((i, item) for i, item in enumerate(spec.ingress) if item.port.number == port.service_port), None)
    if found is None:
        return replace(plain, pool=connection_pool(spec.inbound_connection_pool))
    index, item = found
    protocol = protocols.named(item.port.protocol or "") or port.protocol
    ended = _ended(item, node)
    return replace(
        plain,
        port=replace(port, protocol=_INSIDE.get(protocol, protocol) if ended else protocol),
        ended=ended,
        endpoint=_default_endpoint(item.default_endpoint, node) or endpoint,
        pool=connection_pool(item.connection_pool or spec.inbound_connection_pool),
        source=sidecar.at(f"spec.ingress[{index}]"),
    )


_INSIDE = {Protocol.HTTPS: Protocol.HTTP, Protocol.TLS: Protocol.TCP}
"""What is spoken once TLS is ended."""


def _ended(item: Ingress, node: Node) -> DownstreamTls | None:
    """A Sidecar's certificates are files: it names no credentials."""
    if item.tls is None or item.tls.mode not in tls.ENDING:
        return None
    protocol = protocols.named(item.port.protocol or "")
    http = protocol is Protocol.HTTPS or bool(protocol and protocol.is_http)
    made = tls.downstream(item.tls, Keyring(credentials={}, namespace=node.namespace), node.namespace, http=http)
    return made if isinstance(made, DownstreamTls) else None


def _default_endpoint(written: str | None, node: Node) -> Endpoint | None:
    """`0.0.0.0` stands for the address at which the workload is reached."""
    if not written:
        return None
    if written.startswith("unix://"):
        return Endpoint(address=written.removeprefix("unix://"))
    host, _, number = written.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    return Endpoint(address=node.ip if host in ("0.0.0.0", "::") else host, port=int(number))


def _key(number: int, port: InboundPort) -> int:
    return port_key(number, udp=port.protocol is Protocol.UDP)


def cluster_name(port: InboundPort) -> str:
    return f"inbound|{port.service_port}{'/udp' if port.protocol is Protocol.UDP else ''}||"


def _guarded(of: Served, asked: Asked, policies: tuple[Policy, ...], spoken: Protocol) -> Served:
    """With what is asked of callers who speak so."""
    port = replace(of.port, protocol=spoken)
    access = _access(port, asked.guards, policies)
    return replace(of, port=port, asked=asked, access=access, screen=screen(asked.screened, requests=spoken.is_http))


def _listener(of: Served, asked: Asked, policies: tuple[Policy, ...]) -> Listener:
    port = of.port
    udp = port.protocol is Protocol.UDP
    spoken = (Protocol.HTTP, Protocol.TCP) if port.protocol is Protocol.AUTO else (port.protocol,)
    chains = [tuple(_chains(_guarded(of, asked, policies, protocol))) for protocol in spoken]
    waits = of.ruled.mode is MtlsMode.PERMISSIVE or (of.ruled.mode is MtlsMode.DISABLE and len(chains) > 1)
    return Listener(
        name=names.listener_name(port.listen_address, port.listen, udp=udp),
        address=port.listen_address,
        port=port.listen,
        direction=Direction.INBOUND,
        chains=tuple(sniffing.told_apart(*chains)) if len(chains) > 1 else chains[0],
        sources=tuple(source for source in (of.source, of.ruled.source) if source),
        udp=udp,
        counted_as=0 if udp or of.ruled.mode is MtlsMode.DISABLE else port.service_port,
        patience=sniffing.PATIENCE if waits and not (port.protocol.is_http or udp) else None,
    )


def _chains(of: Served) -> Iterator[FilterChain]:
    """Mutual TLS is told by its ALPN from TLS of the workload's own, which a port that is not HTTP passes on (BEHAVIOURS 16)."""
    mode = of.ruled.mode
    told = mode is MtlsMode.PERMISSIVE and not of.ended
    plain = FilterChain(name=cluster_name(of.port), serve=_serve(of, counted_as=of.port.service_port if told else 0), source=of.source)
    if mode is MtlsMode.DISABLE or of.port.protocol is Protocol.UDP:
        yield replace(plain, tls=of.ended)
        return
    strict = mode is MtlsMode.STRICT
    mutual = FilterChain(
        name=f"{plain.name}mtls",
        serve=_serve(of, forward_client_cert="APPEND_FORWARD"),
        transport_protocol="tls",
        application_protocols=() if strict else tls.MESH_PROTOCOLS,
        tls=tls.mesh_server(of.trust_domains, http=of.port.protocol.is_http),
        source=of.ruled.source or of.source,
    )
    yield tls.bounded(mutual, of.connection_life)
    if of.ended and not strict:
        yield replace(plain, name=f"{plain.name}tls", transport_protocol="tls", tls=of.ended)
    elif not strict:
        yield replace(plain, transport_protocol="raw_buffer")
        if not of.port.protocol.is_http:
            yield replace(plain, name=f"{plain.name}tls", transport_protocol="tls")


def _serve(of: Served, *, forward_client_cert: str = "", counted_as: int = 0) -> HttpConnections | TcpConnections:
    name = cluster_name(of.port)
    if of.port.protocol.is_http:
        routes = _table(of.port, of.source)
        return HttpConnections(
            stat_prefix=name,
            routes=routes,
            forward_client_cert=forward_client_cert,
            screen=of.screen,
            logins=of.asked.logins,
            access=of.access,
            tokens=of.asked.tokens,
            limits=of.asked.limits,
            transcodings=of.asked.transcodings,
            counted_as=counted_as,
        )
    return TcpConnections(
        stat_prefix=name,
        clusters=(WeightedCluster(cluster=name),),
        idle_timeout=of.pool.tcp_idle_timeout,
        access=before(of.screen.access, of.access),
        life=of.pool.max_connection_duration,
        counted_as=counted_as,
    )


def _table(port: InboundPort, source: Source | None) -> RouteTable:
    name = cluster_name(port)
    grpc = port.protocol in (Protocol.GRPC, Protocol.GRPC_WEB)
    action = Forward(clusters=(WeightedCluster(cluster=name),), retry=None if grpc else actions.INBOUND_RETRY)
    route = Route(name="default", match=RouteMatch(), action=action, source=source)
    host = VirtualHost(name=f"inbound|http|{port.service_port}", domains=("*",), routes=(route,))
    return RouteTable(name=name, virtual_hosts=(host,))


def _cluster(of: Served, upgraded: Collection[int]) -> Cluster:
    http2 = of.port.protocol.is_http2
    told = of.port.protocol is Protocol.AUTO or not (of.ended or of.port.service_port in upgraded)
    pool = of.pool
    http = of.port.protocol.is_http or of.port.protocol is Protocol.AUTO
    if http and not http2 and told and not pool.upgrade_to_http2:
        # The workload is spoken to as the caller spoke, so that gRPC gets through on a port that is called `http`. Where proxies of
        # callers upgrade, or TLS that ends here offers HTTP/2, what comes does not tell that, and the port's protocol holds.
        pool = replace(pool, use_client_protocol=True)
    return Cluster(
        name=cluster_name(of.port),
        policy=DEFAULT if pool == DEFAULT.connection_pool else TrafficPolicy(connection_pool=pool),
        endpoints=(of.endpoint,),
        http=http,
        http2=http2,
        sources=(of.source,) if of.source else (),
    )
