"""Checks over TLS: what is trusted passes, and what is not fails with the reason, unless the check says that it does not care."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import h2.config
import h2.connection
import pytest

from support.certificates import Ca, Pair
from tulle.registry.catalog import Probe
from tulle.registry.checks import Outcome, Result
from tulle.registry.probers import run

NAME = "shop.example"
Session = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


async def say_fine(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine")


async def speak_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    connection.initiate_connection()
    writer.write(connection.data_to_send())
    while data := await reader.read(65536):
        connection.receive_data(data)
        writer.write(connection.data_to_send())


@asynccontextmanager
async def serving(pair: Pair, folder: Path, session: Session, seen: list[str | None]) -> AsyncIterator[int]:
    """`seen` hears the server name of each client that asks for one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder, "server"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.sni_callback = lambda _, name, __: seen.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await session(reader, writer)
            await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    server.close()


class _Serving(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return grpc.unary_unary_rpc_method_handler(self._check) if details.method == "/grpc.health.v1.Health/Check" else None

    async def _check(self, request: bytes, _: grpc.aio.ServicerContext) -> bytes:
        self.asked.append(request)
        return b"\x08\x01"


@asynccontextmanager
async def serving_grpc(pair: Pair) -> AsyncIterator[int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Serving(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(pair.key, pair.certificate)]))
    await server.start()
    yield port
    await server.stop(0)


def probe(kind: str, port: int, **options: Any) -> Probe:
    where = f"127.0.0.1:{port}"
    given: dict[str, dict[str, Any]] = {
        "http": {"http": f"https://{where}/"},
        "tcp": {"tcp": where, "tcp_use_tls": True},
        "h2ping": {"h2ping": where},
        "grpc": {"grpc": where, "grpc_use_tls": True},
    }
    return Probe(interval=1.0, timeout=60.0, **given[kind], **options)


def checked(folder: Path, kind: str, pair: Pair, **options: Any) -> tuple[Result, list[str | None]]:
    seen: list[str | None] = []

    async def main() -> Result:
        session = speak_http2 if kind == "h2ping" else say_fine
        place = serving_grpc(pair) if kind == "grpc" else serving(pair, folder, session, seen)
        async with place as port:
            return await run(probe(kind, port, **options))

    return asyncio.run(main()), seen


KINDS = ("http", "tcp", "h2ping", "grpc")
BY_HAND = ("http", "tcp", "h2ping")


@pytest.fixture
def ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ca:
    """The one authority that this machine trusts."""
    trusted = Ca("trusted")
    monkeypatch.setenv("SSL_CERT_FILE", trusted.write(tmp_path))
    return trusted


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_of_a_trusted_issuer_for_the_address(ca: Ca, tmp_path: Path, kind: str) -> None:
    result, _ = checked(tmp_path, kind, ca.issue("127.0.0.1"))
    assert result.outcome is Outcome.PASSING, result.output


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_for_the_name_that_the_check_gives(ca: Ca, tmp_path: Path, kind: str) -> None:
    result, seen = checked(tmp_path, kind, ca.issue(NAME), tls_server_name=NAME)
    assert result.outcome is Outcome.PASSING, result.output
    assert kind == "grpc" or seen == [NAME]


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_for_somebody_else(ca: Ca, tmp_path: Path, kind: str) -> None:
    result, _ = checked(tmp_path, kind, ca.issue("other.example"), tls_server_name=NAME)
    assert result.outcome is Outcome.FAILING
    assert kind == "grpc" or "shop.example" in result.output, result.output


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_that_nobody_here_trusts(ca: Ca, tmp_path: Path, kind: str) -> None:
    result, _ = checked(tmp_path, kind, Ca("trusted").issue("127.0.0.1"))
    assert result.outcome is Outcome.FAILING
    assert "certificate" in result.output.lower() or kind == "grpc", result.output


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_whose_time_is_over(ca: Ca, tmp_path: Path, kind: str) -> None:
    result, _ = checked(tmp_path, kind, ca.issue("127.0.0.1", days=-1))
    assert result.outcome is Outcome.FAILING
    assert "expired" in result.output or kind == "grpc", result.output


@pytest.mark.parametrize("kind", BY_HAND)
def test_a_check_that_does_not_look_at_certificates(tmp_path: Path, kind: str) -> None:
    result, _ = checked(tmp_path, kind, Ca().issue("other.example", days=-1), tls_skip_verify=True)
    assert result.outcome is Outcome.PASSING, result.output


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_without_tls(ca: Ca, kind: str) -> None:
    async def main() -> Result:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await run(probe(kind, server.sockets[0].getsockname()[1]))

    result = asyncio.run(main())
    assert result.outcome is Outcome.FAILING
    assert result.output


def test_grpc_services_of_any_length(ca: Ca) -> None:
    async def main() -> tuple[Outcome, list[bytes]]:
        server, health = grpc.aio.server(), _Serving()
        server.add_generic_rpc_handlers((health,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        result = await run(Probe(grpc=f"127.0.0.1:{port}/{'x' * 300}", interval=1.0, timeout=60.0))
        await server.stop(0)
        return result.outcome, health.asked

    assert asyncio.run(main()) == (Outcome.PASSING, [b"\x0a\xac\x02" + b"x" * 300])
