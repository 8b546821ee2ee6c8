"""One HTTP request on one connection, over TCP, TLS or a Unix socket: to a proxy's admin socket, or to a control plane's API."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import httptools

from tulle.credentials import NOBODY, Connection, Credentials
from tulle.secure import check_peer
from tulle.settings import Address

SECURE = "https://"
Judge = Callable[[IPv4Address | IPv6Address], bool]
"""Whether an address may be asked at all."""
MAX_BODY = 256 * 1024 * 1024
_MAX_HEAD = 256 * 1024
"""Bytes, of an answer's first line and headers, and of what follows its body."""
_MOST_AROUND = 16
"""Bytes for each byte of a body, where it comes in chunks."""
_DEFAULT_PORTS = {SECURE: ":443", "": ":80"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""

    def json(self) -> Any:
        """Raises ValueError when the body is no JSON."""
        return json.loads(self.body)

    def text(self) -> str:
        return self.body.decode(errors="replace")


class _Answer:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.headers: dict[str, str] = {}
        self.headed = self.complete = False

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


async def request(
    to: str,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    timeout: float = 5.0,
    headers: Mapping[str, str] | None = None,
    credentials: Credentials = NOBODY,
    most: int = MAX_BODY,
    may_ask: Judge | None = None,
) -> Response:
    """Sends a request to `host:port`, `https://host:port`, or the Unix socket at an absolute path, and waits for the whole answer.

    `timeout` is in seconds, `most` in bytes of the answer. Header values are taken as they are. `credentials` are for control
    planes; where they keep connections, a request on one that was lost is made again, so that it must not matter how often it is made.
    With `may_ask` no connection is made to an address that it turns down, whatever name leads there.

    Raises OSError when there is no answer (TimeoutError is one), PermissionError where no address of the host may be asked, and
    ConnectionError when it is no HTTP.
    """
    kept, context = credentials.kept, credentials.context() if to.startswith(SECURE) else None
    said = _head(to, method, path, len(body), {**credentials.headers(), **(headers or {})}, keep=kept is not None) + body
    async with asyncio.timeout(timeout):
        if kept is None:
            return await _exchange(await _open(to, may_ask, context), said, most, _close)
        if known := kept.take(to, context):
            with contextlib.suppress(ConnectionError):  # the other side may have closed it meanwhile
                return await _exchange(known, said, most, partial(kept.put, to, context))
        return await _exchange(await _open(to, may_ask, context), said, most, partial(kept.put, to, context))


def _close(connection: Connection) -> None:
    connection[1].transport.abort()


async def _exchange(connection: Connection, said: bytes, most: int, keep: Callable[[Connection], None]) -> Response:
    reader, writer = connection
    try:
        writer.write(said)
        await writer.drain()
        answer = await _read(reader, most)
    except BaseException:
        writer.transport.abort()
        raise
    (_close if answer.headers.get("connection") == "close" else keep)(connection)
    return answer


async def _open(to: str, may_ask: Judge | None, context: ssl.SSLContext | None) -> Connection:
    """Raises ssl.SSLCertVerificationError where another answers than was called."""
    connection = await _connected(to, may_ask, context)
    try:
        if tls := connection[1].get_extra_info("ssl_object"):
            check_peer(tls, Address.parse(to.removeprefix(SECURE)).host)
    except ssl.SSLCertVerificationError:
        connection[1].transport.abort()
        raise
    return connection


async def _connected(to: str, may_ask: Judge | None, context: ssl.SSLContext | None) -> Connection:
    if to.startswith("/"):
        return await asyncio.open_unix_connection(to)
    address = Address.parse(to.removeprefix(SECURE))
    tls = (context or ssl.create_default_context()) if to.startswith(SECURE) else None
    if may_ask is None:
        return await asyncio.open_connection(address.host, address.port, ssl=tls)
    failed: OSError = PermissionError(f"no address of {address.host} may be asked")
    for allowed in filter(may_ask, await _addresses(address)):
        try:
            return await asyncio.open_connection(str(allowed), address.port, ssl=tls, server_hostname=address.host if tls else None)
        except OSError as error:
            failed = error
    raise failed


async def _addresses(of: Address) -> list[IPv4Address | IPv6Address]:
    """Of a host, each once, in the order in which they are to be tried."""
    found = await asyncio.get_running_loop().getaddrinfo(of.host, of.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(where[0]) for *_, where in found))


def _head(to: str, method: str, path: str, length: int, headers: Mapping[str, str], *, keep: bool = False) -> bytes:
    secure = SECURE if to.startswith(SECURE) else ""
    host = "localhost" if to.startswith("/") else to.removeprefix(secure).removesuffix(_DEFAULT_PORTS[secure])
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Connection: {'keep-alive' if keep else 'close'}", f"Content-Length: {length}"]
    if length and "content-type" not in headers:
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _read(reader: asyncio.StreamReader, most: int) -> Response:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    received = 0
    try:
        while not answer.complete and (data := await reader.read(65536)):
            parser.feed_data(data)
            received += len(data)
            if not answer.headed and received > _MAX_HEAD:
                raise ConnectionError(f"the head of the answer is larger than {_MAX_HEAD} bytes")
            if len(answer.body) > most:
                raise ConnectionError(f"the answer is larger than {most} bytes")
            if received > 2 * _MAX_HEAD + (1 + _MOST_AROUND) * len(answer.body):
                raise ConnectionError("the answer has more around its body than in it")
    except httptools.HttpParserUpgrade:
        raise ConnectionError("the other side changes to a protocol that nobody asked for") from None
    except httptools.HttpParserError as error:
        raise ConnectionError(f"the answer is not HTTP: {error}") from error
    if not answer.complete:
        raise ConnectionError("the connection ended before the answer did")
    return Response(status=parser.get_status_code(), body=bytes(answer.body), headers=answer.headers)
