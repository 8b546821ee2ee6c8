"""Topics that change, and those who wait for it: every topic has an index that only rises, and no change is missed.

All of it happens on one event loop: between the look at an index and the wait for the next one, nothing else can run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

Topic = tuple[str, ...]
"""Such as `("service", "web")`. `("kv*", prefix)` is every key under the prefix."""
REMEMBERED = 100_000
"""So many topics have an index of their own; the others share one that is not lower than any of theirs was."""


class Waiting:
    def __init__(self) -> None:
        self.closed = False
        self._floor = 1
        self._indices: dict[Topic, int] = {}
        self._waiters: dict[Topic, set[asyncio.Future[None]]] = {}

    def index(self, topics: Iterable[Topic]) -> int:
        """The latest change of any of the topics; at least 1."""
        return max((self._indices.get(topic, self._floor) for topic in topics), default=self._floor)

    @property
    def floor(self) -> int:
        """Every index is at least this."""
        return self._floor

    def raise_floor(self, index: int) -> None:
        """No topic has a lower index from now on. Everybody looks again."""
        self._floor = max(self._floor, index)
        self._indices = {topic: own for topic, own in self._indices.items() if own > self._floor}
        for topic in list(self._waiters):
            self._wake(topic)

    def changed(self, changes: Iterable[tuple[Topic, int]]) -> None:
        """These topics stand at these indices now. Wakes who waits for them."""
        touched = set()
        for topic, index in changes:
            if index > self._indices.get(topic, self._floor):
                self._indices[topic] = index
            touched.add(topic)
        for topic in touched:
            self._wake_related(topic)
        if len(self._indices) > REMEMBERED:
            self._forget()

    def wait(self, topics: Iterable[Topic]) -> asyncio.Future[None]:
        """Done at the next change of any of the topics. Cancel it, or set its result, to wait no longer."""
        waiter = asyncio.get_running_loop().create_future()
        watched = tuple(topics)
        for topic in watched:
            self._waiters.setdefault(topic, set()).add(waiter)
        waiter.add_done_callback(lambda done: self._left(watched, done))
        if self.closed:
            waiter.set_result(None)
        return waiter

    def count(self) -> int:
        return len(set().union(*self._waiters.values()))

    def close(self) -> None:
        """Nobody waits any longer, now and later."""
        self.closed = True
        for topic in list(self._waiters):
            self._wake(topic)

    def _left(self, topics: tuple[Topic, ...], waiter: asyncio.Future[None]) -> None:
        for topic in topics:
            if waiters := self._waiters.get(topic):
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[topic]

    def _wake_related(self, topic: Topic) -> None:
        self._wake(topic)
        if topic[0] == "kv":
            for end in range(len(topic[1]) + 1):
                self._wake(("kv*", topic[1][:end]))

    def _wake(self, topic: Topic) -> None:
        for waiter in self._waiters.pop(topic, ()):
            if not waiter.done():
                waiter.set_result(None)

    def _forget(self) -> None:
        """The older half of all topics shares the highest index among them."""
        by_age = sorted(self._indices.items(), key=lambda item: item[1])
        self.raise_floor(by_age[len(by_age) // 2][1])
