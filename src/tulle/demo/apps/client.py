"""Calls to the other services, through the proxy that `http_proxy` names, with the headers that must travel along."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from tulle.demo.apps.http import LINE_LIMIT, BadMessageError, Headers, Request, read_body, read_headers, tokens

PASSED_ON = frozenset(
    {
        "x-request-id",
        "traceparent",
        "tracestate",
        "baggage",
        "b3",
        "x-b3-traceid",
        "x-b3-spanid",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-flags",
        "end-user",
        "user-agent",
    }
)
"""A proxy cannot know which of a service's calls belong to which request that came in: the service has to say so."""


class UnavailableError(Exception):
    """No answer came, or none in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes
    headers: Headers = ()

    def header(self, name: str) -> str:
        """The value of a header, by its name in lower case; empty where there is none."""
        return next((value for key, value in self.headers if key == name), "")

    def json(self) -> object:
        """The body read as JSON, or None where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def passed_on(request: Request) -> Headers:
    """The headers of a request that belong on the calls made on its behalf."""
    return tuple((name, value) for name, value in request.headers if name in PASSED_ON)


class Client:
    """Requests over a few kept connections, through a proxy where there is one."""

    def __init__(self, proxy: str | None = None) -> None:
        self._proxy = os.environ.get("http_proxy", "") if proxy is None else proxy
        self._idle: dict[tuple[str, int], list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def get(self, url: str, headers: Headers = (), *, timeout: float) -> Answer:
        """Fetches `url`; raises UnavailableError when no whole answer is there within `timeout` seconds."""
        return await self.request("GET", url, headers, timeout=timeout)

    async def request(self, method: str, url: str, headers: Headers = (), body: bytes = b"", *, timeout: float) -> Answer:
        """Sends a request; raises UnavailableError when no whole answer is there within `timeout` seconds."""
        parts = urlsplit(url)
        dial = urlsplit(self._proxy) if self._proxy else parts
        message = _message(method, url if self._proxy else _origin_form(url), (("host", parts.netloc), *headers), body)
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange((dial.hostname or "", dial.port or 80), message)
        except TimeoutError as error:
            raise UnavailableError(f"no answer from {url} within {timeout:g} s") from error
        except (OSError, BadMessageError, asyncio.IncompleteReadError) as error:
            raise UnavailableError(f"{url}: {error}") from error

    def close(self) -> None:
        """Closes the idle connections."""
        for _, writer in (connection for idle in self._idle.values() for connection in idle):
            writer.close()
        self._idle.clear()

    async def _exchange(self, address: tuple[str, int], message: bytes) -> Answer:
        idle = self._idle.setdefault(address, [])
        while idle:
            try:
                return await self._try(address, idle.pop(), message)
            except (OSError, asyncio.IncompleteReadError):
                continue  # the other side had closed the connection while it was idle
        return await self._try(address, await asyncio.open_connection(*address, limit=LINE_LIMIT), message)

    async def _try(self, address: tuple[str, int], connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], message: bytes) -> Answer:
        reader, writer = connection
        reusable = False
        try:
            writer.write(message)
            answer, reusable = await read_answer(reader)
            return answer
        finally:
            if reusable:
                self._idle[address].append(connection)
            else:
                writer.close()


def _origin_form(url: str) -> str:
    return urlsplit(url)._replace(scheme="", netloc="").geturl() or "/"


def _message(method: str, target: str, headers: Headers, body: bytes) -> bytes:
    length: Headers = (("content-length", str(len(body))),) if body or method not in ("GET", "HEAD", "DELETE") else ()
    lines = "".join(f"{name}: {value}\r\n" for name, value in (*headers, *length))
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


async def read_answer(reader: asyncio.StreamReader) -> tuple[Answer, bool]:
    """One answer, and whether the connection can carry another request."""
    line = await reader.readline()
    parts = line.decode("latin-1").split(None, 2)
    if len(parts) < 2 or not parts[1].isdigit():
        raise asyncio.IncompleteReadError(line, None)
    headers = await read_headers(reader)
    names = {name for name, _ in headers}
    status = int(parts[1])
    if status in (204, 304):
        return Answer(status=status, body=b"", headers=headers), True
    if names & {"content-length", "transfer-encoding"}:
        return Answer(status=status, body=await read_body(reader, headers), headers=headers), "close" not in tokens(headers, "connection")
    return Answer(status=status, body=await reader.read(), headers=headers), False
