"""Agents that are killed or stopped, as whole processes: their instances are given out by nobody until they are back."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import dns.asyncquery
import pytest

from support.eventually import soon
from support.running import Place, running
from support.zones import query, texts

pytestmark = pytest.mark.envoy
RUN = ("run", "--service", "web", "--port", "80", "--node", "m1", "--", sys.executable, "-m", "tulle.demo.apps.echo")
WEB = "/v1/health/service/web"


def statuses(found: list[dict[str, object]]) -> dict[str, str]:
    return {check["CheckID"]: check["Status"] for entry in found for check in entry["Checks"]}  # type: ignore[attr-defined]


async def named(place: Place, *wanted: str) -> bool:
    return await names(place) == [*wanted]


async def names(place: Place) -> list[str]:
    return texts((await dns.asyncquery.udp(query("web.service.consul"), "127.0.0.1", port=place.dns, timeout=60)).answer)


def test_stopped_continued_and_killed(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        short = place.environment | {"TULLE_NODE_TIMEOUT": "6s", "TULLE_NODE_REAP": "15s", "TULLE_NODE": "control"}
        async with running(place, "control", environment=short), running(place, *RUN) as agent:
            await place.until("/v1/health/service/web?passing", lambda found: len(found) == 1)
            (entry,) = await place.until(WEB, lambda found: statuses(found).get("serfHealth") == "passing")
            assert entry["Node"]["Node"] == "m1"
            agent.process.send_signal(signal.SIGSTOP)
            await place.until("/api/v1/endpoints/web", lambda answer: [e["health"] for e in answer["endpoints"]] == ["critical"])
            await place.until("/v1/health/service/web?passing", lambda found: found == [])
            assert statuses(await place.get(WEB))["serfHealth"] == "critical"
            await soon(lambda: named(place), every=0.05)
            agent.process.send_signal(signal.SIGCONT)
            passing = {"serfHealth": "passing", f"service:{entry['Service']['ID']}": "passing"}
            await place.until(WEB, lambda found: statuses(found) == passing)
            await soon(lambda: named(place, "A 127.0.0.1"), every=0.05)
            await agent.kill()
            await place.until("/v1/health/node/m1", lambda checks: "critical" in {check["Status"] for check in checks})
            assert await place.get("/v1/health/service/web?passing") == []
            await place.until("/v1/catalog/nodes", lambda nodes: [node["Node"] for node in nodes] == ["control"])

    asyncio.run(main())


def test_an_agent_that_ends_in_order_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control"):
            await place.until("/api/v1/proxies", lambda _: True)
            async with running(place, *RUN):
                await place.until("/v1/catalog/nodes", lambda nodes: "m1" in [node["Node"] for node in nodes])
                await place.until(WEB, lambda found: len(found) == 1)
            assert await place.get(WEB) == []
            assert "m1" not in [node["Node"] for node in await place.get("/v1/catalog/nodes")]
            assert (await place.get("/api/v1/agents"))["agents"] == []

    asyncio.run(main())
