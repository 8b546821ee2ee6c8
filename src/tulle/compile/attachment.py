"""Where a policy holds: at the workloads that it selects, or at the objects that it names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from tulle.model.identity import Labels, selects
from tulle.model.resource import Key, Resource
from tulle.resources.attachment import Attached

GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
"""The label that the proxies of a Gateway bear elsewhere."""

CALLED = ("Gateway", "Service")
"""The kinds of objects that take calls."""

S = TypeVar("S", bound=Attached)


def by_namespace(policies: Iterable[Resource[S]]) -> Mapping[str, tuple[Resource[S], ...]]:
    found: dict[str, list[Resource[S]]] = {}
    for policy in policies:
        found.setdefault(policy.key.namespace, []).append(policy)
    return {namespace: tuple(group) for namespace, group in found.items()}


def takes(policy: Resource[Attached], namespace: str, labels: Labels, service: str = "") -> bool:
    """Whether it is for a workload of a service. What names Gateways alone is for none."""
    spec = policy.spec
    if spec.targets:
        here = policy.key.namespace == namespace and bool(service)
        return here and any(t.kind == "Service" and t.name == service for t in spec.targets)
    return spec.selector is None or selects(spec.selector.match_labels, labels)


def is_for(policy: Resource[Attached], gateway: Key) -> bool:
    """Whether it names a Gateway, by a reference or by the label."""
    spec = policy.spec
    if policy.key.namespace != gateway.namespace:
        return False
    if any(t.kind == "Gateway" and t.name == gateway.name for t in spec.targets):
        return True
    return spec.selector is not None and dict(spec.selector.match_labels) == {GATEWAY_NAME: gateway.name}


def unused_targets(policy: Resource[Attached], called: Sequence[str] = CALLED) -> Iterator[tuple[str, str]]:
    """The objects that it names and that take no calls: field and reason."""
    for index, target in enumerate(policy.spec.targets):
        where = "spec.targetRef" if policy.spec.target_ref else f"spec.targetRefs[{index}]"
        if target.kind not in called:
            yield where, f"not in force: nothing of the kind {target.kind} takes calls here; {', '.join(called[:-1])} and {called[-1]} do"
        elif target.section and target.kind in CALLED:
            yield f"{where}.sectionName", f"not in force: all of the {target.kind} is meant"
