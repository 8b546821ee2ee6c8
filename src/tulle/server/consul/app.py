"""The `/v1` part of the HTTP port: from a path to its handler, and waits for what is to change.

It stands below Starlette's routing, as ids and keys hold percent-encoded slashes, errors are plain text, and a question that was
answered before is answered from memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope, Send

from tulle.registry.acl.authorities import Authorities
from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.server.consul.acl import admission
from tulle.server.consul.acl.visible import visible
from tulle.server.consul.wire import Ask, Blocking, Found, Reply, query_of, secret_of
from tulle.store.port import StoreError

BODY_LIMIT = 2 * 1024 * 1024
"""Bytes of a body; a transaction of values is the largest."""
REMEMBERED = 4096
"""So many answers are kept, until what they tell of changes."""
_NOT_IN_KEY = ("index", "wait", "stale", "consistent", "cached", "token", "max_stale", "leader")

Handler = Callable[[Ask], Awaitable[Reply] | Reply | Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`path` ends with `/` where something is to follow."""

    method: str
    path: str
    handler: Handler


class ConsulApp:
    """An ASGI application for paths under `/v1/`."""

    def __init__(self, registry: Registry, routes: Sequence[Route], datacenter: str, authorities: Authorities | None = None) -> None:
        """Without `authorities` access is not controlled."""
        self._registry = registry
        self._authorities = authorities
        self._datacenter = datacenter
        self._routes: dict[str, dict[str, Handler]] = {}
        for route in routes:
            self._routes.setdefault(route.path, {})[route.method] = route.handler
        self._remembered: dict[tuple[object, ...], tuple[int, Reply, bytes]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            path, handlers, rest = self._find(scope)
            method = scope["method"]
            handler = handlers.get("GET" if method == "HEAD" else method)
            if handler is None:
                await _answer(send, _no_method(method, tuple(handlers)))
                return
            ask = self._admitted(path, await _read(scope, receive, rest))
            if not path.startswith("/v1/agent/"):
                self._check_datacenter(ask)
            result = handler(ask)
            if isinstance(result, Found):
                await self._answer_found(send, receive, (path, rest), ask, result)
            else:
                reply = result if isinstance(result, Reply) else await result
                await _answer(send, visible(path, ask, reply), _indent(ask))
        except Refused as refused:
            await _answer(send, text(refused.status, refused.message))
        except StoreError as error:
            await _answer(send, text(500, str(error)))
        except _Gone:
            return

    def _find(self, scope: Scope) -> tuple[str, Mapping[str, Handler], str]:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        path = raw.partition(b"?")[0].decode("latin-1")
        if path in self._routes and not path.endswith("/"):
            return path, self._routes[path], ""
        end = len(path)
        while (end := path.rfind("/", 0, end)) > 0:
            if handlers := self._routes.get(path[: end + 1]):
                return path[: end + 1], handlers, _plain(path[end + 1 :])
        raise Refused(404, f"Invalid URL path: not a recognized HTTP API endpoint: {path[:200]}")

    def _check_datacenter(self, ask: Ask) -> None:
        if (wanted := ask.get("dc")) and wanted.lower() != self._datacenter:
            raise Refused(500, "No path to datacenter")

    def _admitted(self, path: str, ask: Ask) -> Ask:
        """With who asks. Raises Refused(403) for a secret that nobody has, and for what its owner may not do."""
        if self._authorities is None:
            return ask
        secret = secret_of(ask.query, ask.headers)
        known = replace(ask, secret=secret, authority=self._authorities.of(secret))
        admission.admit(ask.method, path, known, self._registry.tables)
        return known

    # === reading, and waiting

    async def _answer_found(self, send: Send, receive: Receive, path: tuple[str, str], ask: Ask, found: Found) -> None:
        blocking = Blocking.of(ask)
        if blocking.index or found.until_hash:
            await self._wait(found, blocking, receive)
        index, reply, body = self._look(path, ask, found)
        headers = {
            "x-consul-index": str(index),
            "x-consul-knownleader": "true",
            "x-consul-lastcontact": "0",
            "x-consul-effective-consistency": blocking.consistency,
            **reply.headers,
        }
        if blocking.cached:
            headers["x-cache"] = "MISS"
        await _send(send, reply.status, reply.media, headers, body)

    def _look(self, path: tuple[str, str], ask: Ask, found: Found) -> tuple[int, Reply, bytes]:
        """The answer as it is now, remembered as long as its index stays."""
        asked = tuple((name, values) for name, values in ask.query.items() if name not in _NOT_IN_KEY)
        key = (*path, asked, None if ask.authority.is_free else ask.authority)
        index = self._index(found)
        known = self._remembered.get(key)
        if known and known[0] == index:
            return known
        reply = visible(path[0], ask, found.look())
        if len(self._remembered) >= REMEMBERED:
            self._remembered.clear()
        answer = (index, reply, reply.bytes(_indent(ask)))
        self._remembered[key] = answer
        return answer

    def _index(self, found: Found) -> int:
        return found.index() if found.index else self._registry.waiting.index(found.topics)

    async def _wait(self, found: Found, blocking: Blocking, receive: Receive) -> None:
        """Until the index is above the one that the reader knows, its time is over, or it went away (raises _Gone)."""
        if not self._is_known(found, blocking):
            return
        wait = blocking.wait + self._registry.dice.uniform(0, blocking.wait / 16)
        end = asyncio.get_running_loop().time() + wait
        async with asyncio.TaskGroup() as tasks:
            leaving = tasks.create_task(_until_gone(receive))
            while self._is_known(found, blocking) and not leaving.done() and not self._registry.waiting.closed:
                if not await self._wait_once(found, leaving, end):
                    break
            gone = leaving.done()
            leaving.cancel()
        if gone:
            raise _Gone

    def _is_known(self, found: Found, blocking: Blocking) -> bool:
        """Whether the reader has all that there is to tell."""
        if found.until_hash:
            return found.look().headers.get("x-consul-contenthash") == found.until_hash
        return self._index(found) <= blocking.index

    async def _wait_once(self, found: Found, leaving: asyncio.Task[None], end: float) -> bool:
        """For the next change. Whether there is time left."""
        loop = asyncio.get_running_loop()
        waiter = self._registry.waiting.wait(found.topics)
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


async def _read(scope: Scope, receive: Receive, rest: str) -> Ask:
    query = query_of(scope["query_string"])
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    body = b""
    if scope["method"] in ("PUT", "POST", "DELETE"):
        body = await _body(receive)
    return Ask(method=scope["method"], rest=rest, query=query, body=body, headers=headers)


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


def _indent(ask: Ask) -> int | None:
    return 4 if ask.has("pretty") else None


def text(status: int, message: str) -> Reply:
    return Reply(status=status, body=message.encode(errors="replace"), media="text/plain; charset=utf-8")


def _no_method(method: str, allowed: tuple[str, ...]) -> Reply:
    names = ",".join(sorted({*allowed, "OPTIONS", *(("HEAD",) if "GET" in allowed else ())}))
    if method == "OPTIONS":
        return Reply(body=b"", headers={"allow": names})
    refusal = text(405, f"method {method} not allowed")
    return Reply(status=405, body=refusal.body, media=refusal.media, headers={"allow": names})


async def _answer(send: Send, reply: Reply, indent: int | None = None) -> None:
    await _send(send, reply.status, reply.media, reply.headers, reply.bytes(indent))


async def _send(send: Send, status: int, media: str, headers: Mapping[str, str], body: bytes) -> None:
    given = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    given += [(b"content-type", media.encode()), (b"content-length", str(len(body)).encode()), (b"vary", b"Accept-Encoding")]
    await send({"type": "http.response.start", "status": status, "headers": given})
    await send({"type": "http.response.body", "body": body})
