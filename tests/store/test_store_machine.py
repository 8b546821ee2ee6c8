"""Whatever is done to a store, in whatever order, it behaves as a dictionary would that never forgets a revision."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.sqlite import SqliteHarness
from tulle.store.port import CompactedError, ConflictError, Delete, LeaseNotFoundError, Op, Put

KEYS = st.sampled_from(["a", "a/1", "a/2", "b", "b/1"])
VALUES = st.binary(max_size=4)


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.harness = SqliteHarness(Path(self.folder.name) / "t.db")
        self.runner.run(self.harness.open())
        self.revision = 0
        self.oldest = 0
        self.entries: dict[str, tuple[bytes, int, int, int]] = {}
        self.history: list[tuple[int, str, bytes | None]] = []
        self.leases: dict[int, tuple[float, float]] = {}
        self.looked_at: list[int] = []
        """Leases in the order in which the store looks whether they are over: as granted, and by id after a restart."""

    def teardown(self) -> None:
        self.runner.run(self.harness.close())
        self.runner.close()
        self.folder.cleanup()

    @property
    def store(self):  # type: ignore[no-untyped-def]
        return self.harness.store

    def write(self, changes: dict[str, tuple[bytes, int] | None]) -> None:
        """The model's own commit."""
        effective = {key: value for key, value in changes.items() if value is not None or key in self.entries}
        self.revision += bool(effective)
        for key, value in effective.items():
            if value is None:
                del self.entries[key]
            else:
                created = self.entries[key][1] if key in self.entries else self.revision
                self.entries[key] = (value[0], created, self.revision, value[1])
            self.history.append((self.revision, key, value[0] if value else None))

    def actual(self, key: str) -> int:
        return self.entries[key][2] if key in self.entries else 0

    @rule(
        ops=st.lists(
            st.tuples(KEYS, st.none() | VALUES, st.sampled_from(["any", "right", "wrong"])), max_size=4, unique_by=lambda op: op[0]
        )
    )
    def commit(self, ops: list[tuple[str, bytes | None, str]]) -> None:
        made: list[Op] = []
        for key, value, how in ops:
            expect = {"any": None, "right": self.actual(key), "wrong": self.actual(key) + 1}[how]
            made.append(Delete(key=key, expect=expect) if value is None else Put(key=key, value=value, expect=expect))
        if any(how == "wrong" for _, _, how in ops):
            with pytest.raises(ConflictError):
                self.runner.run(self.store.commit(made))
            return
        result = self.runner.run(self.store.commit(made))
        self.write({key: None if value is None else (value, 0) for key, value, _ in ops})
        assert result == self.revision

    def any_lease(self, data: st.DataObject) -> int:
        """By its place, as ids are another in every run."""
        return list(self.leases)[data.draw(st.integers(0, len(self.leases) - 1))]

    @rule(ttl=st.integers(2, 10))
    def grant(self, ttl: int) -> None:
        lease = self.runner.run(self.store.grant(ttl))
        self.leases[lease] = (ttl, self.harness.clock() + ttl)
        self.looked_at.append(lease)

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), key=KEYS, value=VALUES)
    def put_leased(self, data: st.DataObject, key: str, value: bytes) -> None:
        lease = self.any_lease(data)
        self.runner.run(self.store.put(key, value, lease=lease))
        self.write({key: (value, lease)})

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def keep_alive(self, data: st.DataObject) -> None:
        lease = self.any_lease(data)
        self.runner.run(self.store.keep_alive(lease))
        ttl, _ = self.leases[lease]
        self.leases[lease] = (ttl, self.harness.clock() + ttl)

    def end(self, lease: int) -> None:
        del self.leases[lease]
        self.looked_at.remove(lease)
        self.write({key: None for key, entry in sorted(self.entries.items()) if entry[3] == lease})

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        lease = self.any_lease(data)
        self.runner.run(self.store.revoke(lease))
        self.end(lease)
        with pytest.raises(LeaseNotFoundError):
            self.runner.run(self.store.keep_alive(lease))

    @rule(seconds=st.integers(1, 6))
    def advance(self, seconds: int) -> None:
        for _ in range(seconds):
            self.runner.run(self.harness.advance(1))
            for lease in [lease for lease in self.looked_at if self.leases[lease][1] <= self.harness.clock()]:
                self.end(lease)

    @rule()
    def restart(self) -> None:
        self.runner.run(self.harness.reopen())
        self.oldest = self.revision
        self.looked_at.sort()
        self.leases = {lease: (ttl, self.harness.clock() + ttl) for lease, (ttl, _) in self.leases.items()}

    @rule(prefix=st.sampled_from(["", "a", "a/", "b/"]), back=st.integers(0, 6))
    def watch(self, prefix: str, back: int) -> None:
        after = max(self.revision - back, 0)
        wanted = [change for change in self.history if change[0] > after and change[1].startswith(prefix)]
        watching = aiter(self.store.watch(prefix, after))
        if after < self.oldest:
            with pytest.raises(CompactedError):
                self.runner.run(anext(watching))
        elif wanted:
            batch = self.runner.run(anext(watching))
            assert [(c.revision, c.key, c.entry.value if c.entry else None) for c in batch.changes] == wanted
            assert batch.revision == self.revision
        self.runner.run(watching.aclose())

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        for prefix in ("", "a/", "b"):
            listing = self.runner.run(self.store.range(prefix))
            assert listing.revision == self.revision
            found = {e.key: (e.value, e.created, e.revision, e.lease) for e in listing.entries}
            assert list(found.items()) == sorted((k, v) for k, v in self.entries.items() if k.startswith(prefix))


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
