"""The `/v1` part of the HTTP port: from a path to its handler, and waits for what is to change.

It stands below Starlette's routing, as ids and keys hold percent-encoded slashes, errors are plain text, and a question that was
answered before is answered from memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import iscoroutinefunction
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope, Send

from tulle.registry.acl.authorities import Authorities
from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.server.consul.acl import admission
from tulle.server.consul.acl.visible import visible
from tulle.server.consul.reading import Answers, Reading, Telling, lines
from tulle.server.consul.wan import Elsewhere, Wan
from tulle.server.consul.wire import Ask, Found, Reply, query_of, secret_of, text
from tulle.server.quick import Head, Question
from tulle.store.port import StoreError

BODY_LIMIT = 2 * 1024 * 1024
"""Bytes of a body; a transaction of values is the largest."""

Handler = Callable[[Ask], Awaitable[Reply | Found] | Awaitable[Reply] | Reply | Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`path` ends with `/` where something is to follow."""

    method: str
    path: str
    handler: Handler


class ConsulApp:
    """An ASGI application for paths under `/v1/`."""

    def __init__(self, registry: Registry, routes: Sequence[Route], wan: Wan, authorities: Authorities | None = None) -> None:
        """Without `authorities` access is not controlled."""
        self._registry = registry
        self._authorities = authorities
        self._wan = wan
        self._routes: dict[str, dict[str, Handler]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route.handler
        self._answers = Answers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        try:
            path, handlers, rest = self._find(scope.get("raw_path") or scope["path"].encode())
            method = scope["method"]
            handler = handlers.get("GET" if method == "HEAD" else method)
            if handler is None:
                await _answer(send, _no_method(method, tuple(handlers)))
                return
            body = await _body(receive) if method in ("PUT", "POST", "DELETE") else b""
            ask = self._ask(method, (path, rest), scope["query_string"], scope["headers"], body)
            result = handler(ask)
            told = result if isinstance(result, Reply | Found) else await result
            if isinstance(told, Found):
                await self._answer_found(send, receive, self._reading(path, ask, told))
            else:
                await _answer(send, visible(path, ask, told), ask.indent)
        except Elsewhere as elsewhere:
            await self._forward(scope, receive, send, elsewhere.datacenter, body)
        except Refused as refused:
            await _answer(send, text(refused.status, refused.message))
        except StoreError as error:
            await _answer(send, text(500, str(error)))
        except _Gone:
            return

    def question(self, head: Head) -> Question | None:
        """What a GET asks that can be answered from memory; None for all else, and for what is refused."""
        try:
            path, handlers, rest = self._find(head.path)
            handler = handlers.get("GET")
            if handler is None or iscoroutinefunction(handler):
                return None
            ask = self._ask("GET", (path, rest), head.query, head.headers, b"")
            result = handler(ask)
            if isinstance(result, Found):
                return self._reading(path, ask, result)
            return Telling(visible(path, ask, result), ask.indent) if isinstance(result, Reply) else None
        except (Elsewhere, Refused):
            return None

    def _ask(self, method: str, path: tuple[str, str], query: bytes, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> Ask:
        """The request, where it may be made at all. Raises Refused."""
        named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        ask = Ask(method=method, rest=path[1], query=query_of(query), body=body, headers=named)
        if not path[0].startswith("/v1/agent/"):
            self._wan.require_own(ask.get("dc"))
        if ask.get("peer"):
            raise Refused(400, "peer: there are no peerings here; another control plane is asked for with ?dc=")
        return self._admitted(path[0], ask)

    def _find(self, raw: bytes) -> tuple[str, Mapping[str, Handler], str]:
        path = raw.partition(b"?")[0].decode("latin-1")
        if path in self._routes and not path.endswith("/"):
            return path, self._routes[path], ""
        end = len(path)
        while (end := path.rfind("/", 0, end)) > 0:
            if handlers := self._routes.get(path[: end + 1]):
                return path[: end + 1], handlers, _plain(path[end + 1 :])
        raise Refused(404, f"Invalid URL path: not a recognized HTTP API endpoint: {path[:200]}")

    async def _forward(self, scope: Scope, receive: Receive, send: Send, datacenter: str, body: bytes) -> None:
        """Another datacenter answers in our place."""
        named = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        target = (scope.get("raw_path") or scope["path"].encode()) + b"?" + scope["query_string"]
        async with asyncio.TaskGroup() as tasks:
            leaving = tasks.create_task(_until_gone(receive))
            asking = tasks.create_task(self._wan.forward(datacenter, scope["method"], target.decode("latin-1"), named, body))
            await asyncio.wait((leaving, asking), return_when=asyncio.FIRST_COMPLETED)
            for task in (leaving, asking):
                task.cancel()
        if not asking.cancelled():
            await _answer(send, asking.result())

    def _admitted(self, path: str, ask: Ask) -> Ask:
        """With who asks. Raises Refused(403) for a secret that nobody has, and for what its owner may not do."""
        if self._authorities is None:
            return ask
        secret = secret_of(ask.query, ask.headers)
        known = replace(ask, secret=secret, authority=self._authorities.of(secret))
        admission.admit(ask.method, path, known, self._registry.tables)
        return known

    def _is_admitted(self, ask: Ask) -> bool:
        """Whether who asks still has the rights that it had."""
        try:
            return self._authorities is None or self._authorities.of(ask.secret) is ask.authority
        except Refused:
            return False

    # === reading, and waiting

    def _reading(self, path: str, ask: Ask, found: Found) -> Reading:
        return Reading(self._registry, self._answers, path, ask, found, lambda: self._is_admitted(ask))

    async def _answer_found(self, send: Send, receive: Receive, reading: Reading) -> None:
        if not reading.has_news():
            await self._wait(reading, receive)
        answer = reading.answer()
        await _send(send, answer.status, answer.lines, answer.body)

    async def _wait(self, reading: Reading, receive: Receive) -> None:
        """Until there are news, the reader's time is over, or it went away (raises _Gone)."""
        end = asyncio.get_running_loop().time() + reading.patience()
        async with asyncio.TaskGroup() as tasks:
            leaving = tasks.create_task(_until_gone(receive))
            while not (reading.has_news() or leaving.done()):
                if not await _wait_once(reading, leaving, end):
                    break
            gone = leaving.done()
            leaving.cancel()
        if gone:
            raise _Gone


async def _wait_once(reading: Reading, leaving: asyncio.Task[None], end: float) -> bool:
    """For the next change. Whether there is time left."""
    loop = asyncio.get_running_loop()
    waiter = reading.change()
    stop = _stopping(waiter)
    leaving.add_done_callback(stop)
    timer = loop.call_at(end, stop)
    try:
        await waiter
    finally:
        timer.cancel()
        waiter.cancel()
        leaving.remove_done_callback(stop)
    return loop.time() < end


class _Gone(Exception):  # noqa: N818 - nothing is wrong
    """The client has left: nobody is there to be answered."""


def _stopping(waiter: asyncio.Future[None]) -> Callable[..., None]:
    def stop(*_: object) -> None:
        if not waiter.done():
            waiter.set_result(None)

    return stop


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _body(receive: Receive) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BODY_LIMIT:
            raise Refused(413, f"Request body too large, max size: {BODY_LIMIT} bytes.")
        if not message.get("more_body"):
            return b"".join(parts)


def _plain(rest: str) -> str:
    try:
        return unquote_to_bytes(rest.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise Refused(400, "Invalid URL path: not UTF-8") from None


def _no_method(method: str, allowed: tuple[str, ...]) -> Reply:
    names = ",".join(sorted({*allowed, "OPTIONS", *(("HEAD",) if "GET" in allowed else ())}))
    if method == "OPTIONS":
        return Reply(body=b"", headers={"allow": names})
    refusal = text(405, f"method {method} not allowed")
    return Reply(status=405, body=refusal.body, media=refusal.media, headers={"allow": names})


async def _answer(send: Send, reply: Reply, indent: int | None = None) -> None:
    body = reply.bytes(indent)
    await _send(send, reply.status, lines(reply.headers, reply.media, len(body)), body)


async def _send(send: Send, status: int, header: bytes, body: bytes) -> None:
    given = [tuple(line.split(b": ", 1)) for line in header.split(b"\r\n")[:-1]]
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})
