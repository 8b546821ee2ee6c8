"""Since when each condition has its status: `lastTransitionTime`, which the Kubernetes API asks of every condition.

Statuses are made anew whenever somebody asks, so what is remembered here is what was told last. A status that differs from that came
with the latest change of the mesh, or with an earlier one that nobody asked about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tulle.model.resource import Key

Path = tuple[str, ...]
Status = tuple[str, str]
"""A condition's status, and since when."""


class Transitions:
    """Of all documents, since this control plane started."""

    def __init__(self) -> None:
        self._known: dict[Key, tuple[int, Mapping[Path, Status]]] = {}

    def dated(self, key: Key, created: int, told: Mapping[str, Any], changed: datetime) -> dict[str, Any]:
        """With the time in every condition. `created` tells a document from an earlier one of its name, `changed` is when the mesh did."""
        before = self._known.get(key)
        known = before[1] if before and before[0] == created else {}
        now: dict[Path, Status] = {}

        def date(path: Path, condition: dict[str, Any]) -> dict[str, Any]:
            last = known.get(path)
            now[path] = last if last and last[0] == condition["status"] else (condition["status"], _written(changed))
            return {**condition, "lastTransitionTime": now[path][1]}

        dated = each_condition(told, date)
        self._known[key] = created, now
        return dated

    def forget(self, key: Key) -> None:
        self._known.pop(key, None)


def each_condition(told: Mapping[str, Any], change: Callable[[Path, dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    """A status whose conditions, at any depth, are changed. Paths are made of names and types: places in lists may be others tomorrow."""
    return {name: _changed((name,), value, change) for name, value in told.items()}


def _changed(path: Path, value: Any, change: Callable[[Path, dict[str, Any]], dict[str, Any]]) -> Any:
    if isinstance(value, list):
        return [_changed((*path, _name(one)), one, change) for one in value]
    if not isinstance(value, Mapping):
        return value
    made = {name: _changed((*path, name), one, change) for name, one in value.items()}
    return change(path, made) if {"type", "status", "reason"} <= made.keys() else made


def _name(item: Any) -> str:
    if not isinstance(item, Mapping):
        return ""
    named = item.get("type") or item.get("name") or item.get("parentRef") or item.get("ancestorRef")
    return named if isinstance(named, str) else json.dumps(named, sort_keys=True)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
