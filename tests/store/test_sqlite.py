"""The SQLite store: the contract, and what only a file can do: be shared, be broken, survive a killed process."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store.contract import StoreContract
from support.sqlite import SqliteHarness, sqlite_harness
from tulle.store.database import StoreInUseError
from tulle.store.port import LeaseNotFoundError, Put, StoreError
from tulle.store.sqlite import open_sqlite


class TestSqliteContract(StoreContract):
    def opened(self, folder: Path) -> object:  # type: ignore[override]
        return sqlite_harness(folder / "tulle.db")


WRITER = """
import asyncio, sys, time
from tulle.store.port import Put
from tulle.store.sqlite import open_sqlite

async def write(store, name):
    number = 0
    while True:
        await store.commit([Put(key=f"{name}/{number}/{half}", value=str(number).encode() * 50) for half in "ab"])
        sys.stdout.write(f"{name}/{number}\\n")
        sys.stdout.flush()
        number += 1

async def main():
    async with open_sqlite(sys.argv[1], time.monotonic) as store, asyncio.TaskGroup() as group:
        for name in range(20):
            group.create_task(write(store, name))

asyncio.run(main())
"""


def test_every_acknowledged_write_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "tulle.db"
    acknowledged: set[str] = set()
    for _ in range(4):
        child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout
        acknowledged.update(child.stdout.readline().strip() for _ in range(700))
        child.send_signal(signal.SIGKILL)
        acknowledged.update(line.strip() for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n"))
        child.wait()
        child.stdout.close()
    found = asyncio.run(keys(path))
    missing = {name for name in acknowledged if not {f"{name}/a", f"{name}/b"} <= found}
    assert len(acknowledged) >= 700
    assert not missing
    assert {key[:-2] for key in found if key.endswith("/a")} == {key[:-2] for key in found if key.endswith("/b")}, "half a commit"


async def keys(path: Path) -> set[str]:
    async with open_sqlite(path, time.monotonic) as store:
        return {entry.key for entry in (await store.range("")).entries}


def test_two_control_planes_cannot_open_the_same_file(tmp_path: Path) -> None:
    async def run() -> None:
        async with open_sqlite(tmp_path / "t.db", time.monotonic) as store:
            await store.put("a", b"")
            with pytest.raises(StoreInUseError, match=r"in use by process \d+: stop that control plane"):
                async with open_sqlite(tmp_path / "t.db", time.monotonic):
                    pass
            assert await store.get("a")

    asyncio.run(run())


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout
    child.stdout.readline()
    with pytest.raises(StoreInUseError, match=f"process {child.pid}"):
        asyncio.run(keys(path))
    child.kill()
    child.wait()
    child.stdout.close()
    assert asyncio.run(keys(path))


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    async def run() -> None:
        async with open_sqlite(tmp_path / "state" / "tulle" / "t.db", time.monotonic) as store:
            await store.put("a", b"secret")
            for file in (tmp_path / "state" / "tulle").iterdir():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
            assert stat.S_IMODE((tmp_path / "state" / "tulle").stat().st_mode) == 0o700

    asyncio.run(run())


def test_an_older_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.touch(mode=0o666)
    asyncio.run(keys(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError, match=r"t\.db cannot be opened: file is not a database"):
        asyncio.run(keys(path))


def test_a_file_of_a_newer_tulle_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    asyncio.run(keys(path))
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="written by a newer Tulle"):
        asyncio.run(keys(path))


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be opened: .*/file is not a folder"):
        asyncio.run(keys(tmp_path / "file" / "t.db"))


def test_a_write_that_fails_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """The table vanishes under the store: the commit under way fails whole, and the memory still tells the truth."""

    async def run() -> None:
        path = tmp_path / "t.db"
        async with open_sqlite(path, time.monotonic) as store:
            await store.put("a", b"1")
            other = sqlite3.connect(path)
            other.execute("ALTER TABLE entries RENAME TO elsewhere")
            with pytest.raises(StoreError, match="cannot be written: no such table"):
                await store.put("a", b"2")
            assert (await store.range("")).revision == 1
            other.execute("ALTER TABLE elsewhere RENAME TO entries")
            other.close()
            assert await store.put("a", b"3") == 2

    asyncio.run(run())


def test_a_closed_store_refuses_and_its_watches_end(tmp_path: Path) -> None:
    async def run() -> None:
        async with asyncio.TaskGroup() as group, open_sqlite(tmp_path / "t.db", time.monotonic) as store:
            watching = group.create_task(collect(store))
            await store.put("a", b"")
        assert watching.result() <= 1
        with pytest.raises(StoreError, match="closed"):
            await store.put("b", b"")

    async def collect(store: object) -> int:
        return len([batch async for batch in store.watch("", 0)])  # type: ignore[attr-defined]

    asyncio.run(run())


def test_a_caller_who_goes_away_leaves_nothing_half_done(tmp_path: Path) -> None:
    async def run() -> None:
        async with open_sqlite(tmp_path / "t.db", time.monotonic) as store:
            async with asyncio.TaskGroup() as group:
                writes = [group.create_task(store.put(f"k{n}", b"")) for n in range(50)]
                await asyncio.sleep(0)
                for write in writes[::2]:
                    write.cancel()
            done = {entry.key for entry in (await store.range("")).entries}
            assert {f"k{n}" for n in range(1, 50, 2)} <= done
            revision = await store.put("last", b"")
            listing = await store.range("")
            assert revision == listing.revision == len(listing.entries)

    asyncio.run(run())


def test_commits_of_one_transaction_see_each_other(tmp_path: Path) -> None:
    """The first write keeps the disk busy, so that the others go together."""

    async def run() -> None:
        async with open_sqlite(tmp_path / "t.db", time.monotonic) as store:
            lease, other = await store.grant(60), await store.grant(60)
            await asyncio.gather(store.put("busy", b""), store.put("l", b"", lease=lease), store.revoke(lease))
            assert await store.get("l") is None
            results = await asyncio.gather(
                store.put("busy", b""),
                store.revoke(other),
                store.put("l", b"", lease=other),
                store.put("n", b"", expect=0),
                return_exceptions=True,
            )
            assert isinstance(results[2], LeaseNotFoundError)
            found = [entry.key for entry in (await store.range("")).entries]
            assert found == ["busy", "n"]

    asyncio.run(run())
    assert asyncio.run(keys(tmp_path / "t.db")) == {"busy", "n"}


def test_time_in_which_the_process_stood_still_ends_no_lease(tmp_path: Path) -> None:
    async def run() -> None:
        async with sqlite_harness(tmp_path / "t.db") as harness:
            await stopped(harness)

    async def stopped(harness: SqliteHarness) -> None:
        lease = await harness.store.grant(10)
        await harness.store.put("l", b"", lease=lease)
        await harness.advance(5)
        harness.clock.now += 3600
        harness.store.tick()
        await harness.advance(4)
        assert await harness.store.get("l")
        await harness.advance(2)
        assert await harness.store.get("l") is None

    asyncio.run(run())


def test_leases_end_by_themselves_in_real_time(tmp_path: Path) -> None:
    async def run() -> None:
        async with open_sqlite(tmp_path / "t.db", time.monotonic) as store:
            lease = await store.grant(2.0)
            revision = await store.put("l", b"", lease=lease)
            async with asyncio.timeout(60):
                batch = await anext(aiter(store.watch("", revision)))
            assert [change.entry for change in batch.changes] == [None]

    asyncio.run(run())


@pytest.mark.parametrize("ttl", [0, -1, float("inf"), float("nan")])
def test_a_lease_needs_a_time(tmp_path: Path, ttl: float) -> None:
    async def run() -> None:
        async with open_sqlite(tmp_path / "t.db", time.monotonic) as store:
            with pytest.raises(ValueError, match="cannot be granted"):
                await store.grant(ttl)

    asyncio.run(run())


def test_many_writers_share_the_disk(tmp_path: Path) -> None:
    """Group commit: a thousand durable writes cost a few transactions, not a thousand."""

    async def run() -> int:
        statements: list[str] = []
        async with open_sqlite(tmp_path / "t.db", time.monotonic) as store:
            store._database._connection.set_trace_callback(statements.append)
            await asyncio.gather(*(store.commit([Put(key=f"k{n}", value=b"")]) for n in range(1000)))
        return statements.count("COMMIT")

    assert 1 <= asyncio.run(run()) <= 10
