"""A gRPC server that answers with what it got, and its own name: `python grpc_echo.py NAME`, port in PORT. No generated code."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


def main() -> None:
    name = sys.argv[1].encode()
    echo = grpc.unary_unary_rpc_method_handler(lambda request, _context: name + b":" + request)
    stream = grpc.stream_stream_rpc_method_handler(lambda requests, _context: (name + b":" + r for r in requests))
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Say": echo, "Talk": stream}),))
    server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
