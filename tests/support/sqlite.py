"""An SQLite store with a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tulle.store.key_file import KeyFile
from tulle.store.port import Put
from tulle.store.sqlite import SqliteStore, open_sqlite


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class SqliteHarness:
    """See `store.contract.Harness`."""

    store: SqliteStore

    def __init__(self, path: Path, keys: KeyFile | None = None) -> None:
        self.path, self.keys = path, keys
        self.clock = Clock()
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        self.store = await self._stack.enter_async_context(open_sqlite(self.path, self.clock, self.keys))

    async def close(self) -> None:
        await self._stack.aclose()

    async def reopen(self) -> None:
        await self.close()
        await self.open()

    async def advance(self, seconds: float) -> None:
        for _ in range(round(seconds)):
            self.clock.now += 1
            self.store.tick()
        await self.store.commit([])

    async def compact(self) -> None:
        for start in range(0, 5000, 500):
            await asyncio.gather(*(self.store.commit([Put(key="filler", value=str(n).encode())]) for n in range(start, start + 500)))


@asynccontextmanager
async def sqlite_harness(path: Path, keys: KeyFile | None = None) -> AsyncIterator[SqliteHarness]:
    """With `keys` the file is encrypted."""
    harness = SqliteHarness(path, keys)
    await harness.open()
    try:
        yield harness
    finally:
        await harness.close()
