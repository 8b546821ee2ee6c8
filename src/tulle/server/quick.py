"""The short way for GET requests whose answer is in memory: from the bytes of a request to those of its answer, without a task.

In front stands a cache of questions by the whole head of a request, byte for byte: so host, token and every parameter tell questions apart.
Those who wait for the same change are woken together, and share what they are told. Whatever is out of the ordinary (bodies,
pipelining, HTTP/1.0, `Connection: close`, clients that do not read what they asked for) goes the long way, through uvicorn and ASGI.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tulle.logs import Log
from tulle.server.access.caller import PEER, Peer
from tulle.server.tls import peer_of

REMEMBERED = 4096
"""So many questions are known by their heads."""
LONGEST = 8192
"""Bytes of a head that is worth to be remembered."""
LARGEST_HEAD = 64 * 1024
"""Bytes of any head; a longer one is refused."""
TOGETHER = 128
"""So many who wait are told in one go, before everybody else has a turn."""
PATIENCE = 60.0
"""Seconds that a head may take to arrive, however slowly its bytes come, and that a new connection may be silent."""
LINGER = 1.0
"""Seconds for those who were answered before they had said everything."""
BODIES = 5
"""So many times as long may the body after it take."""
_END = b"\r\n\r\n"
_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}

_log = Log("http")
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Of a GET request without a body. Names of headers are in lower case."""

    path: bytes
    query: bytes
    headers: Headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    lines: bytes
    """All header lines but the date, each with its end."""
    body: bytes


class Question(ABC):
    """What is asked with one head, by however many."""

    @abstractmethod
    def stands(self) -> bool:
        """Whether it would be understood the same if it came now. Otherwise it is to be read anew."""

    @abstractmethod
    def has_news(self) -> bool:
        """Whether there is something to tell at once."""

    @abstractmethod
    def patience(self) -> float:
        """Seconds that one who asks now will wait for news."""

    @abstractmethod
    def change(self) -> asyncio.Future[None]:
        """Done when there may be news; to be cancelled when nobody wants to know any more."""

    @abstractmethod
    def answer(self) -> Answer: ...


_DEFECT = Answer(status=500, lines=b"content-length: 0\r\n", body=b"")
Understand = Callable[[Head], Question | None]


class Lane:
    """What all connections share. `understand` says what a head asks; None sends it the long way."""

    def __init__(self, prefix: bytes, understand: Understand, told: Callable[[int], None], patience: float = PATIENCE) -> None:
        """`prefix`: of the paths that may go this way. `told` hears the status of each answer. `patience`: seconds for a head to arrive."""
        self.told = told
        self.patience = patience
        self._begin = b"GET " + prefix
        self._understand = understand
        self._rooms: dict[bytes, Room] = {}

    def room(self, data: bytes) -> Room | None:
        """Where to ask what these bytes ask; None if they are anything but one plain question."""
        room = self._rooms.get(data)
        if room is None or not room.question.stands():
            question = self._question(data)
            if question is None:
                return None
            room = Room(question)
            if len(self._rooms) >= REMEMBERED:
                self._rooms.clear()
            self._rooms[data] = room
        return room

    def _question(self, data: bytes) -> Question | None:
        if not data.startswith(self._begin) or len(data) > LONGEST or data.find(_END) != len(data) - len(_END):
            return None
        head = _Reader().read(data)
        try:
            return self._understand(head) if head else None
        except Exception:  # noqa: BLE001 - on the long way the same is met again, told to the log, and answered
            return None


class _Reader:
    """Reads one head."""

    def __init__(self) -> None:
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._complete = self._usual = False
        self._parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._usual = self._parser.get_http_version() == "1.1" and self._parser.should_keep_alive()

    def on_message_complete(self) -> None:
        self._complete = True

    def read(self, data: bytes) -> Head | None:
        """None unless it is a whole request, after which the connection stays open."""
        try:
            self._parser.feed_data(data)
            url = httptools.parse_url(self._url)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        finally:
            del self._parser  # which refers to this reader
        if not (self._complete and self._usual) or any(name == b"expect" for name, _ in self._headers):
            return None
        return Head(path=url.path, query=url.query or b"", headers=self._headers)


class Room:
    """Those who wait for news on one question."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self._waiters: dict[Connection, None] = {}
        self._change: asyncio.Future[None] | None = None

    def enter(self, connection: Connection) -> None:
        self._waiters[connection] = None
        if self._change is None:
            self._listen()

    def leave(self, connection: Connection) -> None:
        self._waiters.pop(connection, None)
        if not self._waiters and self._change is not None:
            self._change.cancel()
            self._change = None

    def _listen(self) -> None:
        self._change = self.question.change()
        self._change.add_done_callback(self._on_change)

    def _on_change(self, change: asyncio.Future[None]) -> None:
        if change is not self._change:
            return
        self._change = None
        if self.question.has_news():
            self._tell()
        else:
            self._listen()

    def _tell(self) -> None:
        for connection in list(islice(self._waiters, TOGETHER)):
            connection.tell()
        if self._waiters:
            asyncio.get_running_loop().call_soon(self._tell)


class Connection(HttpToolsProtocol):
    """One client. On the short way it holds at most one question, and what came after it waits."""

    def __init__(self, lane: Lane, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lane = lane
        self._room: Room | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._early = b""
        self._head = 0
        self._arriving = False
        self._patience: asyncio.TimerHandle | None = None
        self._peer: Peer | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._be_patient(self._lane.patience)
        if self.scheme == "https":
            self._peer = peer_of(transport)

    def data_received(self, data: bytes) -> None:
        if self._room is not None:
            self._early += data
            self.flow.pause_reading()
        elif self._is_idle() and (room := self._lane.room(data)):
            self._ask(room)
        else:
            super().data_received(data)
            self._limit_head(len(data))

    def _is_idle(self) -> bool:
        """Nothing is under way on the long way, and what was told so far is being read."""
        return self._is_answered() and not (self._arriving or self.pipeline or self.flow.write_paused or self.transport.is_closing())

    def _is_answered(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is None or cycle.response_complete

    def _was_refused_early(self) -> bool:
        """Its request was answered before all of its body was here."""
        return self._arriving and not self._head and self._is_answered()

    # === those who send slowly

    def _be_patient(self, seconds: float) -> None:
        self._be_content()
        self._patience = self.loop.call_later(seconds, self._lose_patience)

    def _be_content(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _lose_patience(self) -> None:
        self._patience = None
        if self._arriving and not self._was_refused_early():
            self._refuse(408)
        else:
            self.transport.close()

    def _refuse(self, status: int) -> None:
        if not self.transport.is_closing():
            self.transport.write(_LINES[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    # === the short way

    def _ask(self, room: Room) -> None:
        self._be_content()
        if room.question.has_news():
            self._say(room.question)
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
        self._room = room
        self._timer = self.loop.call_later(room.question.patience(), self.tell)
        room.enter(self)

    def tell(self) -> None:
        """Answers what is waited for, whether there are news or not."""
        if room := self._leave():
            self._say(room.question)
            if early := self._early:
                self._early = b""
                self.data_received(early)

    def _leave(self) -> Room | None:
        room, self._room = self._room, None
        if room is not None and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            room.leave(self)
        return room

    def _say(self, question: Question) -> None:
        answer = self._answer(question)
        self._lane.told(answer.status)
        dated = b"".join(b"%b: %b\r\n" % line for line in self.server_state.default_headers)
        self.transport.write(b"".join((_LINES[answer.status], dated, answer.lines, b"\r\n", answer.body)))
        self.on_response_complete()

    def _answer(self, question: Question) -> Answer:
        try:
            return question.answer()
        except Exception:  # noqa: BLE001 - whatever one question brings about, its asker is told that there is no answer
            _log.exception("a question could not be answered")
            return _DEFECT

    # === the long way

    def on_message_begin(self) -> None:
        self._arriving, self._head = True, 1
        self._be_patient(self._lane.patience)
        super().on_message_begin()
        if self._peer:
            self.scope["state"][PEER] = self._peer

    def on_headers_complete(self) -> None:
        self._head = 0
        self._be_patient(self._lane.patience * BODIES)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._arriving = False
        self._be_content()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._was_refused_early():
            # It is listened to for a moment longer: closed at once it might not hear the answer.
            self._be_patient(LINGER)

    def _limit_head(self, received: int) -> None:
        if self._head:
            self._head += received
            if self._head > LARGEST_HEAD:
                self._refuse(431)

    # === the end

    def connection_lost(self, exc: Exception | None) -> None:
        self._be_content()
        self._leave()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        self.tell()
        super().shutdown()
