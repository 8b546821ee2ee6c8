"""Questions to the registry: whether there is something new to tell, and the answer, rendered once for all who ask the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tulle.registry.registry import Registry
from tulle.registry.transitions import Refused
from tulle.server.consul.acl.visible import visible
from tulle.server.consul.near import nearest
from tulle.server.consul.wire import Ask, Blocking, Found, Reply, text
from tulle.server.quick import Answer, Question

REMEMBERED = 4096
"""So many answers are kept, until what they tell of changes,"""
REMEMBERED_BYTES = 64 * 1024 * 1024
"""or until there are more bytes of them than this."""
_NOT_IN_KEY = ("index", "wait", "stale", "consistent", "cached", "token", "max_stale", "leader")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rendered:
    index: int
    reply: Reply
    body: bytes


class Answers:
    """Bodies of answers, by who asks for what."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], _Rendered] = {}
        self._bytes = 0

    def find(self, key: tuple[object, ...], index: int, look: Callable[[], Reply], indent: int | None) -> _Rendered:
        """As it is now, remembered for as long as its index stays."""
        known = self._known.get(key)
        if known and known.index == index:
            return known
        reply = look()
        rendered = _Rendered(index=index, reply=reply, body=reply.bytes(indent))
        self._bytes += len(rendered.body) - (len(known.body) if known else 0)
        self._known[key] = rendered
        if len(self._known) > REMEMBERED or self._bytes > REMEMBERED_BYTES:
            self._known.clear()
            self._bytes = 0
        return rendered


class Reading(Question):
    """A question whose answer may change."""

    def __init__(self, registry: Registry, answers: Answers, path: str, ask: Ask, found: Found, admitted: Callable[[], bool]) -> None:
        """`admitted`: whether who asks still has the rights that it had. Raises Refused."""
        self._registry = registry
        self._answers = answers
        self._found = found
        self._show = partial(visible, path, ask)
        self._near = partial(nearest, path, ask, registry.tables)
        self._admitted = admitted
        self._indent = ask.indent
        self._blocking = Blocking.of(ask)
        asked = tuple((name, values) for name, values in ask.query.items() if name not in _NOT_IN_KEY)
        self._asks_near = ask.has("near")
        self._moved = self._moves()
        self._key = (path, ask.rest, None if ask.authority.is_free else ask.authority, asked, self._moved)
        self._decided_at = self._index()
        self._lines = (0, b"")

    def stands(self) -> bool:
        return self._index() == self._decided_at and self._moves() == self._moved and self._admitted()

    def _moves(self) -> int:
        """What nearness depends on, and nothing else does."""
        return self._registry.tables.moves if self._asks_near else 0

    def has_news(self) -> bool:
        """Also once nothing can change any more."""
        if self._registry.waiting.closed or not (self._blocking.index or self._found.until_hash):
            return True
        if self._found.until_hash:
            return self._found.look().headers.get("x-consul-contenthash") != self._found.until_hash
        return self._index() > self._blocking.index

    def patience(self) -> float:
        """With a random part, so that those who came together do not leave together."""
        return self._blocking.wait + self._registry.dice.uniform(0, self._blocking.wait / 16)

    def change(self) -> asyncio.Future[None]:
        return self._registry.waiting.wait(self._found.topics)

    def answer(self) -> Answer:
        index = self._index()
        rendered = self._answers.find(self._key, index, self._look, self._indent)
        if self._lines[0] != index:
            self._lines = (index, self._header(index, rendered))
        return Answer(status=rendered.reply.status, lines=self._lines[1], body=rendered.body)

    def _look(self) -> Reply:
        try:
            return self._show(self._near(self._found.look()))
        except Refused as refused:
            return text(refused.status, refused.message)

    def _index(self) -> int:
        return self._found.index() if self._found.index else self._registry.waiting.index(self._found.topics)

    def _header(self, index: int, rendered: _Rendered) -> bytes:
        own = {
            "x-consul-index": str(index),
            "x-consul-knownleader": "true",
            "x-consul-lastcontact": "0",
            "x-consul-effective-consistency": self._blocking.consistency,
            **rendered.reply.headers,
        }
        if self._blocking.cached:
            own["x-cache"] = "MISS"
        return lines(own, rendered.reply.media, len(rendered.body))


def lines(headers: Mapping[str, str], media: str, length: int) -> bytes:
    """Header lines, each with its end."""
    given = {**headers, "content-type": media, "content-length": str(length), "vary": "Accept-Encoding"}
    return "".join(f"{name}: {value}\r\n" for name, value in given.items()).encode("latin-1", "replace")


class Telling(Question):
    """A question that was answered when it was read."""

    def __init__(self, reply: Reply, indent: int | None) -> None:
        body = reply.bytes(indent)
        self._answer = Answer(status=reply.status, lines=lines(reply.headers, reply.media, len(body)), body=body)

    def stands(self) -> bool:
        return False

    def has_news(self) -> bool:
        return True

    def patience(self) -> float:
        return 0.0

    def change(self) -> asyncio.Future[None]:
        raise AssertionError("nobody waits for what can be told at once")

    def answer(self) -> Answer:
        return self._answer
