"""The door to `/api/v1`: whoever has no token that is good for a request is sent away, before anything looks at it.

Other paths are not its business: Consul's API has its own rules, and `/healthz`, `/readyz` and `/metrics` are for everybody.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tulle.server.access.caller import PREFIX, STATE
from tulle.server.access.tokens import Tokens
from tulle.store.port import StoreError

OPEN = frozenset({"/api/v1/join", "/api/v1/join/renew"})
"""Who asks for these brings a proof of its own in the body."""
_HINT = "give one with TULLE_TOKEN or --token-file; `tulle token create` makes them, and the first lies in admin-token beside the database"


class Door:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, tokens: Tokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(PREFIX) and scope["path"] not in OPEN:
            try:
                refused = await self._refused(scope)
            except StoreError as error:
                refused = _refusal(503, str(error))
            if refused:
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _refused(self, scope: Scope) -> JSONResponse | None:
        """Lets the caller be known to the rest, or says why there is no way in."""
        if not (text := shown(Headers(scope=scope))):
            return _refusal(401, f"this control plane answers only to those who show a token: {_HINT}")
        if not (token := await self._tokens.find(text)):
            return _refusal(401, f"the token is not known, or its time is over: {_HINT}")
        caller = token.caller()
        if why := caller.refusal(scope["method"], scope["path"]):
            return _refusal(403, why)
        scope.setdefault("state", {})[STATE] = caller
        return None


def shown(headers: Headers) -> str:
    """The token that a request bears, as bearer or in Consul's header."""
    scheme, _, text = headers.get("authorization", "").partition(" ")
    return text.strip() if scheme.lower() == "bearer" else headers.get("x-consul-token", "")


def _refusal(status: int, error: str) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": error, "violations": []}, status, headers)
