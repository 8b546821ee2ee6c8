"""Steady HTTP load on loopback that counts every request that did not end well."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from support.raw_http import Client


class Load:
    """`failures` by what went wrong, `answers` by who answered."""

    def __init__(self, pause: float = 0.0) -> None:
        self._pause = pause
        self.failures: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self._stop = False

    @property
    def requests(self) -> int:
        return self.failures.total() + self.answers.total()

    async def pull(self, port: int, paths: tuple[str, ...]) -> None:
        """One connection's worth of requests, one after the other."""
        client = Client()
        turn = 0
        while not self._stop:
            path = paths[turn % len(paths)]
            turn += 1
            await asyncio.sleep(self._pause)
            try:
                response = await client.send(port, "GET", path, [("host", "any")])
            except (OSError, EOFError) as error:
                self.failures[f"{path}: {error!r}"] += 1
                client.close()
                continue
            if response.status == 200:
                self.answers[response.get("x-cluster") or ""] += 1
            else:
                self.failures[f"{path}: {response.status} {response.body!r}"] += 1
        client.close()

    def stop(self) -> None:
        self._stop = True


@asynccontextmanager
async def load(port: int, paths: tuple[str, ...], *, connections: int = 8, pause: float = 0.0) -> AsyncIterator[Load]:
    """Requests `paths` in turn on each connection, until the block ends. `pause`: seconds before each request."""
    pulling = Load(pause)
    async with asyncio.TaskGroup() as tasks:
        for at in range(connections):
            tasks.create_task(pulling.pull(port, paths[at % len(paths) :] + paths[: at % len(paths)]))
        try:
            yield pulling
        finally:
            pulling.stop()
