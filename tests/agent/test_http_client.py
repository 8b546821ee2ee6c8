"""One request at a time, over TCP and Unix sockets, to servers that behave and to those that do not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tulle.agent.admin import _connections
from tulle.agent.elsewhere import Elsewhere, until_accepting
from tulle.agent.farewell import end, first
from tulle.agent.registry_client import Registrar
from tulle.credentials import Credentials, Kept
from tulle.http_client import Response, request
from tulle.model.service import Health, RegisteredPort, Registration
from tulle.registry.form import parse

Handler = Callable[[str, bytes], bytes]


def ok(body: bytes = b"", status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def server(answer: Handler, path: Path | None = None) -> AsyncIterator[str]:
    """Answers each connection's one request with the bytes of `answer(head, body)`."""

    serving: set[asyncio.Task[Any] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        # Some callers only look whether somebody listens.
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("Content-Length:"))
            writer.write(answer(head, await reader.readexactly(length)))
            await writer.drain()
        await gone(writer)

    running = await (asyncio.start_unix_server(serve, path) if path else asyncio.start_server(serve, "127.0.0.1", 0))
    async with running:
        yield str(path) if path else f"127.0.0.1:{running.sockets[0].getsockname()[1]}"
    await asyncio.gather(*(task for task in serving if task))


async def gone(writer: asyncio.StreamWriter) -> None:
    """The connection is over, whoever ended it."""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def ask(answer: Handler, *words: str, path: Path | None = None, **more: Any) -> Response:
    async def run() -> Response:
        async with server(answer, path) as address:
            return await request(address, *words, **{"timeout": 60, **more})

    return asyncio.run(run())


class Keeping(Credentials):
    def __init__(self) -> None:
        self.kept = Kept()


def test_a_connection_is_kept_until_the_other_side_closes_it() -> None:
    """Then the request is made again on another; nobody notices."""

    async def run() -> None:
        opened: list[asyncio.Task[Any] | None] = []
        leave = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            opened.append(asyncio.current_task())
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while not leave.is_set():
                    head = await reader.readuntil(b"\r\n\r\n")
                    if leave.is_set():
                        break
                    assert b"Connection: keep-alive" in head
                    writer.write(ok(str(len(opened)).encode()))
            leave.clear()
            await gone(writer)

        keeping = Keeping()
        running = await asyncio.start_server(serve, "127.0.0.1", 0)
        to = f"127.0.0.1:{running.sockets[0].getsockname()[1]}"
        async with running:
            assert {(await request(to, "GET", "/", credentials=keeping, timeout=60)).text() for _ in range(5)} == {"1"}
            leave.set()
            assert (await request(to, "GET", "/", credentials=keeping, timeout=60)).text() == "2"
            both = await asyncio.gather(*(request(to, "GET", "/", credentials=keeping, timeout=60) for _ in range(2)))
            assert len(opened) == 3
            assert {answer.status for answer in both} == {200}
            keeping.kept.close()
        await asyncio.gather(*(task for task in opened if task))

    asyncio.run(run())


def test_a_request_and_its_answer() -> None:
    heads: list[str] = []

    def answer(head: str, body: bytes) -> bytes:
        heads.append(head)
        return ok(body.upper(), "201 Created")

    response = ask(answer, "PUT", "/a?b=c", body=b'{"x": 1}')
    assert (response.status, response.json()) == (201, {"X": 1})
    assert heads[0].startswith("PUT /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:")
    assert "Content-Type: application/json" in heads[0]


def test_a_unix_socket_and_an_answer_in_chunks(tmp_path: Path) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n4\r\n two\r\n0\r\n\r\n"
    assert ask(lambda _head, _body: chunked, "GET", "/", path=tmp_path / "s").text() == "one two"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_a_connection_error(answer: bytes) -> None:
    with pytest.raises(ConnectionError):
        ask(lambda _head, _body: answer, "GET", "/")


def test_an_answer_that_takes_too_long() -> None:
    async def run() -> None:
        left = asyncio.Event()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await reader.read()
            await gone(writer)
            left.set()

        async with await asyncio.start_server(silent, "127.0.0.1", 0) as running:
            with pytest.raises(TimeoutError):
                await request(f"127.0.0.1:{running.sockets[0].getsockname()[1]}", "GET", "/", timeout=0.5)
            await left.wait()

    asyncio.run(run())


def test_connections_are_counted_by_port() -> None:
    stats = {
        "listener.127.0.0.1_8080.downstream_cx_active": 2,
        "listener.127.0.0.1_9090.downstream_cx_active": 3,
        "listener.admin.downstream_cx_active": 1,
        "listener.127.0.0.1_8080.worker_0.downstream_cx_active": 2,
    }
    assert _connections(stats, {8080}) == 2
    assert _connections(stats, None) == 5


def registration(health: Health = Health.PASSING) -> Registration:
    return Registration(id="web-0", service="web", ports=(RegisteredPort(number=80, target=8000),), health=health)


def registering(answer: Handler, play: Callable[[Registrar, list[str]], Coroutine[Any, Any, None]], **more: Any) -> list[str]:
    """Plays with a registrar that runs. What it reported."""
    lines: list[str] = []

    async def run() -> None:
        async with server(answer) as address, asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            registrar = Registrar(**{"api": address, "id": "web-0", "ttl": 30.0, "renew": 10.0, "report": lines.append, **more})
            running = tasks.create_task(registrar.run())
            await play(registrar, lines)
            running.cancel()

    asyncio.run(run())
    return lines


def test_a_registration_is_told_renewed_and_taken_back() -> None:
    seen: list[tuple[str, str]] = []
    renewed = asyncio.Event()

    def answer(head: str, body: bytes) -> bytes:
        method, target, _ = head.split(" ", 2)
        seen.append((method, target))
        if method == "PUT":
            assert parse("web-0", body) == registration()
        if len(seen) == 3:
            renewed.set()
        return ok()

    async def play(registrar: Registrar, _lines: list[str]) -> None:
        registrar.announce(registration())
        await registrar.until(lambda taken: taken.health is Health.PASSING)
        await renewed.wait()
        assert await registrar.leave(2.0)
        registrar.announce(registration(Health.CRITICAL))

    assert registering(answer, play, renew=0.01) == []
    assert seen[:3] == [("PUT", "/api/v1/registrations/web-0?ttl=30s")] * 3
    assert seen[-1] == ("DELETE", "/api/v1/registrations/web-0?wait=2s")


def test_a_change_is_told_at_once() -> None:
    async def play(registrar: Registrar, _lines: list[str]) -> None:
        registrar.announce(registration())
        await registrar.until(lambda taken: taken.health is Health.PASSING)
        registrar.announce(registration(Health.CRITICAL))
        await registrar.until(lambda taken: taken.health is Health.CRITICAL)

    assert registering(lambda _head, _body: ok(), play, renew=1000.0) == []


def test_a_refusal_is_told_with_the_words_of_the_control_plane() -> None:
    async def play(registrar: Registrar, lines: list[str]) -> None:
        registrar.announce(registration())
        while not lines:  # noqa: ASYNC110 - a list sets no event
            await asyncio.sleep(0.005)

    (line,) = registering(lambda _head, _body: ok(b'{"error": "no such namespace"}', "422 Unprocessable Entity"), play)
    assert line.endswith("refuses the registration: no such namespace")


def test_an_absence_is_told_once_and_so_is_the_return() -> None:
    answers = iter([ok(status="503 Service Unavailable")] * 3)

    async def play(registrar: Registrar, _lines: list[str]) -> None:
        registrar.announce(registration())
        await registrar.until(lambda taken: taken.health is Health.PASSING)

    lines = registering(lambda _head, _body: next(answers, ok()), play)
    assert len(lines) == 2
    assert "it answered 503; trying again until it is there" in lines[0]
    assert lines[1] == "registered: the control plane is back"


def test_leaving_a_control_plane_that_is_away_is_no_error() -> None:
    async def play(registrar: Registrar, _lines: list[str]) -> None:
        assert await registrar.leave(60)
        registrar._wanted = registration()
        registrar.api = "127.0.0.1:1"
        assert not await registrar.leave(0.1)

    registering(lambda _head, _body: ok(), play)


def test_an_application_elsewhere_comes_and_goes() -> None:
    async def run() -> list[bool]:
        seen: list[bool] = []
        changed = asyncio.Event()

        def tell(up: bool) -> None:
            seen.append(up)
            changed.set()

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            async with server(lambda _head, _body: ok()) as address:
                host, port = address.split(":")
                watched = Elsewhere([(host, int(port))], every=0.01)
                watched.changed = tell
                running = tasks.create_task(watched.run())
                await changed.wait()
                await until_accepting([(host, int(port))])
                changed.clear()
            await changed.wait()
            assert await end(watched, running, asyncio.Event()) == 0
        return seen

    assert asyncio.run(run()) == [True, False]


def test_the_first_to_end_ends_the_wait() -> None:
    async def run() -> bool:
        cancelled = asyncio.Event()

        async def long() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        await first(long(), asyncio.sleep(0))
        return cancelled.is_set()

    assert asyncio.run(run())
