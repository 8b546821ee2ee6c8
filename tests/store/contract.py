"""What every store must do. A test module for a store inherits `StoreContract` and says how to open one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest

from tulle.store.port import Batch, Check, CompactedError, ConflictError, Delete, LeaseNotFoundError, Put, Store


class Harness(Protocol):
    """An open store, and what a test may do around it."""

    store: Store

    async def advance(self, seconds: float) -> None:
        """Lets time pass, and leases end whose time is over."""
        ...

    async def reopen(self) -> None:
        """Ends the store and opens it again."""
        ...

    async def compact(self) -> None:
        """Makes the store forget the changes of revision 1."""
        ...


Contract = Callable[["StoreContract", Harness], Awaitable[None]]


def contract(test: Contract) -> Callable[[StoreContract, Path], None]:
    """Turns a test over a harness into one that pytest can call."""

    def run(self: StoreContract, tmp_path: Path) -> None:
        async def body() -> None:
            async with asyncio.timeout(60), self.opened(tmp_path) as harness:
                await test(self, harness)

        asyncio.run(body())

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


async def first(store: Store, prefix: str, after: int) -> Batch:
    """The first batch of a watch."""
    return await anext(aiter(store.watch(prefix, after)))


def told(batch: Batch) -> list[tuple[str, bytes | None]]:
    return [(change.key, change.entry.value if change.entry else None) for change in batch.changes]


class StoreContract:
    def opened(self, folder: Path) -> AbstractAsyncContextManager[Harness]:
        raise NotImplementedError

    # === keys and revisions

    @contract
    async def test_what_was_put_is_got(self, harness: Harness) -> None:
        revision = await harness.store.put("a", b"1")
        entry = await harness.store.get("a")
        assert entry
        assert (entry.key, entry.value, entry.created, entry.revision, entry.lease) == ("a", b"1", revision, revision, 0)
        assert await harness.store.get("b") is None

    @contract
    async def test_a_revision_is_one_more_for_each_commit_and_kept_over_updates(self, harness: Harness) -> None:
        made = await harness.store.put("a", b"1")
        assert await harness.store.put("b", b"") == made + 1
        assert await harness.store.put("a", b"2") == made + 2
        entry = await harness.store.get("a")
        assert entry
        assert (entry.created, entry.revision) == (made, made + 2)

    @contract
    async def test_a_range_holds_what_has_the_prefix_in_order(self, harness: Harness) -> None:
        for key in ("a/2", "a/1", "a", "b/1", "a0", "a/\u00e9"):
            await harness.store.put(key, key.encode())
        listing = await harness.store.range("a/")
        assert [entry.key for entry in listing.entries] == ["a/1", "a/2", "a/\u00e9"]
        assert listing.revision == await harness.store.put("z", b"") - 1
        assert [entry.key for entry in (await harness.store.range("")).entries] == sorted(("a/2", "a/1", "a", "b/1", "a0", "a/\u00e9", "z"))

    @contract
    async def test_a_deleted_key_is_gone_and_a_new_one_is_made_anew(self, harness: Harness) -> None:
        await harness.store.put("a", b"1")
        await harness.store.delete("a")
        assert await harness.store.get("a") is None
        again = await harness.store.put("a", b"2")
        entry = await harness.store.get("a")
        assert entry
        assert entry.created == again

    @contract
    async def test_a_commit_that_changes_nothing_has_no_revision_of_its_own(self, harness: Harness) -> None:
        made = await harness.store.put("a", b"1")
        assert await harness.store.delete("b") == made
        assert await harness.store.commit([]) == made
        assert await harness.store.commit([Check(key="a", expect=made)]) == made

    # === compare and swap

    @contract
    async def test_create_only(self, harness: Harness) -> None:
        made = await harness.store.put("a", b"1", expect=0)
        with pytest.raises(ConflictError) as caught:
            await harness.store.put("a", b"2", expect=0)
        assert (caught.value.key, caught.value.expected, caught.value.actual) == ("a", 0, made)
        entry = await harness.store.get("a")
        assert entry
        assert entry.value == b"1"

    @contract
    async def test_only_one_of_many_wins_a_race(self, harness: Harness) -> None:
        made = await harness.store.put("a", b"")
        attempts = [harness.store.put("a", str(n).encode(), expect=made) for n in range(20)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        won = [n for n, result in enumerate(results) if isinstance(result, int)]
        assert len(won) == 1
        assert all(isinstance(result, ConflictError) for n, result in enumerate(results) if n not in won)
        entry = await harness.store.get("a")
        assert entry
        assert entry.value == str(won[0]).encode()

    @contract
    async def test_a_delete_at_the_wrong_revision_deletes_nothing(self, harness: Harness) -> None:
        made = await harness.store.put("a", b"1")
        for wrong in (0, made + 1):
            with pytest.raises(ConflictError):
                await harness.store.delete("a", expect=wrong)
        assert await harness.store.get("a")
        await harness.store.delete("a", expect=made)
        assert await harness.store.get("a") is None

    @contract
    async def test_a_commit_is_all_or_nothing(self, harness: Harness) -> None:
        made = await harness.store.put("a", b"1")
        with pytest.raises(ConflictError):
            await harness.store.commit([Put(key="b", value=b"2"), Delete(key="a", expect=made + 7), Put(key="c", value=b"3")])
        assert [entry.key for entry in (await harness.store.range("")).entries] == ["a"]
        revision = await harness.store.commit([Put(key="b", value=b"2"), Delete(key="a", expect=made), Check(key="c", expect=0)])
        listing = await harness.store.range("")
        assert [(entry.key, entry.revision) for entry in listing.entries] == [("b", revision)]
        assert listing.revision == revision == made + 1

    @contract
    async def test_a_check_that_fails_stops_the_commit(self, harness: Harness) -> None:
        await harness.store.put("a", b"1")
        with pytest.raises(ConflictError):
            await harness.store.commit([Check(key="a", expect=0), Put(key="b", value=b"")])
        assert await harness.store.get("b") is None

    @contract
    async def test_a_key_is_written_once_in_a_commit(self, harness: Harness) -> None:
        with pytest.raises(ValueError, match="once"):
            await harness.store.commit([Put(key="a", value=b"1"), Delete(key="a")])

    # === watches

    @contract
    async def test_a_watch_misses_nothing_after_a_range(self, harness: Harness) -> None:
        await harness.store.put("w/1", b"1")
        listing = await harness.store.range("w/")
        await harness.store.put("w/2", b"2")
        await harness.store.put("other", b"")
        await harness.store.delete("w/1")
        seen: list[tuple[str, bytes | None]] = []
        async for batch in harness.store.watch("w/", listing.revision):
            seen += told(batch)
            if len(seen) >= 2:
                break
        assert seen == [("w/2", b"2"), ("w/1", None)]

    @contract
    async def test_a_watch_waits_for_what_is_to_come(self, harness: Harness) -> None:
        start = await harness.store.put("w/0", b"")
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(first(harness.store, "w/", start))
            await asyncio.sleep(0)
            assert not waiting.done()
            await harness.store.put("other", b"")
            revision = await harness.store.put("w/1", b"1")
        batch = waiting.result()
        assert told(batch) == [("w/1", b"1")]
        assert batch.revision >= revision

    @contract
    async def test_a_watch_gets_commits_whole(self, harness: Harness) -> None:
        await harness.store.commit([Put(key=f"w/{n}", value=b"") for n in range(3)] + [Put(key="x", value=b"")])
        batch = await first(harness.store, "w/", 0)
        assert [change.key for change in batch.changes] == ["w/0", "w/1", "w/2"]
        assert {change.revision for change in batch.changes} == {batch.revision}

    @contract
    async def test_a_watch_resumed_after_a_batch_goes_on_where_it_ended(self, harness: Harness) -> None:
        await harness.store.put("w/1", b"1")
        batch = await first(harness.store, "w/", 0)
        await harness.store.put("w/2", b"2")
        assert told(await first(harness.store, "w/", batch.revision)) == [("w/2", b"2")]

    @contract
    async def test_many_watches_see_the_same_while_many_write(self, harness: Harness) -> None:
        async def follow() -> list[str]:
            seen: list[str] = []
            async for batch in harness.store.watch("w/", 0):
                seen += [change.key for change in batch.changes]
                if len(seen) == 200:
                    return seen
            return seen

        async with asyncio.TaskGroup() as group:
            followers = [group.create_task(follow()) for _ in range(5)]
            for n in range(200):
                group.create_task(harness.store.put(f"w/{n}", b""))
        assert {tuple(follower.result()) for follower in followers} == {tuple(followers[0].result())}
        assert sorted(followers[0].result()) == sorted(f"w/{n}" for n in range(200))

    @contract
    async def test_a_watch_from_too_long_ago_says_so(self, harness: Harness) -> None:
        await harness.store.put("w/1", b"")
        await harness.store.put("w/2", b"")
        await harness.compact()
        with pytest.raises(CompactedError):
            await first(harness.store, "w/", 0)
        listing = await harness.store.range("w/")
        await harness.store.put("w/3", b"")
        assert [key for key, _ in told(await first(harness.store, "w/", listing.revision))] == ["w/3"]

    # === leases

    @contract
    async def test_keys_go_with_their_lease(self, harness: Harness) -> None:
        lease = await harness.store.grant(10)
        await harness.store.put("kept", b"")
        await harness.store.put("l/1", b"1", lease=lease)
        await harness.store.put("l/2", b"2", lease=lease)
        await harness.advance(9)
        assert len((await harness.store.range("l/")).entries) == 2
        before = (await harness.store.range("")).revision
        await harness.advance(2)
        batch = await first(harness.store, "", before)
        assert told(batch) == [("l/1", None), ("l/2", None)]
        assert batch.revision == before + 1
        assert [entry.key for entry in (await harness.store.range("")).entries] == ["kept"]

    @contract
    async def test_a_lease_kept_alive_lives_on_without_a_new_revision(self, harness: Harness) -> None:
        lease = await harness.store.grant(10)
        revision = await harness.store.put("l", b"", lease=lease)
        for _ in range(5):
            await harness.advance(8)
            await harness.store.keep_alive(lease)
        assert (await harness.store.range("")).revision == revision
        assert await harness.store.get("l")

    @contract
    async def test_a_lease_that_ended_cannot_be_used(self, harness: Harness) -> None:
        lease = await harness.store.grant(2)
        await harness.advance(4)
        with pytest.raises(LeaseNotFoundError):
            await harness.store.keep_alive(lease)
        with pytest.raises(LeaseNotFoundError):
            await harness.store.put("l", b"", lease=lease)
        assert await harness.store.get("l") is None

    @contract
    async def test_a_revoked_lease_takes_its_keys_at_once(self, harness: Harness) -> None:
        lease = await harness.store.grant(10)
        await harness.store.put("l", b"", lease=lease)
        await harness.store.revoke(lease)
        assert await harness.store.get("l") is None
        await harness.store.revoke(lease)
        with pytest.raises(LeaseNotFoundError):
            await harness.store.keep_alive(lease)

    @contract
    async def test_a_key_put_again_without_its_lease_stays(self, harness: Harness) -> None:
        lease = await harness.store.grant(10)
        await harness.store.put("l", b"", lease=lease)
        await harness.store.put("l", b"")
        await harness.store.revoke(lease)
        assert await harness.store.get("l")

    # === restarts

    @contract
    async def test_everything_is_there_after_a_restart(self, harness: Harness) -> None:
        lease = await harness.store.grant(10)
        await harness.store.put("a", b"1")
        await harness.store.put("l", b"2", lease=lease)
        await harness.store.put("gone", b"")
        await harness.store.delete("gone")
        before = await harness.store.range("")
        await harness.reopen()
        assert await harness.store.range("") == before
        assert await harness.store.put("b", b"") == before.revision + 1

    @contract
    async def test_a_lease_has_its_full_time_again_after_a_restart(self, harness: Harness) -> None:
        lease = await harness.store.grant(10)
        await harness.store.put("l", b"", lease=lease)
        await harness.advance(9)
        await harness.reopen()
        await harness.advance(9)
        assert await harness.store.get("l")
        await harness.advance(2)
        assert await harness.store.get("l") is None
