"""Every kind of check against something real that it can look at."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import h2.config
import h2.connection
import pytest

from support.eventually import eventually
from tulle.model.frozen import FrozenMap
from tulle.registry.catalog import Probe
from tulle.registry.checks import Outcome, Result
from tulle.registry.probers import run


def probed(probe: Probe) -> Result:
    return asyncio.run(run(probe))


def program(code: str, **options: float) -> Probe:
    return Probe(args=(sys.executable, "-c", code), interval=1.0, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("exit(0)", Outcome.PASSING), ("exit(1)", Outcome.WARNING), ("exit(2)", Outcome.FAILING), ("1/0", Outcome.WARNING)],
)
def test_programs(code: str, outcome: Outcome) -> None:
    assert probed(program(code)).outcome is outcome


def test_what_a_program_says() -> None:
    assert probed(program("import sys; print('out'); sys.stdout.flush(); print('err', file=sys.stderr)")).output == "out\nerr\n"
    much = probed(program("print('x' * 300_000 + 'end')"))
    assert much.output.startswith("Captured 4096 of 300004 bytes\n...\n")
    assert much.output.endswith("xend\n")
    assert len(much.output) < 4200
    assert probed(Probe(args=("/nowhere/at-all",), interval=1.0)).outcome is Outcome.FAILING


def test_grpc_is_told_not_to_mind_programs_before_it_is_imported() -> None:
    """Or it would write a line to the log for each program that is started."""
    seen = "import os, tulle.registry.probers; print(os.environ['GRPC_ENABLE_FORK_SUPPORT'])"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run([sys.executable, "-c", seen], env=clean, capture_output=True, timeout=60, check=True)
    assert done.stdout == b"0\n"


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"""
import os, pathlib, subprocess, time
child = subprocess.Popen(["sleep", "600"])
pathlib.Path({str(pids)!r}).write_text(f"{{os.getpid()}} {{child.pid}}")
time.sleep(600)
"""

    async def main() -> None:
        for seconds in (1, 10, 60):  # a machine may take longer than a second to start it
            result = await run(program(code, timeout=float(seconds)))
            assert (result.outcome, result.output) == (Outcome.FAILING, f"Timed out after {seconds} s")
            if pids.exists() and pids.read_text():
                break
        parent, child = map(int, pids.read_text().split())
        await eventually(lambda: not _runs(parent) and not _runs(child))

    asyncio.run(main())


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@asynccontextmanager
async def serving(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    """A server that answers the head of each request with these bytes, and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


def http(answer: Callable[[bytes], bytes], path: str = "/", **options: object) -> Result:
    async def main() -> Result:
        async with serving(answer) as port:
            return await run(Probe(http=f"http://127.0.0.1:{port}{path}", interval=1.0, timeout=60.0, **options))  # type: ignore[arg-type]

    return asyncio.run(main())


def says(status: str, body: bytes = b"fine", headers: str = "") -> Callable[[bytes], bytes]:
    return lambda _: f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode() + body


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("200 OK", Outcome.PASSING),
        ("204 No Content", Outcome.PASSING),
        ("429 Too Many Requests", Outcome.WARNING),
        ("404 Not Found", Outcome.FAILING),
        ("503 Service Unavailable", Outcome.FAILING),
        ("304 Not Modified", Outcome.FAILING),
    ],
)
def test_http(status: str, outcome: Outcome) -> None:
    result = http(says(status, b"" if status[:3] in ("204", "304") else b"fine"))
    assert result.outcome is outcome
    assert status in result.output


def test_http_says_what_it_is_told_to() -> None:
    heard: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heard.append(head)
        return says("200 OK")(head)

    options = {"method": "POST", "header": FrozenMap({"Host": ("shop.example",), "X-Two": ("a", "b")}), "body": "hello"}
    assert http(answer, "/health?deep=1", **options).outcome is Outcome.PASSING
    head = heard[0].decode()
    assert head.startswith("POST /health?deep=1 HTTP/1.1\r\n")
    assert head.count("Host:") == 1
    for line in ("Host: shop.example", "X-Two: a", "X-Two: b", "User-Agent: Consul Health Check", "Content-Length: 5", "Connection: close"):
        assert f"\r\n{line}\r\n" in head


def test_http_follows_redirects() -> None:
    def answer(head: bytes) -> bytes:
        return says("200 OK", b"there")(head) if b"GET /there" in head else says("302 Found", b"", "location: /there\r\n")(head)

    assert http(answer).outcome is Outcome.PASSING
    assert http(answer, disable_redirects=True).outcome is Outcome.FAILING
    assert "10 redirects" in http(says("302 Found", b"", "location: /again\r\n")).output


def test_http_that_is_none() -> None:
    assert http(lambda _: b"").outcome is Outcome.FAILING
    assert http(lambda _: b"SSH-2.0-OpenSSH\r\n").outcome is Outcome.FAILING
    assert probed(Probe(http="ftp://x/", interval=1.0)).outcome is Outcome.FAILING
    assert http(says("200 OK"), "/x", header=FrozenMap({"X": ("a\r\nInjected: b",)})).outcome is Outcome.FAILING


def test_http_outputs_are_limited() -> None:
    result = http(says("200 OK", b"x" * 100_000), output_max_size=100)
    assert result.outcome is Outcome.PASSING
    assert "Captured 100 of 100000 bytes" in result.output
    assert len(result.output) < 300


def test_tcp() -> None:
    async def main() -> None:
        async with serving(says("200 OK")) as port:
            open_ = await run(Probe(tcp=f"127.0.0.1:{port}", interval=1.0, timeout=60.0))
            assert (open_.outcome, open_.output) == (Outcome.PASSING, f"TCP connect 127.0.0.1:{port}: Success")
        closed = await run(Probe(tcp=f"127.0.0.1:{port}", interval=1.0))
        assert closed.outcome is Outcome.FAILING
        assert str(port) in closed.output

    asyncio.run(main())
    assert probed(Probe(tcp="nonsense", interval=1.0)).outcome is Outcome.FAILING


class _Replies(asyncio.DatagramProtocol):
    def __init__(self, *, silent: bool) -> None:
        self._silent = silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._silent:
            self._transport.sendto(data, addr)  # type: ignore[attr-defined]


@pytest.mark.parametrize("silent", [False, True])
def test_udp(silent: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Replies(silent=silent), local_addr=("127.0.0.1", 0))
        port = transport.get_extra_info("sockname")[1]
        there = await run(Probe(udp=f"127.0.0.1:{port}", interval=1.0, timeout=0.4))
        assert (there.outcome, there.output) == (Outcome.PASSING, f"UDP connect 127.0.0.1:{port}: Success")
        transport.close()
        await asyncio.sleep(0)  # the loop closes it in its next round
        assert (await run(Probe(udp=f"127.0.0.1:{port}", interval=1.0, timeout=60.0))).outcome is Outcome.FAILING

    asyncio.run(main())


class _Health(grpc.GenericRpcHandler):
    """The health service, by its bytes: `db` does not serve, everything else but `x` does."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(self._check) if details.method == "/grpc.health.v1.Health/Check" else None

    async def _check(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        name = request[2:].decode()
        if name == "x":
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return b"\x08\x02" if name == "db" else b"\x08\x01"


def test_grpc() -> None:
    async def main() -> None:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Health(),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        found = [await run(Probe(grpc=f"127.0.0.1:{port}{name}", interval=1.0, timeout=60.0)) for name in ("", "/shop", "/db", "/x")]
        await server.stop(0)
        assert [r.outcome for r in found] == [Outcome.PASSING, Outcome.PASSING, Outcome.FAILING, Outcome.FAILING]
        assert found[0].output == f"gRPC check 127.0.0.1:{port}: success"
        assert "NOT_SERVING" in found[2].output
        assert "unknown service" in found[3].output
        gone = await run(Probe(grpc=f"127.0.0.1:{port}", interval=1.0, timeout=60.0))
        assert gone.outcome is Outcome.FAILING

    asyncio.run(main())


def test_grpc_says_what_it_cannot_do() -> None:
    result = probed(Probe(grpc="127.0.0.1:1", grpc_use_tls=True, tls_skip_verify=True, interval=1.0))
    assert result.outcome is Outcome.FAILING
    assert "tls_skip_verify" in result.output


async def _speak_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    while data := await reader.read(65536):
        connection.receive_data(data)
        writer.write(connection.data_to_send())
    writer.close()
    await writer.wait_closed()


def test_h2ping() -> None:
    async def main() -> None:
        server = await asyncio.start_server(_speak_http2, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        there = await run(Probe(h2ping=f"127.0.0.1:{port}", h2ping_use_tls=False, interval=1.0, timeout=60.0))
        assert (there.outcome, there.output) == (Outcome.PASSING, "HTTP2 ping was successful")
        assert (await run(Probe(h2ping=f"127.0.0.1:{port}", interval=1.0, timeout=1.0))).outcome is Outcome.FAILING
        server.close()
        async with serving(says("400 Bad Request")) as plain:
            assert (await run(Probe(h2ping=f"127.0.0.1:{plain}", h2ping_use_tls=False, interval=1.0))).outcome is Outcome.FAILING

    asyncio.run(main())


def test_a_service_of_the_system_that_there_is_not() -> None:
    assert probed(Probe(os_service=f"no-such-unit-{os.getpid()}", interval=1.0)).outcome is Outcome.FAILING
