"""A gRPC server that answers with what it got, and its own name: `python grpc_echo.py NAME`, port in PORT. No generated code.

Two services, `test.Echo` and `test.Other`, with the same methods: `Say` (one message, one answer), `Talk` (an answer to each message as it
comes), `Count` (as many answers as the message says) and `Sum` (one answer for all messages).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc


def handlers(name: bytes) -> dict[str, Any]:
    def count(request: bytes, _context: Any) -> Iterator[bytes]:
        return (name + b":%d" % number for number in range(int(request)))

    return {
        "Say": grpc.unary_unary_rpc_method_handler(lambda request, _context: name + b":" + request),
        "Talk": grpc.stream_stream_rpc_method_handler(lambda requests, _context: (name + b":" + r for r in requests)),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Sum": grpc.stream_unary_rpc_method_handler(lambda requests, _context: name + b":" + b"+".join(requests)),
    }


def serve(name: str, port: int) -> tuple[grpc.Server, int]:
    """A server that has been started, and its port; 0 for any."""
    server = grpc.server(ThreadPoolExecutor(8))
    services = tuple(grpc.method_handlers_generic_handler(f"test.{s}", handlers(name.encode())) for s in ("Echo", "Other"))
    server.add_generic_rpc_handlers(services)
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    return server, bound


def main() -> None:
    server, _ = serve(sys.argv[1], int(os.environ["PORT"]))
    server.wait_for_termination()


if __name__ == "__main__":
    main()
