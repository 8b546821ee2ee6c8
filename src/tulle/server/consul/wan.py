"""Other datacenters: each has its own control plane, and is asked over its HTTP API. Nothing is copied from one to another.

Whatever names another datacenter (`?dc=`) is sent there as it came, and its answer is given back. A token goes along, as only that
datacenter knows whom it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from typing import Any
from urllib.parse import parse_qs

from tulle.credentials import NOBODY, Credentials
from tulle.http_client import Response, request
from tulle.registry import durations
from tulle.registry.transitions import Refused
from tulle.secure import context_of
from tulle.server.consul.wire import WAIT_DEFAULT, WAIT_LIMIT, Reply

PATIENCE = 10.0
"""Seconds for an answer that is not waited for on purpose."""
FORWARDED = "x-tulle-forwarded"
"""Says which datacenter sent a request on: it is not sent on again."""
_GO_ALONG = ("x-consul-token", "authorization", "accept", "cache-control")
_COME_BACK = "x-consul-"


class Elsewhere(Refused):
    """Another datacenter is meant."""

    def __init__(self, datacenter: str) -> None:
        super().__init__(500, "No path to datacenter")
        self.datacenter = datacenter


class FileRoots(Credentials):
    """Others are known by the roots in a PEM file, which is read again when it changes; without one, by what the machine trusts."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._known: tuple[int, SSLContext] | None = None

    def context(self) -> SSLContext | None:
        """Raises OSError, ValueError for a file that cannot be used."""
        if not self._path:
            return None
        changed = Path(self._path).stat().st_mtime_ns
        if self._known is None or self._known[0] != changed:
            self._known = (changed, context_of(Path(self._path).read_bytes()))
        return self._known[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wan:
    own: str
    credentials: Credentials = NOBODY
    places: Mapping[str, str] = field(default_factory=dict)
    """The others by name: `host:port` or `https://host:port` of their control planes."""

    def require_own(self, datacenter: str) -> None:
        """Raises Elsewhere when a request means a known other datacenter, Refused(500) when it means one that nobody knows."""
        wanted = datacenter.lower()
        if wanted in self.places:
            raise Elsewhere(wanted)
        if wanted not in ("", self.own):
            raise Refused(500, "No path to datacenter")

    async def forward(self, datacenter: str, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """The answer of another datacenter. One that does not answer is an error, soon."""
        if FORWARDED in headers:
            return _failed(f"{headers[FORWARDED]} sent a request for {datacenter} to {self.own}, which is not {datacenter}")
        given = {name: headers[name] for name in _GO_ALONG if name in headers} | {FORWARDED: self.own}
        try:
            answer = await self._ask(datacenter, method, target, _patience(target), given, body)
        except (OSError, ValueError) as error:
            return _failed(f"datacenter {datacenter} cannot be reached: {str(error) or type(error).__name__}")
        kept = {name: value for name, value in answer.headers.items() if name.startswith(_COME_BACK)}
        media = answer.headers.get("content-type", "application/json")
        return Reply(status=answer.status, body=answer.body, media=media, headers=kept)

    async def get(self, datacenter: str, path: str) -> Any:
        """What another datacenter answers. Raises OSError when it cannot be asked, or has no answer."""
        try:
            answer = await self._ask(datacenter, "GET", path, PATIENCE, {FORWARDED: self.own})
            if answer.status == 404:
                return None
            if answer.status != 200:
                raise ConnectionError(f"{datacenter} answered {answer.status}: {answer.text()[:200]}")
            return answer.json()
        except ValueError as error:
            raise ConnectionError(f"{datacenter}: {error}") from None

    async def _ask(
        self, datacenter: str, method: str, target: str, patience: float, headers: Mapping[str, str], body: bytes = b""
    ) -> Response:
        return await request(
            self.places[datacenter], method, target, body=body, timeout=patience, headers=headers, credentials=self.credentials
        )


NO_WAN = Wan(own="dc1")


def _patience(target: str) -> float:
    asked = parse_qs(target.partition("?")[2])
    if not (asked.get("index") or asked.get("hash")):
        return PATIENCE
    try:
        wait = durations.parse(asked.get("wait", [""])[0])
    except ValueError:
        wait = WAIT_DEFAULT
    return min(max(wait, 0.0), WAIT_LIMIT) * 17 / 16 + PATIENCE


def _failed(why: str) -> Reply:
    return Reply(status=500, body=f"rpc error getting client: {why}".encode(), media="text/plain; charset=utf-8")
