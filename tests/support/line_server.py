"""A server for a protocol of lines: what it hears it says again after `hello `."""

from __future__ import annotations

import socketserver
from collections.abc import Iterator
from contextlib import contextmanager

from support.threaded import threaded


class _Lines(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(b"hello " + line)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False


@contextmanager
def line_server() -> Iterator[int]:
    """Yields its port."""
    with threaded(_Server(("127.0.0.1", 0), _Lines)) as server:
        yield int(server.server_address[1])
