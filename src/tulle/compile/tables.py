"""Tables brought up to date: what is made of a mapping's items is made anew for those that changed, and taken over for all others.

So a table in which nothing changed is the same object as before, and a change costs one glance at each item, which takes some tens of
nanoseconds, and work for what changed. Each table stands in the memo under a name, beside the table that it was made from. It holds
what it would hold if it were made from nothing: what was there before only saves work.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import compress
from operator import is_not
from typing import Any, Generic, TypeVar, cast

from tulle.compile.memo import Memo

G = TypeVar("G")
K = TypeVar("K")
T = TypeVar("T")
V = TypeVar("V")

_ABSENT: Any = object()


def changed(before: Mapping[K, V], after: Mapping[K, V]) -> list[K]:
    """The keys of items that are new, or not the same objects as before."""
    if before is after:
        return []
    if same_keys(before, after):
        return list(compress(after, map(is_not, before.values(), after.values())))
    known = before.get
    return [key for key, value in after.items() if known(key, _ABSENT) is not value]


def same_keys(before: Mapping[K, Any], after: Mapping[K, Any]) -> bool:
    """Whether both have the same keys in the same order."""
    return before is after or (len(before) == len(after) and list(before) == list(after))


def settled(before: Mapping[K, V], after: Mapping[K, V]) -> Mapping[K, V]:
    """The mapping before, if the other one holds the same objects in the same order."""
    return before if same_keys(before, after) and not changed(before, after) else after


@dataclass(frozen=True, slots=True, kw_only=True)
class _Each(Generic[K, V, T]):
    items: Mapping[K, V] = field(default_factory=dict)
    world: tuple[object, ...] = (_ABSENT,)
    made: Mapping[K, T] = field(default_factory=dict)


def each(memo: Memo, name: Hashable, items: Mapping[K, V], make: Callable[[K, V], T], world: tuple[object, ...] = ()) -> Mapping[K, T]:
    """What `make` makes of each item. `world` is all that it looks at besides: when that is another, every item is made anew."""
    start: _Each[K, V, T] = _Each()
    return memo.renew(("each", name), start, lambda last: _each(last, items, make, world)).made


def _each(last: _Each[K, V, T], items: Mapping[K, V], make: Callable[[K, V], T], world: tuple[object, ...]) -> _Each[K, V, T]:
    known, before = last.items, last.made
    keys: Iterable[K] = items
    if last.world == world:
        keys = (key for key in changed(known, items) if key not in known or not _alike(known[key], items[key]))
    again = {key: _settled(before.get(key, _ABSENT), make(key, items[key])) for key in keys}
    if not same_keys(known, items):
        made: Mapping[K, T] = {key: again[key] if key in again else before[key] for key in items}
    else:
        made = {**before, **again} if changed(before, again) else before
    return _Each(items=items, world=world, made=made)


def _settled(before: Any, after: T) -> T:
    """What was made before, if it is equal."""
    return cast("T", before) if _alike(before, after) else after


def _alike(one: object, other: object) -> bool:
    """Whether two things are equal, and in the same order where they are dictionaries."""
    return one == other and (not isinstance(one, dict) or not isinstance(other, dict) or list(one) == list(other))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups(Generic[K, V, G]):
    items: Mapping[K, V] = field(default_factory=dict)
    places: Mapping[K, tuple[G, ...]] = field(default_factory=dict)
    groups: Mapping[G, Mapping[K, V]] = field(default_factory=dict)


def grouped(
    memo: Memo, name: Hashable, items: Mapping[K, V], places_of: Callable[[V], Iterable[G]], world: tuple[object, ...] = ()
) -> Mapping[G, Mapping[K, V]]:
    """The items under each of the names that `places_of` gives them (none twice), in their order. `world`: as for `each`."""
    places = each(memo, ("places", name), items, lambda _, value: tuple(places_of(value)), world)
    start: _Groups[K, V, G] = _Groups()
    return memo.renew(("grouped", name), start, lambda last: _grouped(last, items, places)).groups


def _grouped(last: _Groups[K, V, G], items: Mapping[K, V], places: Mapping[K, tuple[G, ...]]) -> _Groups[K, V, G]:
    before = last.groups
    if places is last.places and same_keys(last.items, items):
        moved: dict[G, dict[K, V]] = {}
        for key in changed(last.items, items):
            for place in places[key]:
                moved.setdefault(place, {})[key] = items[key]
        groups = {**before, **{place: {**before[place], **news} for place, news in moved.items()}} if moved else before
        return _Groups(items=items, places=places, groups=groups)
    found: dict[G, dict[K, V]] = {}
    for key, own in places.items():
        for place in own:
            found.setdefault(place, {})[key] = items[key]
    anew = {place: settled(before[place], group) if place in before else group for place, group in found.items()}
    return _Groups(items=items, places=places, groups=settled(before, anew))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ordered(Generic[K, V]):
    items: Mapping[K, V] = field(default_factory=dict)
    ordered: Mapping[K, V] = field(default_factory=dict)


def ordered(memo: Memo, name: Hashable, items: Mapping[K, V], rank: Callable[[V], Any]) -> Mapping[K, V]:
    """The items sorted by their rank, which no two have in common."""
    start: _Ordered[K, V] = _Ordered()
    return memo.renew(("ordered", name), start, lambda last: _ordered(last, items, rank)).ordered


def _ordered(last: _Ordered[K, V], items: Mapping[K, V], rank: Callable[[V], Any]) -> _Ordered[K, V]:
    before, again = last.items, {key: items[key] for key in changed(last.items, items)}
    stay = len(before) == len(items) and all(key in before and rank(before[key]) == rank(value) for key, value in again.items())
    if stay:
        return _Ordered(items=items, ordered={**last.ordered, **again} if again else last.ordered)
    return _Ordered(items=items, ordered=dict(sorted(items.items(), key=lambda item: rank(item[1]))))


def values(memo: Memo, name: Hashable, groups: Mapping[G, Mapping[K, V]]) -> Mapping[G, tuple[V, ...]]:
    """The items of each group, without their keys."""
    return each(memo, ("values", name), groups, lambda _, group: tuple(group.values()))


def union(memo: Memo, name: Hashable, first: Mapping[K, V], *others: Mapping[K, V]) -> Mapping[K, V]:
    """Everything in one table; what stands in several is taken from the last of them."""
    made: dict[K, V] = dict(first)
    for other in others:
        made.update(other)
    start: Mapping[K, V] = {}
    return memo.renew(("union", name), start, lambda last: settled(last, made))
