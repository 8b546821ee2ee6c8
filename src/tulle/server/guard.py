"""What every HTTP request passes first: who may ask, and how anything that goes wrong is told.

A page in a browser on this machine can send requests to loopback. So requests whose Host is not a name of this machine (DNS
rebinding), and requests that would change something on behalf of another site, are refused.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from prometheus_client import Counter
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tulle.logs import Log
from tulle.server.quick import Head, Question, Understand

REQUESTS = Counter("tulle_http_requests", "Requests to the HTTP API.", ("method", "code"))
_SAFE = ("GET", "HEAD", "OPTIONS")
_METHODS = (*_SAFE, "POST", "PUT", "DELETE", "PATCH")
_AUTHORITY = re.compile(r"(?:\[(?P<address>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9.-]+))(?::[0-9]*)?")
_NO_PAGE = ((b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"))
_log = Log("http")


class Guard:
    """Wraps the application, and the short way to a part of it."""

    def __init__(self, app: ASGIApp, *, loopback: bool, understand: Understand | None = None) -> None:
        self._app = app
        self._loopback = loopback
        self._understand = understand

    def question(self, head: Head) -> Question | None:
        """What a head asks on the short way; None for what must go the long way, or may not be asked."""
        if self._understand is None or self._refusal("GET", Headers(raw=list(head.headers))):
            return None
        return self._understand(head)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in _METHODS else "other"
                REQUESTS.labels(method, message["status"]).inc()
            await send(message)

        if refused := self._refusal(scope["method"], Headers(scope=scope)):
            await JSONResponse({"error": refused, "violations": []}, 403)(scope, receive, counted)
            return
        try:
            await self._app(scope, receive, counted)
        except Exception:  # noqa: BLE001 - the one place where a defect is told to the log; the caller has had its answer
            _log.exception("a request failed", method=scope["method"], path=scope["path"])

    def _refusal(self, method: str, headers: Headers) -> str:
        host = headers.get("host", "")
        if self._loopback and not is_loopback(host):
            return f"the control plane answers on loopback only, and {host!r} is not a loopback name: use http://127.0.0.1 or localhost"
        if method in _SAFE:
            return ""
        origin = headers.get("origin")
        if origin is not None and _place_of(origin) != host:
            return f"requests from pages of {origin!r} may not change anything here"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "requests from other sites may not change anything here"
        return ""


class DataOnly:
    """Wraps an application whose answers are for programs: a browser that is led to one makes no page of it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_NO_PAGE]
            await send(message)

        await self._app(scope, receive, told)


def _place_of(origin: str) -> str:
    """Host and port; empty for what is no origin."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def is_loopback(authority: str) -> bool:
    """Whether `host[:port]` names this machine whatever a DNS server says."""
    found = _AUTHORITY.fullmatch(authority)
    name = (found["address"] or found["name"]).lower() if found else ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
