"""The door to `/api/v1`: whoever has no token or client certificate that is good for a request is sent away, before anything looks at it.

Over TLS the token of a workload that has joined is good only together with its certificate, so that a stolen one is of no use.
Other paths are not its business: Consul's API has its own rules, and `/healthz`, `/readyz` and `/metrics` are for everybody. Only the first
token of Consul's, which may do everything, is not for whoever comes first.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tulle.server.access.caller import PEER, PREFIX, STATE, Peer, Role
from tulle.server.access.tokens import Token, Tokens
from tulle.store.port import StoreError

OPEN = frozenset({"/api/v1/join", "/api/v1/join/certificate", "/api/v1/join/renew", "/api/v1/join/roots"})
"""Who asks for these brings a proof of its own in the body, or is told what everybody may know."""
BOOTSTRAP = "/v1/acl/bootstrap"
_SHOWN = (b"authorization", b"x-consul-token")
"""What Consul's API would take for a token of its own."""
_HINT = "give one with TULLE_TOKEN or --token-file; `tulle token create` makes them, and the first lies in admin-token beside the database"
_BOUND = "the token of a workload is taken together with the certificate that came with it"


class Door:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, tokens: Tokens, now: Callable[[], float] = time.time) -> None:
        self._app = app
        self._tokens = tokens
        self._now = now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith((PREFIX, BOOTSTRAP)) and scope["path"] not in OPEN:
            try:
                refused = await self._refused(scope)
            except StoreError as error:
                refused = _refusal(503, str(error))
            if refused:
                await refused(scope, receive, send)
                return
            if scope["path"].startswith(BOOTSTRAP):
                scope = {**scope, "headers": [(name, value) for name, value in scope["headers"] if name not in _SHOWN]}
        await self._app(scope, receive, send)

    async def _refused(self, scope: Scope) -> JSONResponse | None:
        """Lets the caller be known to the rest, or says why there is no way in."""
        token = await self._token(scope)
        if isinstance(token, str):
            return _refusal(401, token)
        caller = token.caller()
        if why := caller.refusal(scope["method"], scope["path"]):
            return _refusal(403, why)
        scope.setdefault("state", {})[STATE] = caller
        return None

    async def _token(self, scope: Scope) -> Token | str:
        """What the caller may, or why that is not known."""
        peer = scope.get("state", {}).get(PEER)
        if peer and peer.until <= self._now():
            peer = None
        if not (text := shown(Headers(scope=scope))):
            return await self._held_by(peer)
        if not (token := await self._tokens.find(text)):
            return f"the token is not known, or its time is over: {_HINT}"
        is_bound = token.role is Role.WORKLOAD and scope.get("scheme") == "https"
        return _BOUND if is_bound and (peer is None or peer.holder != token.id) else token

    async def _held_by(self, peer: Peer | None) -> Token | str:
        if peer is None:
            return f"this control plane answers only to those who show a token, or a client certificate of the mesh: {_HINT}"
        return await self._tokens.held_by(peer.holder) or "the certificate is good for nothing here: it was taken back, or its time is over"


def shown(headers: Headers) -> str:
    """The token that a request bears, as bearer or in Consul's header."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else headers.get("x-consul-token", "")


def _refusal(status: int, error: str) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": error, "violations": []}, status, headers)
