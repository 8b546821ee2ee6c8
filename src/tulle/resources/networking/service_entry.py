"""ServiceEntry: a service that is described by hand, in the mesh or outside."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from tulle.resources.names import ExportTarget, Subnet, WildcardHost
from tulle.resources.networking.common import WorkloadSelector
from tulle.resources.networking.workload_entry import WorkloadEntry
from tulle.resources.scalars import Port, Text, choice
from tulle.resources.spec import Spec


class Location(Enum):
    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(Enum):
    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


class ServicePort(Spec):
    number: Port
    name: Text
    protocol: Text | None = None
    target_port: Port | None = None


class ServiceEntry(Spec):
    hosts: tuple[WildcardHost, ...]
    addresses: tuple[Subnet, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    location: Annotated[Location, choice(Location)] = Location.MESH_EXTERNAL
    resolution: Annotated[Resolution, choice(Resolution)] = Resolution.NONE
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[ExportTarget, ...] = ()
    subject_alt_names: tuple[Text, ...] = ()
