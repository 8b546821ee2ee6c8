"""The control plane is killed while clients register, write and lock: what it acknowledged is there afterwards, and indexes rise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.eventually import eventually
from support.raw_http import Response, read_response
from support.running import Place, running

GENERATIONS = 2
WRITES = 200
"""Acknowledged before each death."""
WATCHED = ("/v1/kv/?keys", "/v1/catalog/services", "/v1/health/service/web", "/v1/session/list", "/v1/health/state/any", "/v1/kv/lock/0")
GONE = (ConnectionError, asyncio.IncompleteReadError)


class Client:
    """A connection. Its methods raise one of GONE when the server dies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def of(cls, place: Place) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", place.api))

    async def ask(self, method: str, path: str, body: object = None) -> Response:
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        self._writer.write(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
        return await read_response(self._reader, method)

    async def json(self, method: str, path: str, body: object = None) -> Any:
        answer = await self.ask(method, path, body)
        assert answer.status == 200, (path, answer.status, answer.body)
        return json.loads(answer.body) if answer.body else None

    def close(self) -> None:
        self._writer.close()


@dataclass
class Acknowledged:
    """What the server has said yes to. What it was asked and did not answer is in doubt."""

    services: set[str] = field(default_factory=set)
    values: dict[str, bytes | None] = field(default_factory=dict)
    doubted: dict[str, bytes | None] = field(default_factory=dict)
    locks: dict[str, str] = field(default_factory=dict)
    indices: dict[str, int] = field(default_factory=dict)
    count: int = 0


async def register(client: Client, said: Acknowledged, name: str) -> None:
    for number in range(10_000):
        identifier = f"{name}-{number}"
        body = {"Name": "web", "ID": identifier, "Port": 80, "Check": {"TTL": "10m"}}
        await client.json("PUT", "/v1/agent/service/register", body)
        said.services.add(identifier)
        said.count += 1


async def write(client: Client, said: Acknowledged, name: str) -> None:
    for number in range(10_000):
        key = f"data/{name}/{number % 20}"
        value = None if number % 7 == 6 else f"{name} {number}".encode()
        said.doubted[key] = value
        await client.json(*(("DELETE", f"/v1/kv/{key}") if value is None else ("PUT", f"/v1/kv/{key}", value)))
        said.values[key] = said.doubted.pop(key)
        said.count += 1


async def lock(client: Client, said: Acknowledged, name: str) -> None:
    for number in range(10_000):
        session = (await client.json("PUT", "/v1/session/create", {"TTL": "1h", "LockDelay": "0s"}))["ID"]
        if await client.json("PUT", f"/v1/kv/lock/{name}-{number}?acquire={session}", b"mine"):
            said.locks[f"{name}-{number}"] = session
            said.count += 1


async def watch(client: Client, said: Acknowledged, path: str) -> None:
    """Blocks again and again; an index that falls fails the test."""
    index = 0
    while True:
        answer = await client.ask("GET", f"{path}{'&' if '?' in path else '?'}index={index}&wait=1s")
        told = int(answer.get("x-consul-index") or 0)
        assert told >= index, (path, told, index)
        index = said.indices[path] = told


Work = Callable[[Client, Acknowledged, str], Any]


async def until_death(place: Place, work: Work, said: Acknowledged, name: str) -> None:
    client = await Client.of(place)
    try:
        await work(client, said, name)
    except GONE:
        return
    finally:
        client.close()


async def check(place: Place, said: Acknowledged) -> None:
    client = await Client.of(place)
    assert said.services <= (await client.json("GET", "/v1/agent/services")).keys()
    assert {f"service:{identifier}" for identifier in said.services} <= (await client.json("GET", "/v1/agent/checks")).keys()
    for key, value in said.values.items():
        answer = await client.ask("GET", f"/v1/kv/{key}?raw")
        found = answer.body if answer.status == 200 else None
        assert found in {value, said.doubted.get(key, value)}, key
        said.values[key] = found
    said.doubted.clear()
    sessions = {session["ID"] for session in await client.json("GET", "/v1/session/list")}
    assert set(said.locks.values()) <= sessions
    stranger = (await client.json("PUT", "/v1/session/create"))["ID"]
    for key, session in said.locks.items():
        (entry,) = await client.json("GET", f"/v1/kv/lock/{key}")
        assert (entry["Session"], entry["LockIndex"]) == (session, 1)
        assert await client.json("PUT", f"/v1/kv/lock/{key}?acquire={stranger}", b"theirs") is False
    for path, index in said.indices.items():
        answer = await client.ask("GET", path)
        assert int(answer.get("x-consul-index") or 0) >= index, path
    client.close()


def test_what_was_acknowledged_outlives_kill_9(tmp_path: Path) -> None:
    async def main() -> None:
        place, said = Place(folder=tmp_path), Acknowledged()
        for generation in range(GENERATIONS):
            async with running(place, "control") as control:
                await place.until("/api/v1/proxies", lambda _: True)
                await check(place, said)
                wanted = said.count + WRITES
                async with asyncio.TaskGroup() as tasks:
                    for number, work in enumerate((register, register, write, write, lock)):
                        tasks.create_task(until_death(place, work, said, f"{generation}-{number}"))
                    for path in WATCHED:
                        tasks.create_task(until_death(place, watch, said, path))
                    await eventually(lambda wanted=wanted: said.count >= wanted)
                    await control.kill()
        async with running(place, "control"):
            await place.until("/api/v1/proxies", lambda _: True)
            await check(place, said)
        assert said.indices.keys() == set(WATCHED)
        assert len(said.locks) > GENERATIONS

    asyncio.run(main())
