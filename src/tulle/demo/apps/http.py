"""A small HTTP/1.1 server on asyncio streams: keep-alive, bodies with a length or in chunks, and connections that change protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

LINE_LIMIT = 64 * 1024
BODY_LIMIT = 16 * 1024 * 1024

Headers = tuple[tuple[str, str], ...]
Takeover = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class BadMessageError(Exception):
    """The peer sent something that is not HTTP/1.1, or too much of it. `status` is what to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. Header names are in lower case, `path` is decoded and without the query."""

    method: str
    target: str
    headers: Headers = ()
    body: bytes = b""
    path: str = field(init=False, default="")
    query: Headers = field(init=False, default=())

    def __post_init__(self) -> None:
        parts = urlsplit(self.target if "://" in self.target else f"//host{self.target}")
        object.__setattr__(self, "path", unquote(parts.path) or "/")
        object.__setattr__(self, "query", tuple(parse_qsl(parts.query, keep_blank_values=True)))

    def header(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.headers if key == name), default)

    def param(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.query if key == name), default)

    @property
    def keep_alive(self) -> bool:
        return "close" not in tokens(self.headers, "connection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """One answer. With `takeover` the connection belongs to it as soon as the head is sent."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Headers = ()
    takeover: Takeover | None = None


Handler = Callable[[Request], Awaitable[Response]]


def json_response(value: object, status: int = 200) -> Response:
    """`value` as compact JSON."""
    return Response(status=status, body=json.dumps(value, separators=(",", ":")).encode(), content_type="application/json")


def not_found(request: Request) -> Response:
    return json_response({"error": f"nothing is served at {request.method} {request.path}"}, 404)


def tokens(headers: Headers, name: str) -> list[str]:
    """The comma-separated values of all headers of that name, in lower case."""
    return [part.strip().lower() for key, value in headers if key == name for part in value.split(",")]


async def read_headers(reader: asyncio.StreamReader) -> Headers:
    """Header lines up to the empty line."""
    headers: list[tuple[str, str]] = []
    size = 0
    while line := (await _line(reader)).rstrip(b"\r\n"):
        size += len(line)
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip() or size > LINE_LIMIT:
            raise BadMessageError(431 if size > LINE_LIMIT else 400, "unusable header line")
        headers.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))
    return tuple(headers)


async def read_body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    """The body that the headers announce: chunked, of a given length, or none."""
    named = dict(headers)
    if "transfer-encoding" in named:
        if tokens(headers, "transfer-encoding") != ["chunked"] or "content-length" in named:
            raise BadMessageError(400, "only plain chunked bodies are understood")
        return await _read_chunks(reader)
    return await reader.readexactly(_size(named.get("content-length", "0"), 10))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := _size((await _line(reader)).split(b";")[0].strip().decode("latin-1"), 16):
        if len(body) + size > BODY_LIMIT:
            raise BadMessageError(413, "body too large")
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await read_headers(reader)
    return bytes(body)


def _size(text: str, base: int) -> int:
    if not text.isalnum() or not text.isascii():
        raise BadMessageError(400, "unusable body length")
    try:
        size = int(text, base)
    except ValueError:
        raise BadMessageError(400, "unusable body length") from None
    if size > BODY_LIMIT:
        raise BadMessageError(413, "body too large")
    return size


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readline()
    except ValueError:
        raise BadMessageError(431, "line too long") from None
    if not line.endswith(b"\n"):
        raise asyncio.IncompleteReadError(line, None)
    return line


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """The next request of a connection, or None at its orderly end."""
    try:
        first = await _line(reader)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    parts = first.decode("latin-1").split()
    if len(parts) != 3 or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadMessageError(400, "unusable request line")
    headers = await read_headers(reader)
    if "100-continue" in tokens(headers, "expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await read_body(reader, headers)
    if parts[2] == "HTTP/1.0":
        headers = (*headers, ("connection", "close"))
    return Request(method=parts[0], target=parts[1], headers=headers, body=body)


def head(response: Response, *, close: bool) -> bytes:
    """Status line and headers of a response, on the wire."""
    try:
        reason = HTTPStatus(response.status).phrase
    except ValueError:
        reason = "Unnamed"
    lines: list[tuple[str, str]] = [("date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))]
    if response.takeover is None and response.status >= 200 and response.status not in (204, 304):
        lines += [("content-length", str(len(response.body))), ("content-type", response.content_type)]
    if close:
        lines.append(("connection", "close"))
    lines += response.headers
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"HTTP/1.1 {response.status} {reason}\r\n{text}\r\n".encode("latin-1")


class Server:
    """Serves a handler until it is told to stop; then finishes what is under way and closes."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._connections: dict[asyncio.Task[None], bool] = {}
        self._stopping = False

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, to its end. To be given to `asyncio.start_server`."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a connection is served by a task")
        self._connections[task] = False
        try:
            await self._serve(task, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            del self._connections[task]
            writer.close()

    async def _serve(self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not self._stopping:
            try:
                request = await read_request(reader, writer)
            except BadMessageError as error:
                await _send(writer, Response(status=error.status, body=str(error).encode()), close=True, bodiless=False)
                return
            if request is None:
                return
            self._connections[task] = True
            response = await self._handler(request)
            close = self._last(request)
            await _send(writer, response, close=close and response.takeover is None, bodiless=request.method == "HEAD")
            if response.takeover is not None:
                await response.takeover(reader, writer)
                return
            self._connections[task] = False
            if close:
                return

    def _last(self, request: Request) -> bool:
        return self._stopping or not request.keep_alive

    async def stop(self, grace: float) -> None:
        """Closes idle connections at once and waits up to `grace` seconds for the busy ones."""
        self._stopping = True
        for task, busy in self._connections.items():
            if not busy:
                task.cancel()
        if self._connections:
            _, late = await asyncio.wait(self._connections, timeout=grace)
            for task in late:
                task.cancel()


async def _send(writer: asyncio.StreamWriter, response: Response, *, close: bool, bodiless: bool) -> None:
    body = b"" if bodiless or response.status in (204, 304) else response.body
    writer.write(head(response, close=close) + body)
    await writer.drain()


def multi(headers: Headers) -> Mapping[str, str]:
    """Headers by name; those given several times joined by commas."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined
