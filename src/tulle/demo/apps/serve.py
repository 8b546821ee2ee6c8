"""How a sample application starts and ends."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

from tulle.demo.apps.http import LINE_LIMIT, Handler, Server

GRACE = 5.0
"""Seconds that requests under way get to finish."""

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Stop = Callable[[float], Awaitable[None]]


def arguments(name: str, port: int, *, version: str = "v1") -> argparse.ArgumentParser:
    """The options that all have: where to listen, which version this is and what the instance is called."""
    parser = argparse.ArgumentParser(prog=f"python -m tulle.demo.apps.{name}")
    parser.add_argument("--host", default=os.environ.get("HOST", "127.0.0.1"), help="address to listen on")
    parser.add_argument(
        "--port", type=int, default=int(os.environ.get("PORT", port)), help="port to listen on (default: $PORT or %(default)s)"
    )
    parser.add_argument("--version", default=_environment("VERSION", version), help="which version this is (default: %(default)s)")
    parser.add_argument("--instance", default=_environment("INSTANCE", ""), help="name of this instance in answers")
    return parser


def _environment(name: str, default: str) -> str:
    return os.environ.get(name) or os.environ.get(f"TULLE_{name}") or default


def instance(name: str, options: argparse.Namespace) -> str:
    """What an instance calls itself: as told, else by its version and process."""
    return options.instance or f"{name}-{options.version}-{os.getpid()}"


def serve_http(handler: Handler, options: argparse.Namespace) -> None:
    """Serves HTTP until SIGTERM or SIGINT."""
    server = Server(handler)
    serve(server.connected, server.stop, options)


def serve(connected: Connected, stop: Stop, options: argparse.Namespace) -> None:
    """Listens until SIGTERM or SIGINT. Ends with status 1 and one line when the port cannot be had."""
    try:
        asyncio.run(_serve(connected, stop, options))
    except OSError as error:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {os.strerror(error.errno or 0)}")


async def _serve(connected: Connected, stop: Stop, options: argparse.Namespace) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    listener = await asyncio.start_server(connected, options.host, options.port, limit=LINE_LIMIT, backlog=1024)
    host, port = listener.sockets[0].getsockname()[:2]
    sys.stdout.write(f"listening on {host}:{port}\n")
    sys.stdout.flush()
    await ended.wait()
    listener.close()
    await stop(GRACE)
