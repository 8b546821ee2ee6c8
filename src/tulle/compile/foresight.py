"""What compiling a mesh finds wrong with its documents, and what of it a change brings about."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from tulle.model.resource import Key, Resource, Status, Violation

_LINE = re.compile(r"(\.ya?ml|\.json|<stdin>):\d+\b")


def findings(resources: Mapping[Key, Resource[object]], statuses: Mapping[Key, Status]) -> tuple[Violation, ...]:
    """All that the statuses tell, each once, in the order of the documents."""
    return tuple(dict.fromkeys(found for key, resource in resources.items() if key in statuses for found in _told(resource, statuses[key])))


def arising(
    resources: Mapping[Key, Resource[object]], before: Mapping[Key, Status], after: Mapping[Key, Status], own: Collection[Key]
) -> tuple[Violation, ...]:
    """What is found after a change: of the documents that are its `own` everything, of all others what was not found `before`.

    That the same is told of another line, as text moved, is nothing new.
    """
    found: dict[Violation, None] = {}
    for key, resource in resources.items():
        told = tuple(_told(resource, after.get(key, Status())))
        if key not in own:
            known = {_essence(one) for one in _told(resource, before.get(key, Status()))}
            told = tuple(one for one in told if _essence(one) not in known)
        found.update(dict.fromkeys(told))
    return tuple(found)


def _told(resource: Resource[object], status: Status) -> Iterator[Violation]:
    """The warnings, or why a document without any is not accepted."""
    yield from status.warnings
    accepted = status.condition("Accepted")
    if accepted and accepted.status is not True and not status.warnings:
        key = resource.key
        yield Violation(origin=resource.origin, resource=f"{key.kind}/{key.name}", message=accepted.message, namespace=key.namespace)


def _essence(found: Violation) -> tuple[str, str, str, str]:
    return found.namespace, found.resource, found.field, _LINE.sub("", found.message)
