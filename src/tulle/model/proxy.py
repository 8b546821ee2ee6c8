"""A proxy, and all that it is to do: listeners, route tables, clusters, endpoints. Nothing here is Envoy's own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from tulle.model.access import OPEN, Access
from tulle.model.identity import NO_LABELS, Labels, Locality
from tulle.model.logins import Login
from tulle.model.patches import PatchSet
from tulle.model.rate_limits import RateLimit
from tulle.model.resource import Source
from tulle.model.routing import RouteTable, WeightedCluster
from tulle.model.screen import NO_SCREEN, Screen
from tulle.model.service import Endpoint, Protocol, Resolution
from tulle.model.tls import DownstreamTls, Secret, UpstreamTls
from tulle.model.tokens import Tokens
from tulle.model.traffic import HashPolicy, TrafficPolicy, Tunnel
from tulle.model.transcoding import Transcoding

PLAIN_HTTP = ("http/1.0", "http/1.1", "h2c")
"""The protocols of a FilterChain that takes HTTP in plain text, where other bytes may come, too: told by the first line."""


class Role(Enum):
    SIDECAR = "sidecar"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundPort:
    """A port of the workload beside the proxy: callers dial `service_port`, the proxy listens on `listen`, the workload on `target`."""

    service_port: int
    listen: int
    target: int
    protocol: Protocol = Protocol.HTTP
    listen_address: str = "127.0.0.1"
    target_address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A service made reachable on a local address of the workload's own (`--upstream redis:6379=127.0.0.1:16379`)."""

    host: str
    """As written; short names resolve in the node's namespace."""
    port: int
    bind: str = "127.0.0.1"
    bind_port: int
    udp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a proxy says of itself when it connects."""

    id: str
    role: Role
    namespace: str = "default"
    labels: Labels = NO_LABELS
    service: str = ""
    """Short name of the service that a sidecar's workload belongs to."""
    service_account: str = "default"
    ip: str = "127.0.0.1"
    locality: Locality = Locality()
    inbound: tuple[InboundPort, ...] = ()
    http_proxy: tuple[str, int] | None = None
    """Address and port of the forward proxy for the workload's own calls."""
    upstreams: tuple[Upstream, ...] = ()
    instance: str = ""
    """Of one run of its agent: tells a proxy that comes back from another one that was given the same id."""
    privileged_ports: bool = False
    """Whether it may bind ports below 1024. Where not, a gateway serves them 8000 higher."""
    transparent: bool = False
    """Whether it may send from addresses that are not its machine's (Linux' CAP_NET_ADMIN)."""
    bind: str = "0.0.0.0"
    """The address on which a gateway listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpConnections:
    """Requests are routed one by one."""

    stat_prefix: str
    routes: str | RouteTable
    """The name of a table of the view, or the table itself."""
    forward_proxy: bool = False
    """Absolute-form requests for hosts that are not in the mesh are resolved and dialled."""
    internal: bool = False
    """Connections come from this very proxy (inside CONNECT)."""
    edge: bool = False
    """Callers are not trusted: forwarding headers are the proxy's own to write."""
    fixed_destination: Source | None = None
    trusted_hops: int = 0
    """How many proxies in front are believed in what they append to X-Forwarded-For."""
    forward_client_cert: str = ""
    """What becomes of x-forwarded-client-cert (Istio's word); empty for the default."""
    http3: bool = False
    """Callers may come by HTTP/3, too, and are told so."""
    screen: Screen = NO_SCREEN
    """What is asked of requests first."""
    access: Access = OPEN
    """Which requests are let in."""
    tokens: tuple[Tokens, ...] = ()
    """Which tokens callers may show; the first whose hosts fit a request is for it."""
    limits: tuple[RateLimit, ...] = ()
    """How many of the requests that are let in go on."""
    logins: tuple[Login, ...] = ()
    """Who callers must show to be, before anything else is asked."""
    transcodings: tuple[Transcoding, ...] = ()
    """How JSON becomes gRPC, behind all that refuses requests."""
    life: timedelta | None = None
    """A connection ends after so long at most, and its last request with it. Callers are told in time; None: it may go on for ever."""
    counted_as: int = 0
    """Requests are counted by the address of the caller, as those for this port of the workload; 0: they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TcpConnections:
    """Whole connections go to a cluster, by weight; so do the datagrams of a caller, where the listener is for UDP."""

    stat_prefix: str
    clusters: tuple[WeightedCluster, ...]
    idle_timeout: timedelta | None = None
    hash_policy: HashPolicy | None = None
    tunnel: Tunnel | None = None
    """Connections are carried inside HTTP requests to the cluster."""
    access: Access = OPEN
    """Which connections are let in."""
    life: timedelta | None = None
    """A connection is closed after so long; None: it may go on for ever."""
    counted_as: int = 0
    """Connections are counted by the address of the caller, as those to this port of the workload; 0: they are not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterChain:
    """What happens to connections that match. Empty matches take every connection."""

    name: str
    serve: HttpConnections | TcpConnections
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    destination_cidrs: tuple[str, ...] = ()
    source_cidrs: tuple[str, ...] = ()
    tls: DownstreamTls | None = None
    """TLS is ended here; None where the bytes are passed on as they come."""
    source: Source | None = None


class Direction(Enum):
    INBOUND = "inbound"
    OUTBOUND = "outbound"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    name: str
    address: str
    """An IP address; empty for a listener that only this proxy itself can reach (by `name`)."""
    port: int
    direction: Direction
    chains: tuple[FilterChain, ...]
    declared_port: int = 0
    """The port that the user asked for, where the proxy had to take another."""
    sources: tuple[Source, ...] = ()
    proxy_protocol: bool = False
    """Callers begin with a header of the PROXY protocol, version 1 or 2, which says who they speak for."""
    udp: bool = False
    """Datagrams instead of connections."""
    quic: bool = False
    """The datagrams are those of QUIC, which has connections again: HTTP/3."""
    http3_port: int = 0
    """Of what callers are told who may come by HTTP/3, too."""
    patience: timedelta | None = None
    """After so long a silent caller counts as one in plain text; None: it is cut off after a while, where its first words matter."""
    original_source: int | None = None
    """Endpoints see the caller's address; the mark of the packets to them, 0 for none. None: endpoints see the proxy's address."""
    counted_as: int = 0
    """Connections that no chain takes are counted by the address of the caller, as those to this port of the workload; 0: they are not."""

    @property
    def looks_for_http(self) -> bool:
        """Whether HTTP in plain text is told from other bytes here."""
        return any(chain.application_protocols == PLAIN_HTTP for chain in self.chains)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityGroup:
    """Endpoints of one place, for one caller's place."""

    locality: Locality
    endpoints: tuple[Endpoint, ...]
    priority: int = 0
    """Those of the next priority are used as those before become too few."""
    weight: int | None = None
    """None: the sum of its endpoints' weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A group of endpoints with one policy."""

    name: str
    policy: TrafficPolicy
    resolution: Resolution = Resolution.STATIC
    endpoints: tuple[Endpoint, ...] | None = None
    """Part of the cluster itself (inbound, DNS); None where the view sends them apart."""
    localities: tuple[LocalityGroup, ...] = ()
    """The same endpoints as seen from the proxy's place; empty where all places are alike."""
    http: bool = False
    http2: bool = False
    internal_listener: str = ""
    """Dials this listener of the same proxy instead of an address."""
    tls: UpstreamTls | None = None
    """None: in plain text."""
    mesh_tls: UpstreamTls | None = None
    """Towards those of its endpoints that take the mesh's mutual TLS; the others are spoken to as `tls` says."""
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointGroup:
    """The endpoints of the cluster of the same name."""

    name: str
    endpoints: tuple[Endpoint, ...]
    localities: tuple[LocalityGroup, ...] = ()
    """The same endpoints as seen from the proxy's place; empty where all places are alike."""
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """A set of things to do, often shared by many proxies. Equal by identity: the same layer object means that nothing in it changed."""

    listeners: tuple[Listener, ...] = ()
    route_tables: tuple[RouteTable, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    endpoints: tuple[EndpointGroup, ...] = ()
    secrets: tuple[Secret, ...] = ()
    """Only those that listeners and clusters of the layer name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyView:
    """All that one proxy is to do: layers whose names do not overlap. Work on a shared layer is done once for all its proxies."""

    layers: tuple[Layer, ...] = ()
    patches: PatchSet | None = None
    """Changes to all of it in the data plane's own words; None where there are none."""

    @property
    def listeners(self) -> tuple[Listener, ...]:
        return tuple(x for layer in self.layers for x in layer.listeners)

    @property
    def route_tables(self) -> tuple[RouteTable, ...]:
        return tuple(x for layer in self.layers for x in layer.route_tables)

    @property
    def clusters(self) -> tuple[Cluster, ...]:
        return tuple(x for layer in self.layers for x in layer.clusters)

    @property
    def endpoints(self) -> tuple[EndpointGroup, ...]:
        return tuple(x for layer in self.layers for x in layer.endpoints)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        return tuple(x for layer in self.layers for x in layer.secrets)
