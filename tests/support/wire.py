"""Bytes to a port and what comes back; and a server that keeps every byte that it is sent."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import h11


def told(port: int, data: bytes) -> int:
    """The status of the first answer to some bytes; 0 where the connection is closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # some are answered before all is sent
            connection.sendall(data)
        answer = http.client.HTTPResponse(connection)
        try:
            answer.begin()
            answer.read()
        except (ConnectionError, http.client.HTTPException):
            return 0
        return answer.status


@dataclass(frozen=True, slots=True)
class Heard:
    """A request as a strict parser reads it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Wiretap:
    """`connections` holds all that came, by connection. Every request is answered with 200."""

    port: int
    connections: list[bytearray] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def requests(self) -> list[Heard]:
        """All that came. Raises h11.RemoteProtocolError where some of it is no HTTP/1.1."""
        with self.arrived:
            streams = [bytes(one) for one in self.connections]
        return [heard for one in streams for heard in _parsed(one)]

    def forget(self) -> None:
        """Of each connection only what comes from now on is kept."""
        with self.arrived:
            for one in self.connections:
                one.clear()


def _parsed(stream: bytes) -> Iterator[Heard]:
    core = h11.Connection(h11.SERVER)
    core.receive_data(stream)
    while True:
        head, body = core.next_event(), b""
        if not isinstance(head, h11.Request):
            return
        while isinstance(part := core.next_event(), h11.Data):
            body += bytes(part.data)
        headers = tuple((name.decode(), value.decode("latin-1")) for name, value in head.headers)
        whole = isinstance(part, h11.EndOfMessage)
        yield Heard(head.method.decode(), head.target.decode(), headers, body, whole)
        if not whole:
            return
        core.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        core.send(h11.EndOfMessage())
        if core.our_state is not h11.DONE:
            return
        core.start_next_cycle()


class _Answering:
    """One connection: answers each time that a request is complete."""

    def __init__(self, tap: Wiretap, connection: socket.socket) -> None:
        self._tap, self._connection = tap, connection
        self._bytes = bytearray()
        with tap.arrived:
            tap.connections.append(self._bytes)

    def run(self) -> None:
        answered, whole = 0, b""
        with self._connection, suppress(OSError):
            while data := self._connection.recv(65536):
                whole += data
                with self._tap.arrived:
                    self._bytes += data
                    self._tap.arrived.notify_all()
                complete = self._count(whole)
                self._connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" * (complete - answered))
                answered = complete

    def _count(self, stream: bytes) -> int:
        with suppress(h11.RemoteProtocolError):
            return sum(heard.complete for heard in _parsed(stream))
        return 0


@contextmanager
def wiretap() -> Iterator[Wiretap]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        tap = Wiretap(server.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=_Answering(tap, connection).run, daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield tap
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
