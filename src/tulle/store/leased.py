"""Values that live as long as somebody renews them: a thin layer over the store, one lease for each value."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import MappingProxyType
from urllib.parse import quote, unquote

from tulle.store.port import CompactedError, Entry, LeaseNotFoundError, Store


class LeasedValues:
    """Named values under one prefix of a store. Each value lies behind a first line that holds its time to live."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    async def put(self, name: str, value: bytes, ttl: float) -> int:
        """Writes or renews for `ttl` seconds. Returns the revision of the value, which stays the same when only its time is renewed."""
        key = self._key(name)
        full = f"{ttl:g}\n".encode() + value
        entry = await self._store.get(key)
        if entry and entry.value == full:
            with suppress(LeaseNotFoundError):
                await self._store.keep_alive(entry.lease)
                return entry.revision
        lease = await self._store.grant(ttl)
        revision = await self._store.put(key, full, lease=lease)
        if entry:
            await self._store.revoke(entry.lease)
        return revision

    async def remove(self, name: str) -> int | None:
        """The revision without it; None if it was not there."""
        entry = await self._store.get(self._key(name))
        if not entry:
            return None
        await self._store.revoke(entry.lease)
        return (await self._store.range(self._key(name))).revision

    async def all(self) -> Mapping[str, bytes]:
        listing = await self._store.range(self._prefix)
        return {self._name(entry.key): _value(entry) for entry in listing.entries}

    async def watch(self) -> AsyncIterator[tuple[int, Mapping[str, bytes]]]:
        """First all values, then all values after each change, with the store's revision. Ends when the store is closed."""
        compacted = True
        while compacted:
            listing = await self._store.range(self._prefix)
            values = {self._name(entry.key): _value(entry) for entry in listing.entries}
            yield listing.revision, MappingProxyType(dict(values))
            try:
                async for batch in self._store.watch(self._prefix, listing.revision):
                    for change in batch.changes:
                        values.pop(self._name(change.key), None)
                        if change.entry:
                            values[self._name(change.key)] = _value(change.entry)
                    yield batch.revision, MappingProxyType(dict(values))
                compacted = False
            except CompactedError:
                continue

    def _key(self, name: str) -> str:
        return self._prefix + quote(name, safe="")

    def _name(self, key: str) -> str:
        return unquote(key.removeprefix(self._prefix))


def _value(entry: Entry) -> bytes:
    return entry.value.partition(b"\n")[2]
