"""Answers with the request that came in, and misbehaves on demand.

`/status/CODE` answers with that status, `/delay/SECONDS` later, `/flaky/KEY?times=N` with 503 the first N times that this instance is
asked for KEY, `/headers` with the headers alone, `/ws` is a WebSocket, and `POST /fail?on=true` makes this instance fail until
`POST /fail?on=false`, or for `&seconds=S`.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict

from tulle.demo.apps.http import Request, Response, json_response, multi
from tulle.demo.apps.serve import arguments, instance, serve_http
from tulle.demo.apps.websocket import accept

LONGEST_DELAY = 300.0
KEYS_KEPT = 10_000


class Echo:
    """The service. Failing and flaky paths are the only state."""

    def __init__(self, *, name: str, version: str) -> None:
        self._name = name
        self._version = version
        self._failing_until = 0.0
        self._asked: OrderedDict[str, int] = OrderedDict()

    async def handle(self, request: Request) -> Response:
        """All paths are served; those named in the module's text do something besides."""
        room, _, argument = request.path.removeprefix("/").partition("/")
        if room == "health":
            return json_response({"status": "Echo is healthy"})
        if room == "fail" and request.method == "POST":
            return self._fail(request)
        if time.monotonic() < self._failing_until:
            return self._error(request, 503, "told to fail")
        if room == "ws":
            return accept(request)
        return await self._misbehave(request, room, argument)

    async def _misbehave(self, request: Request, room: str, argument: str) -> Response:
        status = 200
        if room == "status":
            if not argument.isdigit() or not 200 <= int(argument) <= 599:
                return self._error(request, 400, "a status is a number from 200 to 599")
            status = int(argument)
        if room == "delay":
            if (seconds := _seconds(argument)) is None:
                return self._error(request, 400, f"a delay is a number of seconds, at most {LONGEST_DELAY:g}")
            await asyncio.sleep(seconds)
        if room == "flaky" and self._count(argument) <= (_seconds(request.param("times")) or 1):
            return self._error(request, 503, "failing the first times")
        if room == "headers":
            return json_response({"headers": multi(request.headers)})
        return json_response(self._picture(request), status)

    def _picture(self, request: Request) -> dict[str, object]:
        return {
            "method": request.method,
            "target": request.target,
            "path": request.path,
            "query": multi(request.query),
            "headers": multi(request.headers),
            "body": request.body.decode("utf-8", "replace"),
            "instance": self._name,
            "version": self._version,
        }

    def _error(self, request: Request, status: int, why: str) -> Response:
        return json_response({"error": why, "path": request.path, "instance": self._name, "version": self._version}, status)

    def _fail(self, request: Request) -> Response:
        on = request.param("on", "true").lower() in ("true", "1", "yes", "on")
        seconds = _seconds(request.param("seconds"))
        self._failing_until = time.monotonic() + (float("inf") if seconds is None else seconds) if on else 0.0
        return json_response({"instance": self._name, "version": self._version, "failing": on})

    def _count(self, key: str) -> int:
        self._asked[key] = count = self._asked.pop(key, 0) + 1
        if len(self._asked) > KEYS_KEPT:
            self._asked.popitem(last=False)
        return count


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= LONGEST_DELAY else None


def main() -> None:
    options = arguments("echo", 8080).parse_args()
    serve_http(Echo(name=instance("echo", options), version=options.version).handle, options)


if __name__ == "__main__":
    main()
