"""Names as `dig` asks them of running control planes: prepared queries, gateways, and a second datacenter."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from support.agent_calls import call
from support.fronts import front
from support.running import Place, running

pytestmark = pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed")


async def dig(place: Place, *words: str) -> str:
    command = ("dig", "@127.0.0.1", "-p", str(place.dns), "+tries=1", "+time=60", *words)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode().strip()


async def register(place: Place, identifier: str, port: int, **more: object) -> None:
    body = {"Name": "web", "ID": identifier, "Port": port, "Address": f"127.0.0.{port}", **more}
    assert (await call(place, "PUT", "/v1/agent/service/register", body))[0] == 200


async def query(place: Place, **more: object) -> None:
    assert (await call(place, "POST", "/v1/query", {"Name": "find", "DNS": {"TTL": "7s"}, **more}))[0] == 200


def folder(path: Path, name: str) -> Path:
    (path / name).mkdir()
    return path / name


def test_two_datacenters(tmp_path: Path) -> None:
    async def main() -> None:
        east, west = Place(folder=folder(tmp_path, "east")), Place(folder=folder(tmp_path, "west"))
        joined = ("--datacenter", "east", "--join-wan", f"west=http://127.0.0.1:{west.api}", "--join-wan", "gone=http://127.0.0.1:9")
        async with (
            running(west, "control", "--datacenter", "west", environment=west.environment | {"TULLE_NODE": "w1"}),
            running(east, "control", *joined, environment=east.environment | {"TULLE_NODE": "e1"}),
        ):
            for place in (east, west):
                await place.until("/api/v1/proxies", lambda _: True)
            await register(west, "w", 2, Tags=["v1"])
            assert await dig(east, "+short", "web.service.west.consul") == "127.0.0.2"
            assert await dig(east, "+short", "+tcp", "v1.web.service.west.dc.consul") == "127.0.0.2"
            assert await dig(east, "+short", "_web._tcp.service.west.consul", "SRV") == "1 1 2 7f000002.addr.west.consul."
            assert await dig(east, "+short", "7f000002.addr.west.consul") == "127.0.0.2"
            assert await dig(east, "+short", "w1.node.west.consul") == "127.0.0.1"
            assert "status: NXDOMAIN" in await dig(east, "v2.web.service.west.consul")
            assert "status: NXDOMAIN" in await dig(east, "nobody.node.west.consul")
            assert "status: NXDOMAIN" in await dig(east, "web.service.mars.consul")
            assert "status: SERVFAIL" in await dig(east, "web.service.gone.consul")
            await query(east, Service={"Service": "web", "Failover": {"Datacenters": ["gone", "west"]}})
            over = await dig(east, "find.query.consul", "SRV")
            assert "1 1 2 7f000002.addr.west.consul." in over
            assert "\t7\tIN\tSRV" in over.replace("find.query.consul.", "")
            await register(east, "e", 1)
            assert await dig(east, "+short", "FIND.query.east.consul") == "127.0.0.1"
            assert await dig(east, "+short", "_find._tcp.query.consul", "SRV") == "1 1 1 7f000001.addr.east.consul."
            assert "status: NXDOMAIN" in await dig(east, "other.query.consul")
            assert "status: NXDOMAIN" in await dig(east, "find.query.west.consul")

    asyncio.run(main())


@pytest.mark.envoy
def test_gateways(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control"), running(place, "gateway"):
            await place.until("/api/v1/proxies", lambda found: len(found["proxies"]) == 1)
            assert "status: NXDOMAIN" in await dig(place, "web.ingress.consul")
            await register(place, "a", 3)
            code, said = await place.tulle("apply", "--wait", "--timeout", "4m", "-f", str(place.write("front.yaml", front(place.gateway))))
            assert code == 0, said
            assert await dig(place, "+short", "web.ingress.consul") == "127.0.0.1"
            assert await dig(place, "+short", "web.ingress.consul", "SRV") == f"1 1 {place.gateway} 7f000001.addr.dc1.consul."
            assert "status: NXDOMAIN" in await dig(place, "other.ingress.consul")

    asyncio.run(main())
