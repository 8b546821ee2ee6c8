"""The store port: ordered keys with revisions, compare-and-swap, leases, and watches without gaps.

A revision is one commit. Commits are numbered 1, 2, 3, ...; an entry carries the revision of the commit that last wrote it
and that of the commit that made it. A commit of several operations happens as a whole or not at all, and once it is
acknowledged it survives the death of the process and of the machine.

A reader that must not miss anything ranges first, then watches from the revision that the range was true at:

    listing = await store.range("documents/")
    async for batch in store.watch("documents/", after=listing.revision): ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    key: str
    value: bytes
    created: int
    """Revision of the commit that made the key."""
    revision: int
    """Revision of the commit that wrote this value."""
    lease: int = 0
    """The lease that the entry lives on; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """All entries under a prefix, in the order of their keys, as they stood at `revision`."""

    revision: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a commit did to one key. `entry` is None where the key was deleted."""

    key: str
    revision: int
    entry: Entry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Everything that happened under a watch's prefix since its last batch: whole commits, in order."""

    revision: int
    """The watch may be resumed after this revision."""
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Writes a value. `expect` is the revision that the entry must have, 0 for a key that must not exist, None for either."""

    key: str
    value: bytes
    expect: int | None = None
    lease: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Removes a key, which need not exist unless `expect` says so."""

    key: str
    expect: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Changes nothing; the commit only happens if the entry still has this revision (0: does not exist)."""

    key: str
    expect: int


Op = Put | Delete | Check


class StoreError(Exception):
    """The store cannot do what was asked. The message says why and what to do."""


class ConflictError(StoreError):
    """An expected revision was not the one found: read again, decide again, write again."""

    def __init__(self, key: str, expected: int, actual: int) -> None:
        super().__init__(f"{key} was expected at revision {expected} but stands at {actual}")
        self.key, self.expected, self.actual = key, expected, actual


class CompactedError(StoreError):
    """A watch asked for, or fell behind to, changes that the store does not have: range again and watch from there."""

    def __init__(self, after: int, oldest: int) -> None:
        super().__init__(f"changes after revision {after} are not kept; the oldest revision to watch from is {oldest}")
        self.after, self.oldest = after, oldest


class LeaseNotFoundError(StoreError):
    """The lease has expired or was revoked: its keys are gone. Grant a new one and write them again."""

    def __init__(self, lease: int) -> None:
        super().__init__(f"lease {lease} has expired or never was")
        self.lease = lease


class Store(ABC):
    """See the module. Methods may raise StoreError; a call that is cancelled may or may not have taken effect."""

    @abstractmethod
    async def get(self, key: str) -> Entry | None: ...

    @abstractmethod
    async def range(self, prefix: str) -> Listing: ...

    @abstractmethod
    async def commit(self, ops: Sequence[Op]) -> int:
        """All or nothing. Returns the store's revision after it: a new one if anything was written or removed.

        Raises ConflictError, LeaseNotFoundError, and ValueError when two operations write the same key.
        """

    @abstractmethod
    def watch(self, prefix: str, after: int) -> AsyncIterator[Batch]:
        """Every change to keys under `prefix` of commits later than revision `after`, never a part of a commit.

        Raises CompactedError when they are not kept (any more). Ends when the store is closed.
        """

    @abstractmethod
    async def grant(self, ttl: float) -> int:
        """A new lease of `ttl` seconds. After a restart of the store every lease has its full time again."""

    @abstractmethod
    async def keep_alive(self, lease: int) -> None:
        """Gives the lease its full time again. Raises LeaseNotFoundError."""

    @abstractmethod
    async def revoke(self, lease: int) -> None:
        """Ends the lease and deletes its keys, in one commit. An unknown lease is no error."""

    async def put(self, key: str, value: bytes, expect: int | None = None, lease: int = 0) -> int:
        """One Put. Returns the revision that the entry now has."""
        return await self.commit([Put(key=key, value=value, expect=expect, lease=lease)])

    async def delete(self, key: str, expect: int | None = None) -> int:
        return await self.commit([Delete(key=key, expect=expect)])
