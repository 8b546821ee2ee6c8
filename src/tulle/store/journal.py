"""The store as a plain journal of rows, for rooms that keep a picture of it in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal

from tulle.store.port import Check, CompactedError, ConflictError, Delete, Entry, Op, Put, Store

Write = tuple[Literal["put", "delete", "check"], str, bytes, int | None]
"""What to do, the key, the value (of a put), and the revision that the key must have: 0 if it must not exist, None for any."""


class Journal:
    """All keys under some prefixes of a store."""

    def __init__(self, store: Store, prefixes: tuple[str, ...]) -> None:
        self._store = store
        self._prefixes = prefixes

    async def commit(self, writes: Sequence[Write]) -> int | None:
        """All or nothing. The revision after it; None when a key had another revision than expected. Raises StoreError."""
        try:
            return await self._store.commit([_op(write) for write in writes])
        except ConflictError:
            return None

    async def follow(self) -> AsyncIterator[tuple[int, bool, Sequence[tuple[str, Entry | None]]]]:
        """First all rows, with True; then what changes. Ends when the store is closed.

        Where the store has forgotten changes that were not taken in time, all rows come again.
        """
        compacted = True
        while compacted:
            listing = await self._store.range("")
            rows = [(entry.key, entry) for entry in listing.entries if entry.key.startswith(self._prefixes)]
            yield listing.revision, True, rows
            try:
                async for batch in self._store.watch("", listing.revision):
                    yield batch.revision, False, [(c.key, c.entry) for c in batch.changes if c.key.startswith(self._prefixes)]
                compacted = False
            except CompactedError:
                continue


def _op(write: Write) -> Op:
    verb, key, value, expect = write
    if verb == "put":
        return Put(key=key, value=value, expect=expect)
    return Delete(key=key, expect=expect) if verb == "delete" else Check(key=key, expect=expect or 0)
