"""Remembers what was made of an object for as long as some layer that holds the object lives, and a little longer."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")

_SPARE = 4096


class Memo(Generic[K, T]):
    """Results by the identity of the object that they were made from.

    Objects of the model cannot be referred to weakly, but their layers can: each result counts the layers that use it. When
    layers end, their successors often are still to come and want the same results. So results of ended layers stay until
    they outnumber those of the living, and a handful always does.
    """

    def __init__(self, make: Callable[[K], T], *, spare: int = _SPARE) -> None:
        self._make = make
        self._spare = spare
        self._made: dict[int, tuple[K, T]] = {}
        self._uses: dict[int, int] = {}
        self._held = 0
        # A layer may end in the middle of anything, so that is only noted here.
        self._ended: deque[tuple[int, ...]] = deque()

    def __call__(self, of: K) -> T:
        """What was made of this very object before, or what is made of it now. A `hold` is to follow."""
        key = id(of)
        if found := self._made.get(key):
            return found[1]
        made = self._make(of)
        self._made[key] = of, made
        return made

    def hold(self, owner: object, objects: Iterable[K]) -> None:
        """Keeps what was made of the objects until `owner` has ended."""
        keys = tuple(id(x) for x in objects)
        for key in keys:
            self._uses[key] = self._uses.get(key, 0) + 1
        self._held += len(keys)
        weakref.finalize(owner, self._ended.append, keys).atexit = False
        self._settle()

    def _settle(self) -> None:
        """Lets go of the layers that ended first, until those that ended hold no more than the living do."""
        ended = sum(len(keys) for keys in self._ended)
        while self._ended and ended > max(self._held - ended, self._spare):
            keys = self._ended.popleft()
            ended -= len(keys)
            self._held -= len(keys)
            for key in keys:
                self._release(key)

    def _release(self, key: int) -> None:
        self._uses[key] -= 1
        if not self._uses[key]:
            del self._uses[key]
            self._made.pop(key, None)

    def __len__(self) -> int:
        return len(self._made)
