"""What `tulle run` registers, as Consul's clients see it."""

from __future__ import annotations

from tulle.model.frozen import FrozenMap
from tulle.model.service import Registration
from tulle.registry.catalog import Check, NodeName, Service

_TAKES_MUTUAL_TLS = '{"Native":true}'


def service_of_run(node: NodeName, registration: Registration) -> Service:
    """The labels are its metadata, its version is a tag. With its sidecar it speaks the mesh's mutual TLS itself."""
    r = registration
    version = r.labels.get("version", "")
    port = r.ports[0] if r.ports else None
    return Service(
        node=node,
        id=r.id,
        name=r.service,
        tags=(version,) if version else (),
        address=r.address,
        port=port.target if port else 0,
        meta=FrozenMap({**r.labels, **r.meta}),
        passing_weight=max(1, r.weight),
        connect=_TAKES_MUTUAL_TLS if r.proxy else "",
        of_run=True,
    )


def check_of_run(node: NodeName, registration: Registration) -> Check:
    r = registration
    return Check(
        node=node,
        id=f"service:{r.id}",
        name="Workload health",
        status=r.health,
        output="As its agent tells.",
        service_id=r.id,
        service_name=r.service,
        service_tags=service_of_run(node, r).tags,
        of_run=True,
    )
