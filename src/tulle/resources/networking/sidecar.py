"""Sidecar: what the sidecars of a namespace, or of chosen workloads, may see, and how they receive."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

from tulle.resources.names import EgressHost, Host, IpOrUnix, Label, Plain
from tulle.resources.networking.common import PortSelector, WorkloadSelector
from tulle.resources.networking.tls import ServerTls
from tulle.resources.networking.traffic_policy import ConnectionPool
from tulle.resources.scalars import Port, Text, UInt, choice
from tulle.resources.spec import Spec


class CaptureMode(Enum):
    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"


class SidecarPort(Spec):
    number: Port
    protocol: Text | None = None
    name: Text | None = None
    target_port: UInt | None = None


class Ingress(Spec):
    port: SidecarPort
    bind: IpOrUnix | None = None
    capture_mode: Annotated[CaptureMode, choice(CaptureMode)] = CaptureMode.DEFAULT
    default_endpoint: Plain | None = None
    tls: ServerTls | None = None
    connection_pool: ConnectionPool | None = None


class Egress(Spec):
    hosts: tuple[EgressHost, ...]
    port: SidecarPort | None = None
    bind: IpOrUnix | None = None
    capture_mode: Annotated[CaptureMode, choice(CaptureMode)] = CaptureMode.DEFAULT


class EgressProxy(Spec):
    host: Host
    subset: Label | None = None
    port: PortSelector | None = None


class OutboundMode(Enum):
    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class OutboundTrafficPolicy(Spec):
    mode: Annotated[OutboundMode, choice(OutboundMode)] = OutboundMode.REGISTRY_ONLY
    egress_proxy: EgressProxy | None = None


class Sidecar(Spec):
    workload_selector: WorkloadSelector | None = None
    ingress: tuple[Ingress, ...] = ()
    egress: tuple[Egress, ...] = ()
    inbound_connection_pool: ConnectionPool | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None
