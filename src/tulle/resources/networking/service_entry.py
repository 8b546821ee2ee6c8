"""ServiceEntry: a service that is described by hand, in the mesh or outside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Annotated

from tulle.resources.names import ExportTarget, Subnet, WildcardHost, is_ip
from tulle.resources.networking.common import Protocol, WorkloadSelector, export_problems, repeated, taken
from tulle.resources.networking.workload_entry import WorkloadEntry
from tulle.resources.scalars import Port, Text, choice
from tulle.resources.spec import Problem, Spec, shown


class Location(Enum):
    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(Enum):
    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


_BY_NAME = (Resolution.DNS, Resolution.DNS_ROUND_ROBIN, Resolution.DYNAMIC_DNS)


class ServicePort(Spec):
    number: Port
    name: Text
    protocol: Protocol | None = None
    target_port: Port | None = None


class ServiceEntry(Spec):
    at_most_one_of = (("endpoints", "workload_selector"),)

    hosts: tuple[WildcardHost, ...]
    addresses: tuple[Subnet, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    location: Annotated[Location, choice(Location)] = Location.MESH_EXTERNAL
    resolution: Annotated[Resolution, choice(Resolution)] = Resolution.NONE
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[ExportTarget, ...] = ()
    subject_alt_names: tuple[Text, ...] = ()

    def check(self) -> Iterable[Problem]:
        if not self.hosts:
            yield ("hosts",), "must have at least one item"
        if "*" in self.hosts:
            yield ("hosts", self.hosts.index("*")), 'must not be "*" alone'
        yield from repeated("hosts", self.hosts)
        yield from taken("ports", "number", (port.number for port in self.ports))
        yield from taken("ports", "name", (port.name for port in self.ports))
        yield from export_problems(self.export_to, hidden_allowed=True)
        yield from self._resolution_problems()
        yield from self._endpoint_problems()

    def _resolution_problems(self) -> Iterator[Problem]:
        by_name = self.resolution in _BY_NAME
        if self.resolution is Resolution.NONE and self.endpoints:
            yield ("endpoints",), "must not be set where resolution is NONE"
        if self.resolution is Resolution.DNS_ROUND_ROBIN and len(self.endpoints) > 1:
            yield ("endpoints",), "must have at most one item where resolution is DNS_ROUND_ROBIN"
        if by_name:
            for index, address in enumerate(self.addresses):
                if "/" in address:
                    yield ("addresses", index), f"must not be a range where resolution is {self.resolution.value}"
        if self.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN) and not self.endpoints and not self.workload_selector:
            for index, host in enumerate(self.hosts):
                if "*" in host:
                    yield ("hosts", index), f"must not be a wildcard where resolution is {self.resolution.value} and there are no endpoints"

    def _endpoint_problems(self) -> Iterator[Problem]:
        names = {port.name for port in self.ports}
        for index, endpoint in enumerate(self.endpoints):
            for name in endpoint.ports:
                if name not in names:
                    yield ("endpoints", index, "ports", name), "is no port of this ServiceEntry"
            address = endpoint.address
            if self.resolution is Resolution.STATIC and address and not endpoint.is_unix and not is_ip(address):
                yield ("endpoints", index, "address"), f"must be an IP address where resolution is STATIC, not {shown(address)}"
            if self.resolution in _BY_NAME and endpoint.is_unix:
                yield ("endpoints", index, "address"), f"must not be a Unix socket where resolution is {self.resolution.value}"
