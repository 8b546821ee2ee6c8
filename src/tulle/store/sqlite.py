"""The store of one machine: an SQLite file that is written by one thread, and read from memory.

Commits that arrive while the disk is busy are written together in the next transaction; each is acknowledged only when it is
on the disk. No task runs here: the event loop calls back when a write is done and when leases are to be looked at, so that a caller
who goes away leaves nothing half done.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tulle.store.database import Database
from tulle.store.key_file import KeyFile
from tulle.store.memory import Draft, State, Step
from tulle.store.port import Batch, Entry, LeaseNotFoundError, Listing, Op, Store, StoreError

Clock = Callable[[], float]
TICK = 0.5
"""Seconds between two looks at the leases."""
PAUSE = 2.0
"""A look that comes later than this many seconds after the last one means that the process was stopped: that time counts for no lease."""


@dataclass(slots=True, kw_only=True)
class _Request:
    prepare: Callable[[Draft], Step]
    done: asyncio.Future[int]
    step: Step | None = None


class SqliteStore(Store):
    """Made by `open_sqlite`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._state: State = database.load()
        self._deadlines = {lease: clock() + ttl for lease, ttl in self._state.leases.items()}
        self._expiring: set[int] = set()
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._waiting: list[_Request] = []
        self._writing: asyncio.Future[None] | None = None
        self._changed = asyncio.Event()
        self._closed = False
        self._looked = clock()
        self._timer = self._loop.call_later(TICK, self._on_timer)

    # === reading

    async def get(self, key: str) -> Entry | None:
        return self._state.get(key)

    async def range(self, prefix: str) -> Listing:
        return self._state.range(prefix)

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        while not self._closed:
            changed = self._changed
            revision, changes = self._state.revision, self._state.since(prefix, after)
            after = revision
            if changes:
                yield Batch(revision=revision, changes=changes)
            else:
                await changed.wait()

    # === writing

    async def commit(self, ops: Sequence[Op]) -> int:
        return await self._submit(lambda draft: draft.commit(ops))

    async def grant(self, ttl: float) -> int:
        if not 0 < ttl < float("inf"):
            raise ValueError(f"a lease of {ttl} seconds cannot be granted")
        lease = secrets.randbits(62) + 1
        await self._submit(lambda draft: draft.grant(lease, ttl))
        return lease

    async def keep_alive(self, lease: int) -> None:
        if lease not in self._deadlines or lease in self._expiring:
            raise LeaseNotFoundError(lease)
        self._deadlines[lease] = self._clock() + self._state.leases[lease]

    async def revoke(self, lease: int) -> None:
        if lease in self._deadlines:
            self._expiring.add(lease)
            await self._submit(lambda draft: draft.revoke(lease))

    def _submit(self, prepare: Callable[[Draft], Step]) -> asyncio.Future[int]:
        if self._closed:
            raise StoreError("the store is closed")
        request = _Request(prepare=prepare, done=self._loop.create_future())
        self._waiting.append(request)
        self._next()
        return request.done

    def _next(self) -> None:
        """Hands all that waits to the writer, unless it is busy."""
        while self._waiting and self._writing is None:
            batch, self._waiting = self._prepare(self._waiting), []
            if batch:
                self._write(batch)

    def _write(self, batch: list[_Request]) -> None:
        steps = [request.step for request in batch if request.step]
        self._writing = self._loop.run_in_executor(self._writer, self._database.write, steps)
        self._writing.add_done_callback(lambda written: self._on_written(batch, written))

    def _prepare(self, requests: list[_Request]) -> list[_Request]:
        """What of the requests is possible; the others are answered at once."""
        draft = Draft(self._state)
        possible = []
        for request in requests:
            try:
                if not request.done.cancelled():
                    request.step = request.prepare(draft)
                    possible.append(request)
            except (StoreError, ValueError) as error:
                request.done.set_exception(error)
        return possible

    def _on_written(self, batch: list[_Request], written: asyncio.Future[None]) -> None:
        self._writing = None
        error = written.exception()
        for request in batch:
            if request.step and not error:
                self._publish(request.step)
            if not request.done.done():
                if error:
                    request.done.set_exception(error)
                else:
                    request.done.set_result(request.step.revision if request.step else 0)
        self._changed.set()
        self._changed = asyncio.Event()
        self._next()

    def _publish(self, step: Step) -> None:
        self._state.apply(step)
        for lease, ttl in step.leases.items():
            self._expiring.discard(lease)
            if ttl is None:
                self._deadlines.pop(lease, None)
            else:
                self._deadlines[lease] = self._clock() + ttl

    # === leases

    def tick(self) -> None:
        """Ends the leases whose time is over. Called twice a second; time in which the whole process stood still is not counted."""
        now = self._clock()
        stopped, self._looked = now - self._looked, now
        if stopped > PAUSE:
            self._deadlines = {lease: deadline + stopped for lease, deadline in self._deadlines.items()}
        for lease, deadline in self._deadlines.items():
            if deadline <= now and lease not in self._expiring and not self._closed:
                self._expire(lease)

    def _expire(self, lease: int) -> None:
        self._expiring.add(lease)
        done = self._submit(lambda draft: draft.revoke(lease))
        done.add_done_callback(lambda result: self._on_expired(lease, result))

    def _on_expired(self, lease: int, result: asyncio.Future[int]) -> None:
        """A disk that could not be written is tried again at the next look."""
        if not result.cancelled() and result.exception():
            self._expiring.discard(lease)

    def _on_timer(self) -> None:
        self.tick()
        self._timer = self._loop.call_later(TICK, self._on_timer)

    async def close(self) -> None:
        """Waits for the write under way and frees the file. Watches end; what still waits, or is asked from now on, is refused."""
        self._closed = True
        self._timer.cancel()
        self._changed.set()
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            if not request.done.done():
                request.done.set_exception(StoreError("the store is closed"))
        try:
            if self._writing:
                await asyncio.wait([self._writing])
        finally:
            self._writer.shutdown()
            self._database.close()


@asynccontextmanager
async def open_sqlite(path: str | Path, clock: Clock, keys: KeyFile | None = None) -> AsyncIterator[SqliteStore]:
    """The store in the file at `path`, which is made, with its folder, if need be; `clock` counts seconds and never goes back.

    With `keys` its values are encrypted on the disk; those of a file from before are encrypted now.

    Raises StoreError when the file cannot be used, StoreInUseError when another control plane has it open.
    """
    database = Database(Path(path), keys)
    try:
        store = SqliteStore(database, clock)
    except StoreError:
        database.close()
        raise
    try:
        yield store
    finally:
        await store.close()
