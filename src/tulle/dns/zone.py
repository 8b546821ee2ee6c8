"""What names stand for: the registry's machines and instances, and the hosts of the compiled mesh.

A zone is a view: endpoints are looked up when they are asked for, so that one which nobody asks for costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

from tulle.compile.catalog import Backend
from tulle.compile.mesh import Mesh
from tulle.dns.question import IpAddress
from tulle.model.frozen import FrozenMap
from tulle.model.service import Endpoint, Health, Port, Resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node: a machine on which instances run."""

    name: str
    address: str
    meta: FrozenMap[str, str] = FrozenMap()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One instance of a service."""

    id: str
    service: str
    namespace: str = "default"
    machine: Machine
    address: str = ""
    """An IP address or a host name; empty: the machine's."""
    port: int = 0
    tags: tuple[str, ...] = ()
    status: Health = Health.PASSING
    """The worst of its own checks and its machine's."""
    weight: int = 1
    """While it passes; `warning_weight` while it warns."""
    warning_weight: int = 1


ServiceName = tuple[str, str]
"""Namespace and name, in lower case."""


class Directory(Protocol):
    """The registry, by name. Names are asked for in lower case."""

    def machine(self, name: str) -> Machine | None: ...
    def instances(self, name: ServiceName) -> Sequence[Instance]:
        """All of them, whatever their health, in any order: answers are shuffled when they are given."""
        ...

    def connect(self, name: ServiceName) -> Sequence[Instance]:
        """What takes mutual TLS for a service."""
        ...

    def ingress(self, name: ServiceName) -> Sequence[Instance]:
        """The gateways through which a service is reached, one for each of their ports."""
        ...

    def at(self, address: IpAddress) -> Machine | Instance | None:
        """Who has an address: a machine, else an instance with an address of its own."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What had to be asked for before a question could be answered: of another datacenter, or of a prepared query."""

    asked: object
    """The question that it answers."""
    datacenter: str
    """Where what was found is."""
    instances: tuple[Instance, ...] = ()
    machine: Machine | None = None
    ttl: int | None = None
    """Seconds, where a query says so."""


def as_address(text: str) -> IpAddress | None:
    try:
        return ip_address(text) if text else None
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hosts:
    """The hosts of a mesh, by name: where one is declared in several namespaces, the one whose name says so, else the oldest."""

    exact: Mapping[str, Backend]
    wild: Mapping[str, Backend]
    """By what follows `*.`"""
    namespaces: frozenset[str]

    def find(self, host: str) -> Backend | None:
        found = self.exact.get(host)
        while found is None and self.wild and "." in host:
            host = host.partition(".")[2]
            found = self.wild.get(host)
        return found


def hosts(mesh: Mesh) -> Hosts:
    exact: dict[str, Backend] = {}
    wild: dict[str, Backend] = {}
    for backend in sorted(mesh.structure.backends.values(), key=lambda b: b.rank):
        host = backend.service.host.lower()
        (wild if host.startswith("*.") else exact).setdefault(host.removeprefix("*."), backend)
    return Hosts(exact=exact, wild=wild, namespaces=frozenset(key.namespace for key in mesh.structure.backends))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPort:
    """Where one port of a mesh's service is reached."""

    name: str
    protocol: str
    """`tcp` or `udp`."""
    address: IpAddress | None
    """None: at the service's own name."""
    port: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Zone:
    directory: Directory
    hosts: Hosts
    mesh: Mesh
    server: Machine
    """The machine that answers."""

    def addresses(self, backend: Backend) -> tuple[IpAddress, ...]:
        """The service's own addresses; those of the instances that take requests where it has none."""
        own = own_addresses(backend)
        return own or tuple(dict.fromkeys(a for e in self._endpoints(backend) if (a := as_address(e.address)) is not None))

    def virtual(self, backend: Backend) -> tuple[IpAddress, ...]:
        """The service's own addresses, or the one that was allocated for it."""
        found = as_address(backend.service.allocated)
        return own_addresses(backend) or ((found,) if found else ())

    def alias(self, backend: Backend) -> str:
        """The other name that a service stands for, if it is one name (Kubernetes' ExternalName)."""
        if backend.resolution is not Resolution.DNS or own_addresses(backend):
            return ""
        found = {e.address.rstrip(".").lower() for e in self._endpoints(backend) if as_address(e.address) is None}
        name = next(iter(found)) if len(found) == 1 else ""
        return "" if name == backend.service.host.lower() or name.startswith(("/", "@")) else name

    def ports(self, backend: Backend) -> tuple[HostPort, ...]:
        return tuple(dict.fromkeys(p for port in backend.service.ports for p in self._served(backend, port)))

    def _served(self, backend: Backend, port: Port) -> Iterator[HostPort]:
        protocol = "udp" if port.key != port.number else "tcp"
        if own_addresses(backend):
            yield HostPort(name=port.name, protocol=protocol, address=None, port=port.number)
            return
        for endpoint in self._by_port(backend).get(port.key, ()):
            if (at := as_address(endpoint.address)) is not None:
                yield HostPort(name=port.name, protocol=protocol, address=at, port=endpoint.port)

    def _by_port(self, backend: Backend) -> Mapping[int, tuple[Endpoint, ...]]:
        if backend.inline is not None:
            return backend.inline
        found = self.mesh.endpoint_set(backend.key)
        return found.by_port if found else {}

    def _endpoints(self, backend: Backend) -> Iterable[Endpoint]:
        return (endpoint for found in self._by_port(backend).values() for endpoint in found)


def own_addresses(backend: Backend) -> tuple[IpAddress, ...]:
    """Networks (`10.0.0.0/8`) are no addresses to connect to."""
    return tuple(a for text in backend.service.addresses if (a := as_address(text)) is not None and not a.is_unspecified)
