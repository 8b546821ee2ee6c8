"""What a store holds, in memory: entries in key order, the latest commits, and the rule of what a commit may do. No file, no clock."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tulle.store.port import Change, Check, CompactedError, ConflictError, Delete, Entry, LeaseNotFoundError, Listing, Op, Put

HISTORY = 2_000
"""At least this many commits are kept for watches that lag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A commit that was found possible: what it writes, removes and does to leases (time in seconds, None to end it)."""

    revision: int
    changes: tuple[Change, ...] = ()
    leases: Mapping[int, float | None] = field(default_factory=dict)


class State:
    """All entries as of `revision`. Only `apply` changes it."""

    def __init__(self, revision: int, entries: Sequence[Entry], leases: Mapping[int, float]) -> None:
        self.revision = revision
        self.leases: dict[int, float] = dict(leases)
        self._entries = {entry.key: entry for entry in entries}
        self._keys = sorted(self._entries)
        self._by_lease: dict[int, set[str]] = {}
        for entry in entries:
            self._by_lease.setdefault(entry.lease, set()).add(entry.key)
        self._oldest = revision
        self._history: list[Step] = []

    def get(self, key: str) -> Entry | None:
        return self._entries.get(key)

    def range(self, prefix: str) -> Listing:
        found = []
        for index in range(bisect_left(self._keys, prefix), len(self._keys)):
            if not self._keys[index].startswith(prefix):
                break
            found.append(self._entries[self._keys[index]])
        return Listing(revision=self.revision, entries=tuple(found))

    def keys_of(self, lease: int) -> set[str]:
        return self._by_lease.get(lease, set())

    def since(self, prefix: str, after: int) -> tuple[Change, ...]:
        """Changes under the prefix later than `after`. Raises CompactedError."""
        if not self._oldest <= after <= self.revision:
            raise CompactedError(after, self._oldest)
        steps = self._history[after - self._oldest :]
        return tuple(change for step in steps for change in step.changes if change.key.startswith(prefix))

    def apply(self, step: Step) -> None:
        for change in step.changes:
            self._write(change)
        for lease, ttl in step.leases.items():
            if ttl is None:
                self.leases.pop(lease, None)
                self._by_lease.pop(lease, None)
            else:
                self.leases[lease] = ttl
        if step.changes:
            self.revision = step.revision
            self._history.append(step)
        if len(self._history) > 2 * HISTORY:
            del self._history[:HISTORY]
            self._oldest += HISTORY

    def _write(self, change: Change) -> None:
        old = self._entries.pop(change.key, None)
        if old:
            self._by_lease[old.lease].discard(change.key)
        if change.entry:
            self._entries[change.key] = change.entry
            self._by_lease.setdefault(change.entry.lease, set()).add(change.key)
        if change.entry and not old:
            insort(self._keys, change.key)
        if old and not change.entry:
            del self._keys[bisect_left(self._keys, change.key)]


class Draft:
    """Commits being prepared together on top of a state: each sees the ones before it, the state does not change."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._revision = state.revision
        self._entries: dict[str, Entry | None] = {}
        self._leases: dict[int, float | None] = {}
        self._leased: dict[int, set[str]] = {}
        """Keys written here, by the lease they were written with."""

    def commit(self, ops: Sequence[Op]) -> Step:
        """Raises ConflictError, LeaseNotFoundError, or ValueError when one key is written twice."""
        written = [op.key for op in ops if not isinstance(op, Check)]
        if len(set(written)) != len(written):
            raise ValueError("a commit writes a key at most once")
        for op in ops:
            self._check(op)
        changes = tuple(change for op in ops if (change := self._change(op)))
        return self._keep(Step(revision=self._revision + 1 if changes else self._revision, changes=changes))

    def grant(self, lease: int, ttl: float) -> Step:
        return self._keep(Step(revision=self._revision, leases={lease: ttl}))

    def revoke(self, lease: int) -> Step:
        keys = self._state.keys_of(lease) | self._leased.get(lease, set())
        held = sorted(key for key in keys if (entry := self._get(key)) and entry.lease == lease)
        changes = tuple(Change(key=key, revision=self._revision + 1, entry=None) for key in held)
        return self._keep(Step(revision=self._revision + bool(changes), changes=changes, leases={lease: None}))

    def _keep(self, step: Step) -> Step:
        self._revision = step.revision
        for change in step.changes:
            self._entries[change.key] = change.entry
            if change.entry:
                self._leased.setdefault(change.entry.lease, set()).add(change.key)
        self._leases.update(step.leases)
        return step

    def _get(self, key: str) -> Entry | None:
        return self._entries[key] if key in self._entries else self._state.get(key)

    def _check(self, op: Op) -> None:
        entry = self._get(op.key)
        actual = entry.revision if entry else 0
        if op.expect is not None and op.expect != actual:
            raise ConflictError(op.key, op.expect, actual)
        if isinstance(op, Put) and op.lease and self._leases.get(op.lease, self._state.leases.get(op.lease)) is None:
            raise LeaseNotFoundError(op.lease)

    def _change(self, op: Op) -> Change | None:
        old = self._get(op.key)
        revision = self._revision + 1
        if isinstance(op, Put):
            created = old.created if old else revision
            entry = Entry(key=op.key, value=op.value, created=created, revision=revision, lease=op.lease)
            return Change(key=op.key, revision=revision, entry=entry)
        return Change(key=op.key, revision=revision, entry=None) if isinstance(op, Delete) and old else None
