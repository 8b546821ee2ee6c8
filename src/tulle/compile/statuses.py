"""What became of each document, as far as it can be told without asking a proxy."""

from __future__ import annotations

from collections.abc import Mapping

from tulle.compile.mesh import Mesh
from tulle.compile.steering import Steering
from tulle.model.mesh import Inputs
from tulle.model.resource import Condition, Key, Resource, Source, Status
from tulle.resources.core import KubernetesService
from tulle.resources.networking.destination_rule import DestinationRule
from tulle.resources.networking.gateway import Gateway
from tulle.resources.networking.service_entry import ServiceEntry
from tulle.resources.networking.sidecar import Sidecar
from tulle.resources.networking.virtual_service import VirtualService
from tulle.resources.networking.workload_entry import WorkloadEntry

_KINDS = (VirtualService, DestinationRule, Gateway, ServiceEntry, WorkloadEntry, Sidecar, KubernetesService)
_ACCEPTED = Condition(type="Accepted", status=True, reason="Accepted")
_FINE = Status(conditions=(_ACCEPTED,))

Found = tuple[Source, str]


def statuses(mesh: Mesh, inputs: Inputs) -> Mapping[Key, Status]:
    steerings = {s.key: s for s in mesh.structure.rules.steerings}
    return {key: _status(mesh, resource, steerings.get(key)) for key, resource in sorted(inputs.resources.items())}


def _status(mesh: Mesh, resource: Resource[object], steering: Steering | None) -> Status:
    if not isinstance(resource.spec, _KINDS):
        why = f"the mesh has no use for {resource.api_version} {resource.key.kind}"
        return Status(conditions=(Condition(type="Accepted", status=False, reason="Invalid", message=why),))
    return _FINE
