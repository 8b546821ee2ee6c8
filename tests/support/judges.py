"""Services that decide on calls: who says `x-ext-authz: allow` is let in."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc

from support.threaded import threaded
from tulle.protos import message

HEADER, LET_IN = "x-ext-authz", "allow"
REFUSAL = b"denied by the judge"


class HttpJudge(ThreadingHTTPServer):
    """`asked` holds the paths."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpJudge

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        good = self.headers.get(HEADER) == LET_IN
        body = b"" if good else REFUSAL
        self.send_response(200 if good else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def http_judge() -> AbstractContextManager[HttpJudge]:
    return threaded(HttpJudge())


class _GrpcJudge(grpc.GenericRpcHandler):
    """Lets in whoever has the header with the value; others are answered with the status and the refusal."""

    def __init__(self, header: str, value: str, status: int, refusal: bytes) -> None:
        self.asked: list[str] = []
        self._header, self._value, self._status, self._refusal = header, value, status, refusal
        self._request, self._answer = (message(f"envoy.service.auth.v3.Check{kind}") for kind in ("Request", "Response"))

    def service(self, details: Any) -> Any:
        assert details.method == "/envoy.service.auth.v3.Authorization/Check"
        return grpc.unary_unary_rpc_method_handler(
            self._decide, request_deserializer=self._request.FromString, response_serializer=self._answer.SerializeToString
        )

    def _decide(self, request: Any, _context: Any) -> Any:
        asked = request.attributes.request.http
        self.asked.append(asked.path)
        if asked.headers.get(self._header) == self._value:
            return self._answer(ok_response={"headers": [{"header": {"key": "x-judged", "value": self._value}}]})
        return self._answer(status={"code": 7}, denied_response={"status": {"code": self._status}, "body": self._refusal.decode()})


@contextmanager
def grpc_judge(
    header: str = HEADER, value: str = LET_IN, *, status: int = 403, refusal: bytes = REFUSAL
) -> Iterator[tuple[list[str], int]]:
    """Yields the paths that it is asked about, and its port."""
    judge = _GrpcJudge(header, value, status, refusal)
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((judge,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield judge.asked, port
    finally:
        server.stop(0).wait()
