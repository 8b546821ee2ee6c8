"""One HTTP request on one connection, over TCP, TLS or a Unix socket: to a proxy's admin socket, or to a control plane's API."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httptools

from tulle.settings import Address

SECURE = "https://"
Credentials = Callable[[], Mapping[str, str]]
"""Headers by which a control plane knows who asks: asked for anew with each request."""
MAX_BODY = 256 * 1024 * 1024


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
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


async def request(
    to: str, method: str, path: str, *, body: bytes = b"", timeout: float = 5.0, headers: Mapping[str, str] | None = None
) -> Response:
    """Sends a request to `host:port`, `https://host:port`, or the Unix socket at an absolute path, and waits for the whole answer.

    `timeout` is in seconds. Header values are taken as they are.

    Raises OSError when there is no answer (TimeoutError is one), and ConnectionError when it is no HTTP.
    """
    async with asyncio.timeout(timeout):
        reader, writer = await _open(to)
        try:
            writer.write(_head(to, method, path, len(body), headers or {}) + body)
            await writer.drain()
            return await _read(reader)
        finally:
            writer.transport.abort()


async def _open(to: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if to.startswith("/"):
        return await asyncio.open_unix_connection(to)
    address = Address.parse(to.removeprefix(SECURE))
    tls = ssl.create_default_context() if to.startswith(SECURE) else None
    return await asyncio.open_connection(address.host, address.port, ssl=tls)


def _head(to: str, method: str, path: str, length: int, headers: Mapping[str, str]) -> bytes:
    host = "localhost" if to.startswith("/") else to.removeprefix(SECURE)
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {length}"]
    if length:
        lines.append("Content-Type: application/json")
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def _read(reader: asyncio.StreamReader) -> Response:
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    try:
        while not answer.complete and (data := await reader.read(65536)):
            parser.feed_data(data)
            if len(answer.body) > MAX_BODY:
                raise ConnectionError(f"the answer is larger than {MAX_BODY} bytes")
    except httptools.HttpParserError as error:
        raise ConnectionError(f"the answer is not HTTP: {error}") from error
    if not answer.complete:
        raise ConnectionError("the connection ended before the answer did")
    return Response(status=parser.get_status_code(), body=bytes(answer.body), headers=answer.headers)
