"""Kubernetes' core `v1/Service`: a name and ports for the workloads that carry the labels of `selector`."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated

from pydantic import Field, PlainValidator

from tulle.resources.names import Host, Label, LabelMap
from tulle.resources.scalars import NO_TEXTS, Port, Text, choice
from tulle.resources.spec import Problem, Spec, shown

CLUSTER_FIELDS = (
    "allocateLoadBalancerNodePorts",
    "clusterIPs",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "publishNotReadyAddresses",
    "sessionAffinity",
    "sessionAffinityConfig",
)
"""Fields that are only about the way through a Kubernetes cluster."""


def _target(value: object) -> int | str:
    if (type(value) is int and 1 <= value <= 65535) or (isinstance(value, str) and value):
        return value
    raise ValueError(f"must be a port number or the name of a port, not {shown(value)}")


DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")


def _distribution(value: object) -> str:
    if value in DISTRIBUTIONS:
        return str(value)
    raise ValueError(f"must be one of {', '.join(DISTRIBUTIONS)}, not {shown(value)}")


class Transport(Enum):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class KubernetesPort(Spec):
    """A port that callers dial; `target_port` is the workload's, by number or by name, where it is another."""

    tolerated = frozenset({"nodePort"})

    name: Label | None = None
    port: Port
    target_port: Annotated[int | str, PlainValidator(_target)] | None = None
    protocol: Annotated[Transport, choice(Transport)] = Transport.TCP
    app_protocol: Text | None = None


class ServiceType(Enum):
    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


class KubernetesService(Spec):
    tolerated = frozenset(CLUSTER_FIELDS)

    ports: tuple[KubernetesPort, ...] = ()
    selector: LabelMap = NO_TEXTS
    type: Annotated[ServiceType, choice(ServiceType)] = ServiceType.CLUSTER_IP
    cluster_ip: Annotated[Text | None, Field(alias="clusterIP")] = None
    """`None` (the text) for a headless service."""
    external_name: Host | None = None
    traffic_distribution: Annotated[str, PlainValidator(_distribution)] | None = None
    """Which endpoints are near to a caller."""

    def check(self) -> Iterable[Problem]:
        if self.type is ServiceType.EXTERNAL_NAME and not self.external_name:
            yield ("external_name",), "required where type is ExternalName"
        if not self.ports and self.type is not ServiceType.EXTERNAL_NAME and self.cluster_ip != "None":
            yield ("ports",), "must have at least one item"
        yield from _port_problems(self.ports)


def _port_problems(ports: tuple[KubernetesPort, ...]) -> Iterable[Problem]:
    names: set[str] = set()
    numbers: set[tuple[int, Transport]] = set()
    for index, port in enumerate(ports):
        if len(ports) > 1 and not port.name:
            yield ("ports", index, "name"), "required where a service has several ports"
        if port.name and port.name in names:
            yield ("ports", index, "name"), f'the name "{port.name}" is taken by an earlier port'
        if (port.port, port.protocol) in numbers:
            yield ("ports", index, "port"), f"{port.port} is taken by an earlier port"
        names.add(port.name or "")
        numbers.add((port.port, port.protocol))


class Namespace(Spec):
    """What a namespace is called, and its labels, stand in its metadata. Rules choose namespaces by them."""

    finalizers: tuple[Text, ...] = ()
