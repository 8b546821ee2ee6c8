"""What is found wrong with documents while they are compiled, and how statuses say it."""

from __future__ import annotations

from collections.abc import Iterable

from tulle.model.resource import Source, Violation

Found = tuple[Source, str]
"""A place in a document, and what is the matter there."""


def warnings(found: Iterable[Found]) -> tuple[Violation, ...]:
    """Each once. A problem may stand in another document than the one whose status tells of it: it bears the name of its own."""
    return tuple(_warning(source, why) for source, why in dict.fromkeys(found))


def _warning(source: Source, why: str) -> Violation:
    kind, namespace, name = source.key
    return Violation(origin=source.origin, resource=f"{kind}/{name}", field=source.field, message=why, namespace=namespace)
