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
    """GET requests over a few kept connections."""

    def __init__(self, proxy: str | None = None) -> None:
        self._proxy = os.environ.get("http_proxy", "") if proxy is None else proxy
        self._idle: dict[tuple[str, int], list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]] = {}

    async def get(self, url: str, headers: Headers = (), *, timeout: float) -> Answer:
        """Fetches `url`; raises UnavailableError when no whole answer is there within `timeout` seconds."""
        parts = urlsplit(url)
        target = url if self._proxy else parts._replace(scheme="", netloc="").geturl() or "/"
        lines = "".join(f"{name}: {value}\r\n" for name, value in (("host", parts.netloc), *headers))
        message = f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
        dial = urlsplit(self._proxy) if self._proxy else parts
        try:
            async with asyncio.timeout(timeout):
                return await self._exchange((dial.hostname or "", dial.port or 80), message)
        except TimeoutError as error:
            raise UnavailableError(f"no answer from {url} within {timeout:g} s") from error
        except (OSError, BadMessageError, asyncio.IncompleteReadError) as error:
            raise UnavailableError(f"{url}: {error}") from error

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
        return Answer(status=status, body=b""), True
    if names & {"content-length", "transfer-encoding"}:
        return Answer(status=status, body=await read_body(reader, headers)), "close" not in tokens(headers, "connection")
    return Answer(status=status, body=await reader.read()), False
