"""A small HTTP server in a thread that says what it was asked, and does as the request's headers tell it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Backend(ThreadingHTTPServer):
    """`seen` holds every request, as it is told to the caller."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.name = name
        self.seen: list[dict[str, Any]] = []
        self.failed: Counter[str] = Counter()
        self.arrived = threading.Condition()
        self.answer: tuple[str, bytes] | None = None
        """What it says instead of what it was asked: content type and body."""

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def wait_for(self, path: str, *, seconds: float = 60) -> dict[str, Any]:
        """The first request for a path, as soon as it is there."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: any(one["path"] == path for one in self.seen), seconds), f"no request for {path}"
            return next(one for one in self.seen if one["path"] == path)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that goes away is not an error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Backend

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = self.requestline.split(" ")[1]  # the library makes one slash of several at the beginning
        said = {"name": self.server.name, "method": self.command, "path": path, "headers": headers}
        self._read_body(headers)
        with self.server.arrived:
            self.server.seen.append(said)
            self.server.arrived.notify_all()
        if headers.get("upgrade") == "websocket":
            self._echo()
        else:
            kind, body = self.server.answer or ("", json.dumps(said).encode())
            self._tell(body, headers, kind)

    def _read_body(self, headers: dict[str, str]) -> None:
        if headers.get("transfer-encoding") != "chunked":
            self.rfile.read(int(headers.get("content-length", 0)))
            return
        while size := int(self.rfile.readline(), 16):
            self.rfile.read(size + 2)
        self.rfile.readline()

    do_POST = do_GET  # noqa: N815

    def _tell(self, body: bytes, headers: dict[str, str], kind: str) -> None:
        self.send_response(self._status(headers))
        if kind:
            self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _echo(self) -> None:
        self.send_response_only(101)
        self.send_header("connection", "upgrade")
        self.send_header("upgrade", "websocket")
        self.end_headers()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)
        self.close_connection = True

    def _status(self, headers: dict[str, str]) -> int:
        """`x-fail: ID/TIMES/STATUS` fails the first times that the ID is heard of; `x-fail-at: NAME` fails at the backend of that name."""
        if headers.get("x-fail-at") == self.server.name:
            return 500
        if "x-fail" not in headers:
            return 200
        key, times, status = headers["x-fail"].split("/")
        self.server.failed[key] += 1
        return int(status) if self.server.failed[key] <= int(times) else 200

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def backend(name: str) -> Iterator[Backend]:
    server = Backend(name)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name=name)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
