"""The short way of GET requests: the answers of the long way, whatever else is asked on the connection; and all who wait are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.consul import Consul, running_consul
from support.eventually import eventually
from support.raw_http import Response, read_response
from tulle.ca.authority import Authority
from tulle.ca.front import Front
from tulle.secure import context_of
from tulle.server import quick
from tulle.server.quick import Connection, Head, Lane, Question, Room
from tulle.server.tls import ApiContext

Session = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module", params=["plain", "tls"])
def consul(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    folder = tmp_path_factory.mktemp("consul")
    authority = Authority(folder / "ca", "cluster.local")
    secure = {"tls": ApiContext.of(Front(authority)), "trusted": context_of(authority.bundle())} if request.param == "tls" else {}
    with running_consul(folder, **secure) as running:
        running.put("/v1/agent/service/register", {"Name": "web", "Port": 80, "Check": {"TTL": "1h", "Status": "passing"}})
        running.put("/v1/kv/some/key", b"value")
        yield running


def head(path: str, *lines: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "".join(f"{line}\r\n" for line in (f"{method} {path} HTTP/{version}", "Host: localhost", *lines, "")).encode()


def talk(consul: Consul, session: Session) -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", consul.port, ssl=consul.trusted)
        try:
            async with asyncio.timeout(240):
                await session(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    asyncio.run(main())


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> Response:
    writer.write(request)
    return await read_response(reader, "GET")


def same(one: Response, other: Response) -> bool:
    """But for the time of day."""
    headers = [[header for header in answer.headers if header[0] not in ("date", "connection")] for answer in (one, other)]
    return (one.status, one.body, sorted(headers[0])) == (other.status, other.body, sorted(headers[1]))


PATHS = (
    "/v1/health/service/web?passing", "/v1/health/service/none", "/v1/catalog/services?pretty", "/v1/kv/some/key?raw", "/v1/kv/none",
    "/v1/kv/some%2Fkey", "/v1/kv/?recurse&stale", "/v1/agent/self", "/v1/agent/services", "/v1/agent/health/service/name/none",
    "/v1/health/service/", "/v1/nothing", "/v1/kv/a?index=x", "/v1/catalog/nodes?dc=other", "/v1/catalog/nodes?filter=%28",
    "/v1/agent/service/web", "/v1/kv/%ff", "/v1/health/service/web?cached", "/v1/session/info/none", "/v1/query/none",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_both_ways_say_the_same(consul: Consul, path: str) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        short = [await asked(reader, writer, head(path)) for _ in range(3)]
        long = await asked(reader, writer, head(path, "Connection: close"))
        assert all(same(one, long) for one in short)
        assert await reader.read() == b""

    talk(consul, session)


@pytest.mark.parametrize("line", ["Host: evil.example", "Host:"])
def test_what_the_guard_refuses_stays_refused(consul: Consul, line: str) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            answer = await asked(reader, writer, f"GET /v1/catalog/nodes HTTP/1.1\r\n{line}\r\n\r\n".encode())
            assert answer.status == 403

    talk(consul, session)


def test_requests_in_any_pieces(consul: Consul) -> None:
    one, put = head("/v1/kv/some/key?raw"), head("/v1/kv/other", "Content-Length: 3", method="PUT") + b"abc"
    stream = one + one + put + one + head("/v1/kv/other?raw") + one
    expected = [b"value", b"value", b"true", b"value", b"abc", b"value"]

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size in (len(stream), len(one), 1, 7, 64):
            for start in range(0, len(stream), size):
                writer.write(stream[start : start + size])
                await asyncio.sleep(0)
            assert [(await read_response(reader, "GET")).body for _ in expected] == expected

    talk(consul, session)


def test_what_follows_a_blocked_query_is_answered_after_it(consul: Consul) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        index = (await asked(reader, writer, head("/v1/kv/slow"))).get("x-consul-index")
        writer.write(head(f"/v1/kv/slow?raw&index={index}&wait=9m"))
        await eventually(lambda: consul.registry.waiting.count() == 1)
        writer.write(head("/v1/kv/some/key?raw") + head("/v1/kv/slow?raw"))
        await asyncio.to_thread(consul.put, "/v1/kv/slow", b"now")
        assert [(await read_response(reader, "GET")).body for _ in range(3)] == [b"now", b"value", b"now"]

    talk(consul, session)


def test_those_who_go_are_forgotten(consul: Consul) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        index = (await asked(reader, writer, head("/v1/catalog/nodes"))).get("x-consul-index")
        writer.write(head(f"/v1/catalog/nodes?index={index}&wait=5m"))
        await eventually(lambda: consul.registry.waiting.count() == 1)

    talk(consul, session)
    asyncio.run(eventually(lambda: consul.registry.waiting.count() == 0))


def test_a_wait_that_is_over_gets_what_there_is(consul: Consul) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await asked(reader, writer, head("/v1/kv/some/key"))
        again = await asked(reader, writer, head(f"/v1/kv/some/key?index={first.get('x-consul-index')}&wait=10ms"))
        assert (again.status, again.body, again.get("x-consul-index")) == (200, first.body, first.get("x-consul-index"))

    talk(consul, session)


def test_a_client_that_does_not_read_is_not_written_to_without_end(consul: Consul) -> None:
    consul.put("/v1/kv/large", b"x" * 400_000)
    count = 60

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(count):
            writer.write(head("/v1/kv/large?raw"))
            await writer.drain()
            await asyncio.sleep(0.001)
        for _ in range(count):
            assert len((await read_response(reader, "GET")).body) == 400_000

    talk(consul, session)


def test_heads_without_end_are_refused(consul: Consul) -> None:
    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /v1/kv/a HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * (quick.LARGEST_HEAD // 6))
        assert (await read_response(reader, "GET")).status == 431

    talk(consul, session)


def test_all_who_wait_are_told_of_one_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * quick.TOGETHER + 5
    entered: list[Room] = []
    enter = Room.enter

    def counted(room: Room, connection: Connection) -> None:
        enter(room, connection)
        entered.append(room)

    monkeypatch.setattr(Room, "enter", counted)

    async def watch(port: int, number: int) -> tuple[bytes, str | None]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        first = await asked(reader, writer, head("/v1/kv/k?raw", f"X-Who: {number % 7}"))
        path = f"/v1/kv/k?raw&index={first.get('x-consul-index')}&wait=9m"
        answer = await asked(reader, writer, head(path, f"X-Who: {number % 7}"))
        writer.close()
        await writer.wait_closed()
        return answer.body, answer.get("x-consul-index")

    async def main(consul: Consul) -> None:
        async with asyncio.timeout(240), asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(watch(consul.port, number)) for number in range(count)]
            await eventually(lambda: len(entered) == count)
            assert len(set(map(id, entered))) == 7, "those who send the same words wait together"
            await asyncio.to_thread(consul.put, "/v1/kv/k", b"new")
        told = {task.result() for task in watching}
        assert len(told) == 1
        assert told.pop()[0] == b"new"

    with running_consul(tmp_path) as consul:
        asyncio.run(main(consul))


def test_the_end_of_the_server_ends_the_waits(tmp_path: Path) -> None:
    async def main() -> Response:
        with running_consul(tmp_path) as consul:
            reader, writer = await asyncio.open_connection("127.0.0.1", consul.port, ssl=consul.trusted)
            writer.write(head("/v1/kv/k?index=999999&wait=5m"))
            await eventually(lambda: consul.registry.waiting.count() == 1)
        async with asyncio.timeout(240):
            answer = await read_response(reader, "GET")
        writer.close()
        await writer.wait_closed()
        return answer

    answer = asyncio.run(main())
    assert (answer.status, answer.get("x-consul-knownleader")) == (404, "true")


# The lane itself


def understood(data: bytes) -> Head | None:
    heads: list[Head] = []

    def understand(head: Head) -> Question | None:
        heads.append(head)
        return None

    Lane(b"/v1/", understand, lambda _: None).room(data)
    return heads[0] if heads else None


@pytest.mark.parametrize(
    "data",
    [
        head("/v1/x", "Connection: close"), head("/v1/x", version="1.0"), head("/v1/x", "Expect: 100-continue"), head("/ui/x"),
        head("/v1/x", "Content-Length: 1"), head("/v1/x", "Transfer-Encoding: chunked"),
        head("/v1/x", "Upgrade: h2c", "Connection: Upgrade"),
        head("/v1/x", method="HEAD"), head("/v1/x") * 2, head("/v1/x")[:-1], b"GET /v1/x\r\n\r\n", head("/v1/x", f"X: {'y' * 9000}"),
        head("/v1/x", "Bad Header"), head("/v1/x") + b"\r\n", head("/v1/\x00"), b"GET /v1/x HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    ],
)  # fmt: skip
def test_what_goes_the_long_way(data: bytes) -> None:
    assert understood(data) is None


def test_what_a_head_says() -> None:
    found: Any = understood(head("/v1/kv/a%2fb?index=5&raw", "X-Consul-Token: Secret", "Content-Length: 0"))
    assert (found.path, found.query) == (b"/v1/kv/a%2fb", b"index=5&raw")
    assert dict(found.headers) == {b"host": b"localhost", b"x-consul-token": b"Secret", b"content-length": b"0"}
