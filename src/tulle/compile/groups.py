"""WorkloadGroups: what a registered instance has in common with the others of its group, where it does not say so itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tulle.compile.kinds import Kinds
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Locality
from tulle.model.resource import Key, Resource
from tulle.model.service import Registration
from tulle.resources.networking.workload_group import WorkloadGroup

LABEL = "tulle.dev/workload-group"
"""The label with which an instance names its group, which is one of its own namespace."""
Groups = Mapping[Key, Resource[WorkloadGroup]]


def groups(kinds: Kinds) -> Groups:
    return kinds.of(WorkloadGroup)


def group_of(registration: Registration, known: Groups) -> Resource[WorkloadGroup] | None:
    name = registration.labels.get(LABEL)
    return known.get(Key(kind="WorkloadGroup", namespace=registration.namespace, name=name)) if name else None


def completed(registration: Registration, group: Resource[WorkloadGroup] | None) -> Registration:
    """What the instance leaves at its default is taken from the group."""
    if group is None:
        return registration
    spec = group.spec.template
    said = registration
    return replace(
        said,
        labels=FrozenMap({**group.spec.metadata.labels, **spec.labels, **said.labels}),
        service_account=spec.service_account or "default" if said.service_account == "default" else said.service_account,
        locality=Locality.parse(spec.locality or "") if said.locality == Locality() else said.locality,
        weight=spec.weight or 1 if said.weight == 1 else said.weight,
    )
