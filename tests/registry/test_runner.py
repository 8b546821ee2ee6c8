"""Checks run in their turn."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from support.eventually import eventually
from tulle.model.service import Health
from tulle.registry import checks, runner
from tulle.registry.catalog import Check, Probe
from tulle.registry.checks import Outcome, Result
from tulle.registry.runner import Runner


class Seen:
    """Where results go; every alias finds a warning."""

    def __init__(self) -> None:
        self.results: list[tuple[str, Health, str]] = []
        self.out: list[str] = []

    async def told(self, check: Check, status: Health, output: str) -> None:
        self.results.append((check.id, status, output))

    async def take_out(self, check: Check) -> None:
        self.out.append(check.service_id)

    def alias(self, _check: Check) -> Result:
        return Result(outcome=Outcome.WARNING, output="as the other")

    def of(self, id_: str) -> list[Health]:
        return [status for check, status, _ in self.results if check == id_]


def check(id_: str, service: str = "", **probe: object) -> Check:
    return Check(node="here", id=id_, service_id=service, probe=Probe(**probe))  # type: ignore[arg-type]


@asynccontextmanager
async def running(wanted: Iterable[Check], *, scripts: bool = True) -> AsyncIterator[tuple[Seen, Runner]]:
    seen = Seen()
    found = Runner(seen, time.monotonic, scripts=scripts)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(found.run())
        found.sync(wanted)
        yield seen, found
        task.cancel()


def test_a_check_is_run_again_and_again() -> None:
    async def main() -> None:
        async with running([check("c", tcp="127.0.0.1:1", interval=1.0)]) as (seen, _):
            await eventually(lambda: len(seen.results) >= 2)
        assert set(seen.of("c")) == {Health.CRITICAL}

    asyncio.run(main())


def test_a_word_that_is_not_renewed() -> None:
    async def main() -> None:
        for ttl in (0.2, 2.0, 20.0):  # a machine may take longer than a short one for what is to come within it
            async with running([check("t", ttl=ttl)]) as (seen, found):
                before, longest = await renewed(seen, found, ttl / 2)
                await eventually(lambda: bool(seen.results))
            if longest < ttl:
                break
        assert before == 0
        assert seen.results == [("t", Health.CRITICAL, "TTL expired (last output before timeout follows): fine")]

    asyncio.run(main())


async def renewed(seen: Seen, found: Runner, pause: float) -> tuple[int, float]:
    """How many results there are after four renewals, and the longest time without one."""
    longest, begun = 0.0, time.monotonic()
    for _ in range(4):
        found.heard(("here", "t"), Health.PASSING, "fine")
        await asyncio.sleep(pause)
        longest, begun = max(longest, time.monotonic() - begun), time.monotonic()
    return len(seen.results), longest


def test_programs_run_only_where_they_may() -> None:
    mine = check("s", args=(sys.executable, "-c", ""), interval=1.0)

    async def main(*, scripts: bool) -> list[Health]:
        async with running([mine, check("a", alias_service="x")], scripts=scripts) as (seen, _):
            await eventually(lambda: len(seen.of("a")) >= 2 and bool(not scripts or seen.of("s")))
            assert seen.of("a")[0] is Health.WARNING
            return seen.of("s")

    assert asyncio.run(main(scripts=True))[0] is Health.PASSING
    assert asyncio.run(main(scripts=False)) == []


def test_what_is_no_longer_wanted_is_not_run() -> None:
    async def main() -> None:
        gone, other = check("gone", alias_service="x"), check("other", alias_service="x")
        async with running([gone, other]) as (seen, found):
            await eventually(lambda: bool(seen.of("gone")))
            found.sync([other])
            before = len(seen.of("gone"))
            await eventually(lambda: len(seen.of("other")) >= 3)
            assert len(seen.of("gone")) == before

    asyncio.run(main())


def test_what_stays_critical_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SWEEP", 0.05)
    monkeypatch.setattr(checks, "SHORTEST_REAP", 0.1)

    async def main() -> None:
        wanted = [check("bad", "web", ttl=0.05, deregister_after=0.1), check("stays", "db", ttl=0.05)]
        async with running(wanted) as (seen, _):
            await eventually(lambda: bool(seen.out))
        assert set(seen.out) == {"web"}

    asyncio.run(main())


def test_only_so_many_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "AT_ONCE", 4)
    monkeypatch.setattr(checks, "SHORTEST_INTERVAL", 0.01)
    now = most = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        with contextlib.suppress(OSError):
            await reader.read(1)
            await asyncio.sleep(0.02)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            await writer.wait_closed()
        now -= 1

    async def main() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        wanted = [check(f"c{i}", http=f"http://127.0.0.1:{port}/", interval=0.05, timeout=60.0) for i in range(40)]
        async with running(wanted) as (seen, _):
            await eventually(lambda: len({id_ for id_, _, _ in seen.results}) == 40)
        await eventually(lambda: now == 0)
        server.close()
        assert {status for _, status, _ in seen.results} == {Health.PASSING}

    asyncio.run(main())
    assert 2 <= most <= 12, "four, and those that the server has yet to let go"


def test_words_end_in_time_though_all_others_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "AT_ONCE", 2)
    monkeypatch.setattr(checks, "SHORTEST_INTERVAL", 0.01)

    async def main() -> None:
        connected: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _, writer: connected.append(writer), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        hanging = [check(f"h{i}", http=url, interval=0.01, timeout=60.0) for i in range(6)]
        async with running(hanging) as (seen, found):
            await eventually(lambda: len(connected) == 2)
            found.sync([*hanging, check("word", ttl=0.05), check("alias", alias_service="web")])
            await eventually(lambda: {"word", "alias"} <= {id_ for id_, _, _ in seen.results})
            assert len(connected) == 2
            found.sync([])
        for writer in connected:
            writer.close()
        server.close()

    asyncio.run(main())


def test_the_end_of_a_word_is_told_again_when_it_could_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "RETRY", 0.02)

    class Deaf(Seen):
        async def told(self, check: Check, status: Health, output: str) -> None:
            await super().told(check, status, output)
            if len(self.results) < 3:
                raise OSError("the disk is full")

    async def main() -> None:
        deaf = Deaf()
        found = Runner(deaf, time.monotonic, scripts=False)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(found.run())
            found.sync([check("word", ttl=0.02)])
            await eventually(lambda: len(deaf.results) == 3)
            running.cancel()
        assert {status for _, status, _ in deaf.results} == {Health.CRITICAL}

    asyncio.run(main())
