"""What a policy is for: workloads chosen by label, or named objects."""

from __future__ import annotations

from tulle.resources.names import LabelMap
from tulle.resources.scalars import NO_TEXTS, Text
from tulle.resources.spec import Spec


class PolicySelector(Spec):
    """The workloads whose labels include all of these."""

    match_labels: LabelMap = NO_TEXTS


class TargetRef(Spec):
    group: Text | None = None
    kind: Text
    name: Text
    namespace: Text | None = None

    @property
    def section(self) -> str:
        """The part of the object that is meant; empty for all of it."""
        return ""


class Attached(Spec):
    """A policy that is for chosen workloads, for named objects, or, with neither, for the whole namespace."""

    at_most_one_of = (("selector", "target_ref", "target_refs"),)

    selector: PolicySelector | None = None
    target_ref: TargetRef | None = None
    target_refs: tuple[TargetRef, ...] = ()

    @property
    def targets(self) -> tuple[TargetRef, ...]:
        """The named objects, in whichever of the two fields they stand."""
        return (self.target_ref,) if self.target_ref else self.target_refs
