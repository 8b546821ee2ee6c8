"""Sidecar: what the sidecars of a namespace, or of chosen workloads, may see, and how they receive."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Annotated

from tulle.resources.names import EgressHost, Host, IpOrUnix, Label, Plain, unix_socket
from tulle.resources.networking.common import HTTP_PROTOCOLS, PortSelector, Protocol, WorkloadSelector, taken
from tulle.resources.networking.tls import ServerTls, ServerTlsMode
from tulle.resources.networking.traffic_policy import ConnectionPool
from tulle.resources.scalars import Port, Text, UInt, choice, whole
from tulle.resources.spec import Problem, Spec, shown


class CaptureMode(Enum):
    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"


class SidecarPort(Spec):
    number: Port
    protocol: Protocol | None = None
    name: Text | None = None
    target_port: UInt | None = None


_ENDPOINT = re.compile(r"(?:|127\.0\.0\.1|0\.0\.0\.0|\[::1\]|\[::\]):\d{1,5}|unix://[/@].+")


class EgressPort(SidecarPort):
    number: Annotated[int, whole(0, 65535)]
    """0: services on all their ports, by a Unix socket."""


class Ingress(Spec):
    port: SidecarPort
    bind: IpOrUnix | None = None
    capture_mode: Annotated[CaptureMode, choice(CaptureMode)] = CaptureMode.DEFAULT
    default_endpoint: Plain | None = None
    tls: ServerTls | None = None
    connection_pool: ConnectionPool | None = None

    def check(self) -> Iterable[Problem]:
        if self.default_endpoint and not _ENDPOINT.fullmatch(self.default_endpoint):
            yield ("default_endpoint",), f'must be "127.0.0.1:port", "0.0.0.0:port" or "unix:///path", not {shown(self.default_endpoint)}'
        elif self.default_endpoint and self.default_endpoint.startswith("unix:") and (why := unix_socket(self.default_endpoint)):
            yield ("default_endpoint",), why
        if self.tls and self.tls.mode in (ServerTlsMode.ISTIO_MUTUAL, ServerTlsMode.AUTO_PASSTHROUGH):
            yield ("tls", "mode"), f"must not be {self.tls.mode.value} in a Sidecar"
        for name in ("subject_alt_names", "https_redirect", "credential_name", "credential_names", "ca_cert_credential_name"):
            if self.tls and getattr(self.tls, name):
                yield ("tls", name), "is not supported in a Sidecar"


class Egress(Spec):
    hosts: tuple[EgressHost, ...]
    port: EgressPort | None = None
    bind: IpOrUnix | None = None
    capture_mode: Annotated[CaptureMode, choice(CaptureMode)] = CaptureMode.DEFAULT

    def check(self) -> Iterable[Problem]:
        if not self.hosts:
            yield ("hosts",), "must have at least one item"
        if self.port and not self.port.number:
            if not (self.bind or "").startswith("unix:"):
                yield ("port", "number"), "must be between 1 and 65535 where bind is no Unix socket"
            elif (self.port.protocol or "").upper() not in HTTP_PROTOCOLS:
                yield ("port", "protocol"), f"must be one of {', '.join(HTTP_PROTOCOLS)} where the port's number is 0"


class EgressProxy(Spec):
    host: Host
    subset: Label | None = None
    port: PortSelector


class OutboundMode(Enum):
    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class OutboundTrafficPolicy(Spec):
    mode: Annotated[OutboundMode, choice(OutboundMode)] = OutboundMode.REGISTRY_ONLY
    egress_proxy: EgressProxy | None = None

    def check(self) -> Iterable[Problem]:
        if self.egress_proxy and self.mode is not OutboundMode.ALLOW_ANY:
            yield ("egress_proxy",), "needs mode ALLOW_ANY"


class Sidecar(Spec):
    some_of = ("ingress", "egress", "outbound_traffic_policy", "inbound_connection_pool")

    workload_selector: WorkloadSelector | None = None
    ingress: tuple[Ingress, ...] = ()
    egress: tuple[Egress, ...] = ()
    inbound_connection_pool: ConnectionPool | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None

    def check(self) -> Iterable[Problem]:
        for (_, index, _), what in taken("ingress", "port", (ingress.port.number for ingress in self.ingress)):
            yield ("ingress", index, "port", "number"), what
        everything = [index for index, egress in enumerate(self.egress) if egress.port is None]
        if len(everything) > 1:
            yield ("egress", everything[1]), f"needs a port: egress[{everything[0]}] has none already"
        elif everything and everything[0] != len(self.egress) - 1:
            yield ("egress", everything[0]), "must be the last item, as it has no port"
