"""The documents of the mesh by kind, each kind from the oldest. Kinds of which no document changed are the same tables as before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from tulle.compile import tables
from tulle.compile.memo import Memo
from tulle.model.frozen import FrozenMap
from tulle.model.resource import Key, Resource

S = TypeVar("S")
Age = tuple[int, str, str]
_NONE: Mapping[Key, Resource[Any]] = FrozenMap()


def age(resource: Resource[object]) -> Age:
    """Sorts resources from the oldest; equals by name, then namespace (BEHAVIOURS 6)."""
    return (resource.created, resource.key.name, resource.key.namespace)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kinds:
    """Equal by identity: the same object means that no document changed."""

    by_type: Mapping[type, Mapping[Key, Resource[Any]]]

    def of(self, spec: type[S]) -> Mapping[Key, Resource[S]]:
        """The documents of one kind, from the oldest."""
        return cast("Mapping[Key, Resource[S]]", self.by_type.get(spec, _NONE))

    def but(self, *specs: type) -> tuple[Mapping[Key, Resource[Any]], ...]:
        """All other kinds."""
        return tuple(self.by_type[spec] for spec in sorted(self.by_type, key=lambda s: (s.__module__, s.__name__)) if spec not in specs)


def sorted_out(documents: Mapping[Key, Resource[object]], memo: Memo) -> Kinds:
    groups = tables.grouped(memo, "kinds", documents, lambda resource: (type(resource.spec),))
    by_type = {spec: tables.ordered(memo, ("kind", spec), group, age) for spec, group in groups.items()}
    same = tables.union(memo, "kinds", by_type)
    return memo.renew(("kinds",), Kinds(by_type={}), lambda last: last if last.by_type is same else Kinds(by_type=same))
