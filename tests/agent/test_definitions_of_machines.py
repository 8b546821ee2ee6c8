"""Definition files of a machine whose control plane runs elsewhere."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from support.agent_calls import call
from support.running import Place, running
from tulle.agent import definitions
from tulle.agent.definitions import RemoteCatalog

SCRIPT = {"id": "s", "args": ["sh", "-c", "echo said; exit $(cat code)"], "interval": "1s"}


def write(folder: Path, *services: dict[str, Any]) -> None:
    (folder / "a.json").write_text(json.dumps({"services": services}))


def states(checks: list[dict[str, Any]]) -> dict[str, str]:
    return {check["CheckID"]: check["Status"] for check in checks}


def test_services_and_checks_of_another_machine(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        folder = tmp_path / "definitions"
        folder.mkdir()
        (tmp_path / "code").write_text("0")
        alias = {"id": "as-web", "alias_service": "web"}
        web = {"name": "web", "port": 1, "tags": ["v1"], "meta": {"a": "b"}, "checks": [SCRIPT]}
        write(folder, web, {"name": "b", "check": alias})
        words = ("agent", "--config-dir", str(folder), "--node", "m1", "--address", "127.0.0.7")
        scripts = place.environment | {"TULLE_ENABLE_LOCAL_SCRIPT_CHECKS": "true"}
        async with running(place, "control"):
            async with running(place, *words, environment=scripts) as agent:
                await place.until("/v1/health/service/web?passing", lambda found: len(found) == 1)
                (entry,) = await place.get("/v1/health/service/web")
                assert (entry["Node"]["Node"], entry["Node"]["Address"]) == ("m1", "127.0.0.7")
                assert (entry["Service"]["Tags"], entry["Service"]["Meta"]["a"]) == (["v1"], "b")
                assert states(entry["Checks"]) == {"serfHealth": "passing", "s": "passing"}
                assert {check["CheckID"]: check["Output"] for check in entry["Checks"]}["s"].strip() == "said"
                await place.until("/v1/health/checks/b", lambda checks: states(checks) == {"as-web": "passing"})
                (tmp_path / "code").write_text("2")
                await place.until("/v1/health/checks/web", lambda checks: states(checks) == {"s": "critical"})
                await place.until("/v1/health/checks/b", lambda checks: states(checks) == {"as-web": "critical"})
                write(folder, {"name": "web", "port": 2})
                await place.until("/v1/catalog/service/web", lambda found: [s["ServicePort"] for s in found] == [2])
                await place.until("/v1/catalog/service/b", lambda found: found == [])
                await place.until("/v1/health/checks/web", lambda checks: checks == [])
                write(folder, {"name": "web", "port": 3, "check": {"ttl": "1m"}})
                async with asyncio.timeout(60):
                    while "a ttl check can be told of" not in agent.log.read_text():  # noqa: ASYNC110 - a log is no event
                        await asyncio.sleep(0.02)
                await agent.kill()
            write(folder, {"name": "other", "port": 4})
            await call(place, "PUT", "/v1/catalog/register", {"Node": "m1", "SkipNodeUpdate": True, "Service": {"Service": "by-hand"}})
            async with running(place, *words, environment=scripts):
                await place.until(
                    "/v1/catalog/node-services/m1", lambda found: {s["ID"] for s in found["Services"]} == {"other", "by-hand"}
                )
            assert await place.get("/v1/catalog/service/other") == []

    asyncio.run(main())


def test_what_is_no_control_plane_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of somebody in between, for example: it is asked again."""
    monkeypatch.setattr(definitions, "RETRY", 0.01)

    async def main() -> None:
        again, asked = asyncio.Event(), list[bytes]()

        async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>")
            writer.close()
            if len(asked) > 1:
                again.set()

        async with await asyncio.start_server(page, "127.0.0.1", 0) as server:
            api = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            catalog = RemoteCatalog(api=api, node="m1", address="127.0.0.7", clock=time.monotonic, scripts=False)
            await catalog.define((), keep_others=False)
            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                running = tasks.create_task(catalog.run())
                await again.wait()
                running.cancel()
            await catalog.clear()

    asyncio.run(main())


def test_no_directory(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        code, said = await place.tulle("agent", "--config-dir", str(tmp_path / "nowhere"))
        assert (code, "Traceback" in said, "is no directory" in said) == (1, False, True)

    asyncio.run(main())
