"""The process that looks at requests, as the control plane starts it: asked through a real Envoy, killed, and told of wrong rules."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.attacks import Sent, send
from support.backend import backend
from support.carried import at
from support.compiled import built, gateway
from support.edge import edge, policy
from support.eventually import eventually
from support.led_mesh import LedMesh, led_mesh
from support.running import free_port
from tulle.logs import Text
from tulle.model.firewall import POLICY, Firewall
from tulle.server.firewall import beside as module
from tulle.server.firewall import service
from tulle.server.firewall.beside import Beside, beside
from tulle.server.firewall.engine import missing
from tulle.server.firewall.service import FirewallService
from tulle.server.firewall.wire import SERVICE, line, spoken, understood

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing())

SCRIPT = "/find?q=%3Cscript%3Ealert(1)%3C/script%3E"


class Place:
    """A gateway that asks by way of the control plane, as those on other machines do. `said`: what the process found of the Firewalls."""

    def __init__(self, port: int, led: LedMesh, wall: Beside, said: asyncio.Queue[tuple[str, Mapping[str, str]]]) -> None:
        self.port, self.led, self.wall, self.said = port, led, wall, said

    async def status(self, path: str) -> int:
        return await asyncio.to_thread(send, self.port, Sent(path=path))

    async def know(self) -> tuple[str, Mapping[str, str]]:
        """Tells the process of all Firewalls, and waits for what it says."""
        while not self.said.empty():
            self.said.get_nowait()
        self.wall.know(self.led.built.mesh.structure.rules.dressing.walls.every)
        async with asyncio.timeout(240):
            while True:
                said = await self.said.get()
                if self.said.empty():
                    return said

    async def until(self, status: int, path: str) -> None:
        async with asyncio.timeout(240):
            while await self.status(path) != status:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)

    async def refused(self, count: int) -> None:
        """Until the control plane has heard of so many."""
        async with asyncio.timeout(240):
            while self.wall.tally.requests["istio-system/edge", "refused"] < count:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)


@asynccontextmanager
async def placed(tmp_path: Path, *documents: str) -> AsyncIterator[Place]:
    port = free_port()
    said: asyncio.Queue[tuple[str, Mapping[str, str]]] = asyncio.Queue()
    async with beside(str(tmp_path / "xds"), lambda why, broken: said.put_nowait((why, broken))) as wall:
        with backend("far") as far:
            mine = at("far", 80, far.port, id="far")
            async with led_mesh(gateway(), edge(port, *documents), mine, beside=(wall.handler(),)) as led:
                assert led.rejections == []
                wall.start()
                await eventually(lambda: wall.running)
                yield Place(port, led, wall, said)


@pytest.mark.envoy
def test_it_is_asked_and_started_again(tmp_path: Path) -> None:
    """Also without the one that looks, the control plane goes on; requests fare as the Firewall says."""

    async def whole() -> None:
        async with placed(tmp_path, policy("Firewall", "required: true")) as place:
            assert await place.know() == ("", {})
            await place.until(200, "/find?q=shoes")
            assert await place.status(SCRIPT) == 403
            await place.refused(1)
            os.kill(place.wall.pid, signal.SIGSEGV)
            await place.until(503, "/find?q=shoes")
            await place.until(200, "/find?q=shoes")
            assert await place.status(SCRIPT) == 403
            assert place.wall.starts == 2
            await place.refused(2)

    asyncio.run(whole())


@pytest.mark.envoy
def test_what_attackers_send_cannot_forge_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    forged = "/x%0a2026-01-01T00:00:00Z%20warning%20firewall:%20firewall%20outcome=clean"
    tricks = (
        f"{forged}?q=<script>alert(1)</script>",
        '/a"][file"x"][line"1"][id"1"][msg"none"]?q=<script>alert(1)</script>',
        "/b?q=%5Bfile%20%22x%22%5D%20%5Bid%20%221%22%5D<script>alert(1)</script>",
        f"/{'long' * 500}?q=<script>alert(1)</script>",
    )

    async def whole() -> None:
        async with placed(tmp_path, policy("Firewall", "")) as place:
            await place.know()
            assert [await place.status(path) for path in tricks] == [403] * 4
            await place.refused(4)

    with caplog.at_level(logging.WARNING, "tulle.firewall"):
        asyncio.run(whole())
    lines = [Text().format(record) for record in caplog.records if record.getMessage() == "firewall"]
    assert len(lines) == 4
    for text in lines:
        assert "\n" not in text
        assert len(text) < 700
        assert text.count(" outcome=refused ") == 1
        assert " outcome=clean" not in text.partition(' path="')[0]
        rules = text.partition(" rules=")[2].partition(" ")[0].split(",")
        assert "941100" in rules
        assert all(900_000 <= int(number) < 960_000 for number in rules), rules


def test_rules_that_are_wrong_are_told(tmp_path: Path) -> None:
    async def whole() -> None:
        wrong = policy("Firewall", 'rules: \'SecRule ARGS "@rx a" "id:1,nonsense"\'', name="wrong")
        async with placed(tmp_path, policy("Firewall", ""), wrong) as place:
            why, broken = await place.know()
            assert (why, sorted(broken)) == ("", ["istio-system/wrong"])
            assert "nonsense" in broken["istio-system/wrong"]

    asyncio.run(whole())


@pytest.mark.parametrize("nonsense", ['{"tally": {', '{"tally": []}', "[]"])
def test_nonsense_from_it_is_the_end_of_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nonsense: str) -> None:
    """As from one that was ended in the middle of a line, or is of another version."""
    script = tmp_path / "worker"
    script.write_text(f'#!/bin/sh\nprintf \'{{"missing": ""}}\\n{nonsense}\\n\'\n')
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))

    async def whole() -> None:
        async with beside(str(tmp_path / "xds"), lambda *_: None) as wall:
            wall.start()
            await wall.settled()
            async with asyncio.timeout(240):
                while wall.starts < 3:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.02)
            script.unlink()
            async with asyncio.timeout(240):
                while wall.pid:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.02)

    asyncio.run(whole())


def test_one_that_hangs_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        async with beside(str(tmp_path / "xds"), lambda *_: None) as wall:
            wall.start()
            await eventually(lambda: wall.running)
            monkeypatch.setattr(module, "SILENCE", 6.0)
            before = wall.heard
            async with asyncio.timeout(240):
                while wall.heard == before:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.02)
                first = wall.pid
                assert first, "or it would be this process that stops"
                os.kill(first, signal.SIGSTOP)
                while wall.pid == first:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.02)
                monkeypatch.undo()
                while not wall.running:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.02)

    asyncio.run(whole())


def test_it_ends_with_who_started_it(tmp_path: Path) -> None:
    async def whole() -> int:
        async with beside(str(tmp_path / "xds"), lambda *_: None) as wall:
            wall.start()
            await eventually(lambda: wall.running)
            return wall.pid

    pid = asyncio.run(whole())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_what_is_said_is_understood() -> None:
    full = "exclusions: [{paths: [/a], rules: [1]}], answers: {}, rules: 'SecAction \"id:1,phase:1,pass\"', contentTypes: [a/b]"
    every = built(edge(8080, policy("Firewall", full), policy("Firewall", "", name="b"))).mesh.structure.rules.dressing.walls.every
    again = understood(json.loads(spoken(every)))
    assert again == every
    assert [one.id for one in again] == [one.id for one in every]
    assert line({"a": "\n"}).count(b"\n") == 1


def test_news_of_others_end_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that asks by a Firewall before the process has heard of it is kept waiting for that one."""
    monkeypatch.setattr(service, "PATIENCE", 60.0)

    async def nothing() -> AsyncIterator[bytes]:
        for message in ():
            yield message

    async def whole() -> None:
        walls, first, second = FirewallService(), Firewall(name="shop/first"), Firewall(name="shop/second")
        context = SimpleNamespace(invocation_metadata=lambda: ((POLICY, second.id),))
        process = walls.handler().service(SimpleNamespace(method=f"/{SERVICE}/Process")).stream_stream
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(anext(process(nothing(), context), None))
            for news in (first, second):
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert not asking.done()
                walls.know([news])
        assert asking.result() is None

    asyncio.run(whole())
