"""Checks registered over Consul's API are run, and what they find decides who is given out."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import dns.asyncquery

from support.agent_calls import call
from support.running import Place, running
from support.zones import code, query


async def statuses(place: Place) -> dict[str, str]:
    _, found = await call(place, "GET", "/v1/agent/checks")
    return {id_: check["Status"] for id_, check in found.items()}


async def until(place: Place, id_: str, status: str) -> None:
    async with asyncio.timeout(60):
        while (await statuses(place)).get(id_) != status:  # noqa: ASYNC110 - what clients do who do not block
            await asyncio.sleep(0.005)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine")
    writer.close()
    await writer.wait_closed()


def test_what_is_found_decides(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control"):
            await place.until("/api/v1/proxies", lambda _: True)
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = server.sockets[0].getsockname()[1]
            check = {"HTTP": f"http://127.0.0.1:{port}/", "Interval": "1s"}
            status, said = await call(place, "PUT", "/v1/agent/service/register", {"Name": "web", "Port": port, "Check": check})
            assert (status, said) == (200, "")
            await until(place, "service:web", "passing")
            alias = {"Name": "as web", "ID": "alias", "AliasService": "web"}
            assert (await call(place, "PUT", "/v1/agent/check/register", alias))[0] == 200
            await until(place, "alias", "passing")
            server.close()
            await until(place, "service:web", "critical")
            await until(place, "alias", "critical")
            assert (await call(place, "GET", "/v1/health/service/web?passing"))[1] == []
            answer = await dns.asyncquery.udp(query("web.service.consul"), "127.0.0.1", port=place.dns, timeout=60)
            assert code(answer) == "NXDOMAIN"

    asyncio.run(main())


def test_a_word_that_ends_and_is_renewed(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        async with running(place, "control"):
            await place.until("/api/v1/proxies", lambda _: True)
            for ttl in (600, 6000, 30_000):  # a machine may take longer than a short one for what is to come within it
                name = f"beat-{ttl}"  # one of its own: the last word of the one before may not have ended
                assert (await call(place, "PUT", "/v1/agent/check/register", {"Name": name, "TTL": f"{ttl}ms"}))[0] == 200
                assert (await statuses(place))[name] == "critical"
                seen, longest = await beaten(place, name, ttl / 2000)
                if longest < ttl / 1000:
                    break
            assert seen == ["passing"] * 6
            await until(place, name, "critical")

    asyncio.run(main())


async def beaten(place: Place, name: str, pause: float) -> tuple[list[str], float]:
    """The statuses after each of three renewals and after each pause that follows, and the longest time from a renewal to the last look."""
    seen, longest = [], 0.0
    for _ in range(3):
        begun = time.monotonic()
        assert (await call(place, "PUT", f"/v1/agent/check/pass/{name}"))[0] == 200
        seen.append((await statuses(place))[name])
        await asyncio.sleep(pause)
        seen.append((await statuses(place))[name])
        longest = max(longest, time.monotonic() - begun)
    return seen, longest


def test_programs_are_run_only_where_the_operator_allowed_them(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        made = tmp_path / "made"
        program = [sys.executable, "-c", f"import pathlib; pathlib.Path({str(made)!r}).touch()"]
        async with running(place, "control"):
            await place.until("/api/v1/proxies", lambda _: True)
            status, _ = await call(place, "PUT", "/v1/agent/check/register", {"Name": "s", "Args": program, "Interval": "1s"})
            assert status >= 400
            assert (await call(place, "PUT", "/v1/agent/check/register", {"Name": "a", "AliasService": "consul"}))[0] == 200
            await until(place, "a", "passing")
            assert not made.exists()

    asyncio.run(main())
