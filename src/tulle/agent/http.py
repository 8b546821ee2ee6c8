"""One HTTP request on one connection, over TCP or a Unix socket: for the proxy's admin socket and the control plane's API."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httptools

from tulle.settings import Address

MAX_BODY = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    status: int
    body: bytes

    def json(self) -> Any:
        """Raises ValueError when the body is no JSON."""
        return json.loads(self.body)

    def text(self) -> str:
        return self.body.decode(errors="replace")


class _Answer:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.complete = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


async def request(to: str, method: str, path: str, *, body: bytes = b"", timeout: float = 5.0) -> Response:
    """Sends a request to `host:port` or to the Unix socket at an absolute path, and waits `timeout` seconds for the whole answer.

    Raises OSError when there is no answer (TimeoutError is one), and ConnectionError when it is no HTTP.
    """
    async with asyncio.timeout(timeout):
        reader, writer = await _open(to)
        try:
            writer.write(_head(to, method, path, len(body)) + body)
            await writer.drain()
            return await _read(reader)
        finally:
            writer.transport.abort()


async def _open(to: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if to.startswith("/"):
        return await asyncio.open_unix_connection(to)
    address = Address.parse(to)
    return await asyncio.open_connection(address.host, address.port)


def _head(to: str, method: str, path: str, length: int) -> bytes:
    host = "localhost" if to.startswith("/") else to
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {length}"]
    if length:
        lines.append("Content-Type: application/json")
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
    return Response(status=parser.get_status_code(), body=bytes(answer.body))
