"""Definition files of a machine whose control plane runs elsewhere."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from support.agent_calls import call
from support.running import Place, running

SCRIPT = {"id": "s", "args": ["sh", "-c", "echo said; exit $(cat code)"], "interval": "1s"}


def write(folder: Path, *services: dict[str, Any]) -> None:
    (folder / "a.json").write_text(json.dumps({"services": services}))


def states(checks: list[dict[str, Any]]) -> dict[str, str]:
    return {check["CheckID"]: check["Status"] for check in checks}


def test_services_and_checks_of_another_machine(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        definitions = tmp_path / "definitions"
        definitions.mkdir()
        (tmp_path / "code").write_text("0")
        alias = {"id": "as-web", "alias_service": "web"}
        web = {"name": "web", "port": 1, "tags": ["v1"], "meta": {"a": "b"}, "checks": [SCRIPT]}
        write(definitions, web, {"name": "b", "check": alias})
        words = ("agent", "--config-dir", str(definitions), "--node", "m1", "--address", "127.0.0.7")
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
                write(definitions, {"name": "web", "port": 2})
                await place.until("/v1/catalog/service/web", lambda found: [s["ServicePort"] for s in found] == [2])
                await place.until("/v1/catalog/service/b", lambda found: found == [])
                await place.until("/v1/health/checks/web", lambda checks: checks == [])
                write(definitions, {"name": "web", "port": 3, "check": {"ttl": "1m"}})
                async with asyncio.timeout(60):
                    while "a ttl check can be told of" not in agent.log.read_text():  # noqa: ASYNC110 - a log is no event
                        await asyncio.sleep(0.02)
                await agent.kill()
            write(definitions, {"name": "other", "port": 4})
            await call(place, "PUT", "/v1/catalog/register", {"Node": "m1", "SkipNodeUpdate": True, "Service": {"Service": "by-hand"}})
            async with running(place, *words, environment=scripts):
                await place.until(
                    "/v1/catalog/node-services/m1", lambda found: {s["ID"] for s in found["Services"]} == {"other", "by-hand"}
                )
            assert await place.get("/v1/catalog/service/other") == []

    asyncio.run(main())


def test_no_directory(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        code, said = await place.tulle("agent", "--config-dir", str(tmp_path / "nowhere"))
        assert (code, "Traceback" in said, "is no directory" in said) == (1, False, True)

    asyncio.run(main())
