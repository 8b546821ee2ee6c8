"""WorkloadGroup: what the instances of a group have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from tulle.resources.names import LabelMap
from tulle.resources.networking.workload_entry import WorkloadEntry
from tulle.resources.scalars import NO_TEXTS, Port, Text, TextMap, UInt, text_that
from tulle.resources.spec import Problem, Spec


class GroupMetadata(Spec):
    labels: LabelMap = NO_TEXTS
    annotations: TextMap = NO_TEXTS


class GroupTemplate(WorkloadEntry):
    """As a WorkloadEntry, without the address, which each instance brings."""

    def check(self) -> Iterable[Problem]:
        if self.address:
            yield ("address",), "must not be set: each instance has its own"


class ProbeHeader(Spec):
    name: Text
    value: Text = ""


class HttpProbe(Spec):
    path: Text = "/"
    port: Port
    host: Text | None = None
    scheme: Annotated[str, text_that(lambda v: None if v in ("", "HTTP", "HTTPS") else "must be HTTP or HTTPS")] = "HTTP"
    http_headers: tuple[ProbeHeader, ...] = ()


class TcpProbe(Spec):
    host: Text | None = None
    port: Port


class GrpcProbe(Spec):
    service: Text | None = None
    port: Port


class ExecProbe(Spec):
    command: tuple[Text, ...]


class Probe(Spec):
    one_of = (("http_get", "tcp_socket", "exec", "grpc"),)

    http_get: HttpProbe | None = None
    tcp_socket: TcpProbe | None = None
    exec: ExecProbe | None = None
    grpc: GrpcProbe | None = None
    initial_delay_seconds: UInt = 0
    timeout_seconds: UInt = 1
    period_seconds: UInt = 10
    success_threshold: UInt = 1
    failure_threshold: UInt = 3


class WorkloadGroup(Spec):
    metadata: GroupMetadata = GroupMetadata.unsaid()
    template: GroupTemplate
    probe: Probe | None = None
