"""Kubernetes' core `v1/Service`: a name and ports for the workloads that carry the labels of `selector`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator

from tulle.resources.names import LabelMap
from tulle.resources.scalars import NO_TEXTS, Port, Text
from tulle.resources.spec import Spec, shown


def _target(value: object) -> int | str:
    if (type(value) is int and 1 <= value <= 65535) or (isinstance(value, str) and value):
        return value
    raise ValueError(f"must be a port number or the name of a port, not {shown(value)}")


class KubernetesPort(Spec):
    name: Text | None = None
    port: Port
    target_port: Annotated[int | str, PlainValidator(_target)] | None = None
    protocol: Text = "TCP"
    """TCP, UDP or SCTP."""
    app_protocol: Text | None = None
    node_port: Annotated[Any, Field()] = None


class KubernetesService(Spec):
    """What is only about Kubernetes' own ways into a cluster is accepted and reported as without effect."""

    ports: tuple[KubernetesPort, ...] = ()
    selector: LabelMap = NO_TEXTS
    type: Text = "ClusterIP"
    cluster_ip: Annotated[Text | None, Field(alias="clusterIP")] = None
    external_name: Text | None = None
