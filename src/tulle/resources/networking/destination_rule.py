"""DestinationRule: how to talk to a destination, and which of its instances make up each subset."""

from __future__ import annotations

from collections.abc import Iterable

from tulle.resources.names import ExportTarget, Label, LabelMap, WildcardHost
from tulle.resources.networking.common import export_problems, no_wildcards, taken
from tulle.resources.networking.traffic_policy import TrafficPolicy
from tulle.resources.scalars import NO_TEXTS
from tulle.resources.spec import Problem, Spec


class Subset(Spec):
    """The instances of the host whose labels include all of these."""

    name: Label
    labels: LabelMap = NO_TEXTS
    traffic_policy: TrafficPolicy | None = None


class RuleSelector(Spec):
    match_labels: LabelMap = NO_TEXTS

    def check(self) -> Iterable[Problem]:
        return no_wildcards("match_labels", self.match_labels)


class DestinationRule(Spec):
    host: WildcardHost
    traffic_policy: TrafficPolicy | None = None
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[ExportTarget, ...] = ()
    workload_selector: RuleSelector | None = None

    def check(self) -> Iterable[Problem]:
        yield from taken("subsets", "name", (subset.name for subset in self.subsets))
        yield from export_problems(self.export_to)
