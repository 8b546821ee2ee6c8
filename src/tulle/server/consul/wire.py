"""A request of Consul's API, taken apart, and the answer to it, put together."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tulle.registry import durations
from tulle.registry.acl.authority import ANYBODY, Authority
from tulle.registry.transitions import Refused
from tulle.registry.waiting import Topic
from tulle.server.consul.body import BadBodyError, Body

WAIT_DEFAULT = 300.0
WAIT_LIMIT = 600.0
TRUE = ("", "1", "t", "T", "true", "TRUE", "True")
FALSE = ("0", "f", "F", "false", "FALSE", "False")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request."""

    method: str
    rest: str
    """What follows the part of the path that chose the handler, with `%xx` undone."""
    query: Mapping[str, tuple[str, ...]] = field(repr=False)
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(default="", repr=False)
    """What the request shows to say who asks."""
    authority: Authority = ANYBODY

    def get(self, name: str, default: str = "") -> str:
        """The first value of a parameter."""
        values = self.query.get(name)
        return values[0] if values else default

    def has(self, name: str) -> bool:
        return name in self.query

    def all(self, name: str) -> tuple[str, ...]:
        return self.query.get(name, ())

    def flag(self, name: str) -> bool:
        """A parameter that may stand alone. Raises Refused."""
        if name not in self.query:
            return False
        value = self.get(name)
        if value in TRUE or value in FALSE:
            return value in TRUE
        raise Refused(400, f"Invalid value for ?{name}")

    @property
    def indent(self) -> int | None:
        return 4 if self.has("pretty") else None

    def number(self, name: str) -> int | None:
        """A parameter that is a number of 64 bits; None where it was not given. Raises Refused."""
        text = self.get(name)
        if not self.has(name):
            return None
        if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) >= 1 << 64:
            raise Refused(400, f"Invalid {name}: {text[:64]!r} is not a number")
        return int(text)

    def json(self) -> Body:
        """The body as an object. Raises Refused."""
        return Body(self.document())

    def document(self) -> Any:
        """The body as JSON. Raises Refused."""
        try:
            return json.loads(self.body, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise BadBodyError(str(error)) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer: JSON of `value` unless `body` is given."""

    status: int = 200
    value: object = None
    body: bytes | None = None
    media: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def bytes(self, indent: int | None = None) -> bytes:
        if self.body is not None:
            return self.body
        return json.dumps(self.value, indent=indent, separators=(",", ": " if indent else ":")).encode()


def text(status: int, message: str) -> Reply:
    return Reply(status=status, body=message.encode(errors="replace"), media="text/plain; charset=utf-8")


DONE = Reply(body=b"")
"""What was asked was done, and there is nothing to say."""
TRUE_REPLY = Reply(value=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A question to the registry whose answer may change: what to watch, and how to answer now.

    What a handler decides on must stand for as long as the topics and the asker's rights do: until then it is not asked again.
    """

    topics: tuple[Topic, ...]
    look: Callable[[], Reply]
    index: Callable[[], int] | None = None
    """How to tell the index where it is not that of the topics."""
    until_hash: str = ""
    """The reader waits until the hash of the content is another, whatever the index."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocking:
    """How long a reader is ready to wait, and for what."""

    index: int
    wait: float
    """Seconds."""
    consistency: str
    cached: bool

    @classmethod
    def of(cls, ask: Ask) -> Blocking:
        """Raises Refused."""
        stale, consistent, cached = ask.has("stale"), ask.has("consistent"), ask.has("cached")
        if stale and consistent:
            raise Refused(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
        if cached and consistent:
            raise Refused(400, "Cannot specify ?cached with ?consistent, conflicting semantics.")
        if ask.get("max_stale"):
            _duration(ask.get("max_stale"), "Invalid max_stale value")
        wait = _duration(ask.get("wait"), "Invalid wait time") if ask.get("wait") else WAIT_DEFAULT
        consistency = "stale" if stale or ask.has("max_stale") else "consistent" if consistent else "leader"
        wait = min(wait, WAIT_LIMIT) if wait > 0 else WAIT_DEFAULT
        return cls(index=_index(ask.get("index")), wait=wait, consistency=consistency, cached=cached)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _index(text: str) -> int:
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 20 or int(text) >= 1 << 64:
        raise Refused(400, "Invalid index")
    return int(text)


def _duration(text: str, message: str) -> float:
    try:
        return durations.parse(text)
    except ValueError:
        raise Refused(400, message) from None


def secret_of(query: Mapping[str, tuple[str, ...]], headers: Mapping[str, str]) -> str:
    """The token of a request, wherever clients put it; empty for none."""
    if query.get("token", ("",))[0]:
        return query["token"][0]
    if headers.get("x-consul-token"):
        return headers["x-consul-token"]
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def query_of(raw: bytes) -> Mapping[str, tuple[str, ...]]:
    """Parameters in the order given. Raises Refused for what is no text."""
    try:
        pairs: Iterable[tuple[str, str]] = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except (UnicodeDecodeError, ValueError):
        raise Refused(400, "Invalid query string") from None
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return {name: tuple(values) for name, values in found.items()}
