"""HTTP/1.1 by hand, so that odd requests go over the wire as written; and upstreams that tell what they saw."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

Headers = list[tuple[str, str]]


@dataclass
class Response:
    status: int
    headers: Headers
    body: bytes

    def get(self, name: str) -> str | None:
        values = [v for k, v in self.headers if k == name]
        return ",".join(values) if values else None


def request_bytes(method: str, target: str, headers: Sequence[tuple[str, str]]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *rest = head.rstrip("\r\n").split("\r\n")
    pairs = (line.partition(":") for line in rest)
    return first, [(k.strip().lower(), v.strip()) for k, _, v in pairs]


async def read_response(reader: asyncio.StreamReader, method: str) -> Response:
    first, headers = await read_head(reader)
    status = int(first.split(" ", 2)[1])
    fields = dict(headers)
    if method == "HEAD" or status in (101, 204, 304) or (method == "CONNECT" and status == 200):
        return Response(status, headers, b"")
    if fields.get("transfer-encoding") == "chunked":
        return Response(status, headers, await read_chunks(reader))
    return Response(status, headers, await reader.readexactly(int(fields.get("content-length", "0"))))


async def read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        chunk = await reader.readexactly(size + 2)
        if not size:
            return body
        body += chunk[:-2]


class Client:
    """Connections to loopback ports, kept open between requests."""

    def __init__(self) -> None:
        self._idle: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def send(self, port: int, method: str, target: str, headers: Sequence[tuple[str, str]]) -> Response:
        reader, writer = self._idle.pop(port, None) or await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request_bytes(method, target, headers))
            response = await read_response(reader, method)
            if method == "CONNECT" and response.status == 200:
                writer.write(request_bytes("GET", "/in-the-tunnel", [("host", "tunnel")]))
                response = await read_response(reader, "GET")
                response.headers.append(("connection", "close"))
            if response.status == 101:
                response.headers.append(("connection", "close"))
        except BaseException:
            writer.close()
            raise
        if response.get("connection") is None:
            self._idle[port] = (reader, writer)
        else:
            writer.close()
        return response

    def close(self) -> None:
        for _, writer in self._idle.values():
            writer.close()
        self._idle.clear()


@dataclass
class Upstreams:
    """Servers on their own ports; each answers with its name and what it was asked."""

    ports: dict[str, int] = field(default_factory=dict)
    servers: list[asyncio.Server] = field(default_factory=list)
    open: dict[asyncio.Task, asyncio.StreamWriter] = field(default_factory=dict)

    async def start(self, name: str) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            self.open[task] = writer
            await answer(name, reader, writer)
            del self.open[task]

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.servers.append(server)
        self.ports[name] = server.sockets[0].getsockname()[1]
        return self.ports[name]

    async def stop(self) -> None:
        for server in self.servers:
            server.close()
        for writer in self.open.values():
            writer.close()
        await asyncio.gather(*self.open)


async def answer(name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            first, headers = await read_head(reader)
            await reader.readexactly(int(dict(headers).get("content-length", "0")))
            writer.write(describe(name, first, headers))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


def describe(name: str, first: str, headers: Headers) -> bytes:
    method, _, rest = first.partition(" ")
    path = rest.rpartition(" ")[0]
    if dict(headers).get("upgrade") == "websocket":
        seen = f"x-cluster: {name}\r\nx-path: {path}"
        return f"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n{seen}\r\n\r\n".encode("latin-1")
    host = ",".join(v for k, v in headers if k == "host")
    said: dict[str, Any] = {"cluster": name, "method": method, "path": path, "host": host, "headers": headers}
    body = b"" if method == "HEAD" else json.dumps(said).encode()
    head = f"HTTP/1.1 200 OK\r\nx-cluster: {name}\r\nx-saw: {json.dumps(said)}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode("latin-1") + body


@asynccontextmanager
async def upstreams(*names: str):
    running = Upstreams()
    try:
        for name in names:
            await running.start(name)
        yield running
    finally:
        await running.stop()
