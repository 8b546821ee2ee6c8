"""Results kept from one mesh to the next, so that the cost of a change follows what changed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")
_Known = dict[Hashable, tuple[tuple[object, ...], Any]]


class Memo:
    """Each result stands under a name, beside all that it was made from, and is used again while those are equal.

    So it never gives a wrong answer, whoever shares it. Names that nobody asks for any more are forgotten when it ages.
    """

    __slots__ = ("_fresh", "_older")

    def __init__(self) -> None:
        self._fresh: _Known = {}
        self._older: _Known = {}

    def age(self, room: int) -> None:
        """Makes room: past `room` results, those that were not asked for since the last time are dropped."""
        if len(self._fresh) > room:
            self._older, self._fresh = self._fresh, {}

    def get(self, name: Hashable, made_from: tuple[object, ...], make: Callable[[], T]) -> T:
        """The result of `make`, or the one kept under `name` if it was made from equal things."""
        known = self._fresh.get(name)
        if known is not None and known[0] == made_from:
            return cast("T", known[1])
        known = self._older.pop(name, None)
        if known is None or known[0] != made_from:
            known = (made_from, make())
        self._fresh[name] = known
        return cast("T", known[1])

    def renew(self, name: Hashable, start: T, update: Callable[[T], T]) -> T:
        """What `update` makes of the last result of that name, or of `start` where none is known: for what is brought up to date."""
        known = self._fresh.get(name) or self._older.pop(name, None)
        made = update(known[1] if known else start)
        self._fresh[name] = ((), made)
        return made
