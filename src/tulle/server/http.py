"""The HTTP port: Tulle's API under `/api/v1`, and `/healthz`, `/readyz`, `/metrics`.

Answers are JSON. What goes wrong is `{"error": sentence, "violations": [{path, line, resource, namespace, field, message}]}`: 400 for
a request that cannot be used, 401 for one without a token where tokens are asked for, 403 for one that may not be made, 404, 405, 409 for
a lost race, 413, 422 for documents with violations (the rest of the answer then says what was done with the good ones), 503 when the
store cannot be written.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import cast

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tulle.registry.registrations import Registrations
from tulle.server.access.door import Door
from tulle.server.access.tokens import Tokens
from tulle.server.consul.app import ConsulApp
from tulle.server.documents_api import DocumentsApi
from tulle.server.guard import REQUESTS, DataOnly, Guard
from tulle.server.live_api import LiveApi
from tulle.server.ports import Live
from tulle.server.quick import PATIENCE, Connection, Lane
from tulle.server.registry_api import RegistryApi, There
from tulle.settings import Address
from tulle.store.documents import Documents
from tulle.store.port import StoreError

KEEP_ALIVE = 120
"""Seconds for which a silent connection stays open: longer than clients keep theirs, so that none asks on one that is just being closed."""
GRACE = 5
"""Seconds that requests under way have when the server ends."""


class ListenError(OSError):
    """An address cannot be listened on."""


def application(
    documents: Documents,
    registrations: Registrations,
    live: Live,
    *,
    loopback: bool,
    consul: ConsulApp | None = None,
    more: Sequence[Route] = (),
    there: There | None = None,
    tokens: Tokens | None = None,
) -> Guard:
    """The whole of the HTTP port. `loopback`: it listens there only, and refuses requests that name another host.

    `consul` answers for all paths under `/v1/`; `more` are further routes of Tulle's own API. `there` makes sure that the
    machine of a registration is known. With `tokens`, Tulle's own API is for those who have one.
    """
    routes: list[Route] = [
        *DocumentsApi(documents, live).routes(),
        *RegistryApi(registrations, live, there).routes(),
        *LiveApi(live).routes(),
        *more,
    ]
    handlers = {HTTPException: _on_http, StoreError: _on_store, ClientDisconnect: _on_gone, Exception: _on_defect}
    served = Starlette(routes=routes, exception_handlers=handlers)
    served.router.redirect_slashes = False
    app: ASGIApp = DataOnly(Door(served, tokens) if tokens else served)
    if consul is None:
        return Guard(app, loopback=loopback)
    return Guard(_Beside(app, Door(consul, tokens) if tokens else consul), loopback=loopback, understand=consul.question)


class _Beside:
    """Consul's API beside all others, as it has its own way with paths."""

    def __init__(self, app: ASGIApp, consul: ASGIApp) -> None:
        self._app = app
        self._consul = consul

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._consul if scope["path"].startswith("/v1/") else self._app
        await app(scope, receive, send)


def _on_http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    detail: object = error.detail
    if isinstance(detail, dict):
        return JSONResponse(detail, error.status_code, error.headers)
    message = {
        404: f"there is nothing at {request.url.path}",
        405: f"{request.method} is not something to do with {request.url.path}",
    }.get(error.status_code, str(detail))
    return JSONResponse({"error": message, "violations": []}, error.status_code, error.headers)


def _on_store(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error), "violations": []}, 503)


def _on_gone(_: Request, __: Exception) -> Response:
    return Response(status_code=400)


def _on_defect(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "the control plane failed to answer; its log says why", "violations": []}, 500)


def listen(address: Address) -> socket.socket:
    """A socket that listens; port 0 takes any free port. Raises ListenError with what to do."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Only where the protocol is told does asyncio send small answers at once.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        reason = f"cannot listen on {address} for the API: {error.strerror}"
        raise ListenError(f"{reason}; stop what uses it, or choose another with --api HOST:PORT (TULLE_API)") from error
    listener.setblocking(False)
    return listener


class _Server(uvicorn.Server):
    """Leaves the signals of the process to those who own the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: Guard, listener: socket.socket, tls: ssl.SSLContext | None = None, *, patience: float = PATIENCE) -> None:
    """Serves until it is cancelled; then requests under way have GRACE seconds to end. In plain text where there is no `tls`.

    `patience`: seconds for the head of a request.
    """
    lane = Lane(b"/v1/", app.question, lambda status: REQUESTS.labels("GET", status).inc(), patience)
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", partial(Connection, lane)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        ssl_context_factory=(lambda *_: tls) if tls else None,
    )
    server = _Server(config)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(server.serve(sockets=[listener]), name="http")
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError:
            server.should_exit = True
            await asyncio.wait([running])
            raise
