"""Services, the ports they offer and the endpoints that answer for them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from tulle.model.frozen import FrozenMap
from tulle.model.identity import NO_LABELS, Labels, Locality
from tulle.model.resource import Source


class Protocol(Enum):
    """What is spoken on a port (Istio's protocol selection: `appProtocol`, else the prefix of the port's name)."""

    HTTP = "HTTP"
    HTTP2 = "HTTP2"
    GRPC = "GRPC"
    GRPC_WEB = "GRPC-Web"
    HTTPS = "HTTPS"
    TLS = "TLS"
    TCP = "TCP"
    UDP = "UDP"
    MONGO = "Mongo"
    REDIS = "Redis"
    MYSQL = "MySQL"
    AUTO = "Auto"
    """Not said: the proxy looks at the first bytes."""

    @property
    def is_http(self) -> bool:
        """Plain-text HTTP of any version, routed by request."""
        return self in (Protocol.HTTP, Protocol.HTTP2, Protocol.GRPC, Protocol.GRPC_WEB)

    @property
    def is_http2(self) -> bool:
        """Spoken to the endpoint as HTTP/2. gRPC-Web is HTTP/1.1 to the endpoint, as in Istio."""
        return self in (Protocol.HTTP2, Protocol.GRPC)

    @property
    def is_tls(self) -> bool:
        return self in (Protocol.HTTPS, Protocol.TLS)


class Resolution(Enum):
    """How a service's endpoints are found."""

    STATIC = "STATIC"
    """Known to the registry, sent to the proxies."""
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"
    NONE = "NONE"
    """The address that the caller dialled."""


class Health(Enum):
    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


_UDP = 65536


def port_key(number: int, *, udp: bool = False) -> int:
    """The key of a service's port."""
    return number + _UDP if udp else number


def port_number(key: int) -> int:
    """The number that a service's port of this key has."""
    return key % _UDP


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port of a service: what callers dial. The endpoint's own port is `Endpoint.port`."""

    number: int
    name: str = ""
    protocol: Protocol = Protocol.HTTP
    target: int | str | None = None
    """Number or name of the workload's port, when it differs."""

    @property
    def key(self) -> int:
        """Tells the ports of a service apart: a number may be used for TCP and for UDP. Those of UDP stand above all others."""
        return port_key(self.number, udp=self.protocol is Protocol.UDP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A name that callers use, and what stands behind it."""

    host: str
    """Fully qualified name, or a wildcard `*.example.com`."""
    name: str
    namespace: str
    ports: tuple[Port, ...]
    addresses: tuple[str, ...] = ()
    allocated: str = ""
    """The address that stands for it where `addresses` has none. Nothing listens there."""
    resolution: Resolution = Resolution.STATIC
    external: bool = False
    """Outside the mesh (Istio's MESH_EXTERNAL)."""
    export_to: tuple[str, ...] = ("*",)
    labels: Labels = NO_LABELS
    source: Source | None = None
    created: int = 0
    subject_alt_names: tuple[str, ...] = ()
    """What the certificates of its servers bear, where it is told."""
    traffic_distribution: str = ""
    """`PreferClose` and the like: which endpoints are near to a caller (Kubernetes' word)."""

    @property
    def virtual(self) -> tuple[str, ...]:
        """All addresses, or networks, that stand for it."""
        return (*self.addresses, self.allocated) if self.allocated else self.addresses

    def port(self, key: int) -> Port | None:
        return next((p for p in self.ports if p.key == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One instance of a service, for one of the service's ports."""

    address: str
    """An IP address, a host name for DNS resolutions, or the path of a Unix socket."""
    port: int = 0
    labels: Labels = NO_LABELS
    locality: Locality = Locality()
    weight: int = 1
    health: Health = Health.PASSING
    service_account: str = ""
    workload: str = ""
    """Name of the workload instance, for people: a registration's id or a WorkloadEntry's name."""
    network: str = ""
    tags: tuple[str, ...] = ()
    """Those of an instance of Consul's catalog."""
    mtls: bool = False
    """A sidecar takes connections here that takes the mesh's mutual TLS."""
    source: Source | None = None
    """The document that it is, where it has one of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredPort:
    """A port of a registered instance: `number` is what callers dial, `target` where the instance's sidecar listens."""

    number: int
    target: int
    name: str = ""
    protocol: Protocol = Protocol.HTTP


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """An instance that told the registry of itself."""

    id: str
    service: str
    namespace: str = "default"
    address: str = "127.0.0.1"
    ports: tuple[RegisteredPort, ...] = ()
    labels: Labels = NO_LABELS
    service_account: str = "default"
    locality: Locality = Locality()
    weight: int = 1
    health: Health = Health.PASSING
    proxy: str = ""
    """Node id of the sidecar in front of it; empty without one."""
    node: str = ""
    """The machine that it runs on; empty for the control plane's own."""
    meta: FrozenMap[str, str] = FrozenMap()
    tags: tuple[str, ...] = ()
    """Those of an instance of Consul's catalog."""
