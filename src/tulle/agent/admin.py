"""What a running Envoy says of itself on its admin socket, and what it can be told there (Envoy's "Administration interface")."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tulle.http_client import Response, request


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """A listener that takes connections."""

    name: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin interface behind a Unix socket. Methods raise OSError when Envoy does not answer."""

    path: str

    async def is_live(self) -> bool:
        """Whether Envoy serves: it has its first configuration and is not draining."""
        return (await self._get("/ready")).body.strip() == b"LIVE"

    async def listeners(self) -> tuple[Listening, ...]:
        """Those on an IP address, once they take connections."""
        statuses = (await self._get("/listeners?format=json")).json().get("listener_statuses", [])
        sockets = [(s["name"], s.get("local_address", {}).get("socket_address", {})) for s in statuses]
        return tuple(Listening(name=name, address=s["address"], port=s["port_value"]) for name, s in sockets if s)

    async def stats(self, pattern: str = "") -> dict[str, int]:
        """Counters and gauges whose names match the regular expression."""
        answer = await self._get("/stats?format=json" + (f"&filter={quote(pattern)}" if pattern else ""))
        return {s["name"]: s["value"] for s in answer.json()["stats"] if isinstance(s.get("value"), int)}

    async def prometheus(self) -> bytes:
        """All statistics in Prometheus' text format."""
        return (await self._get("/stats/prometheus")).body

    async def memory(self) -> dict[str, int]:
        """Bytes by kind (`allocated`, `heap_size`, ...)."""
        return {name: int(value) for name, value in (await self._get("/memory")).json().items()}

    async def clusters(self) -> dict[str, Any]:
        """All clusters with their hosts and what is thought of each."""
        answer: dict[str, Any] = (await self._get("/clusters?format=json", timeout=20)).json()
        return answer

    async def certificates(self) -> dict[str, Any]:
        """The certificates that it has loaded, for each use of them."""
        answer: dict[str, Any] = (await self._get("/certs", timeout=20)).json()
        return answer

    async def config(self) -> dict[str, object]:
        """The configuration in force, with secrets redacted by Envoy."""
        answer: dict[str, object] = (await self._get("/config_dump?include_eds", timeout=20)).json()
        return answer

    async def drain(self, *, inbound: bool) -> None:
        """Asks every caller to go elsewhere: responses say `Connection: close`, HTTP/2 streams are followed by GOAWAY.

        `inbound`: only those of listeners for requests to the workload.
        """
        await self._answered(await request(self.path, "POST", f"/drain_listeners?graceful{'&inboundonly' if inbound else ''}"))

    async def active_connections(self, ports: Collection[int] | None = None) -> int:
        """How many callers are connected to the listeners on these ports, or to any."""
        return _connections(await self.stats(r"^listener\..*\.downstream_cx_active$"), ports)

    async def _get(self, path: str, timeout: float = 5.0) -> Response:
        return await self._answered(await request(self.path, "GET", path, timeout=timeout))

    async def _answered(self, response: Response) -> Response:
        # 503 is how /ready says "not yet".
        if response.status not in (200, 503):
            raise ConnectionError(f"Envoy's admin interface answered {response.status}: {response.text()[:200]}")
        return response


_LISTENER = re.compile(r"listener\.((?!.*\.worker_).+)_(\d+)\.downstream_cx_active")
"""Of a whole listener: what each worker has is counted in there."""


def _connections(stats: dict[str, int], ports: Collection[int] | None) -> int:
    found: Iterable[tuple[re.Match[str], int]] = ((match, value) for name, value in stats.items() if (match := _LISTENER.fullmatch(name)))
    return sum(value for match, value in found if ports is None or int(match[2]) in ports)


async def until_serving(admin: Admin, ports: Collection[int] = ()) -> None:
    """Returns when Envoy is live and listens on all these ports. Has no limit of its own: cancel it."""
    pause = 0.02
    while not await _is_serving(admin, frozenset(ports)):
        await asyncio.sleep(pause)
        pause = min(pause * 1.2, 0.25)


async def _is_serving(admin: Admin, ports: frozenset[int]) -> bool:
    try:
        return await admin.is_live() and ports <= {listening.port for listening in await admin.listeners()}
    except OSError:
        return False


async def until_quiet(admin: Admin, ports: Collection[int] | None, limit: float) -> bool:
    """Waits until no caller is connected any more to these ports (None: all), at most `limit` seconds. Whether they all left."""
    try:
        async with asyncio.timeout(limit):
            while await admin.active_connections(ports):  # noqa: ASYNC110 - Envoy tells only those who ask
                await asyncio.sleep(0.05)
    except OSError:
        return False
    return True
