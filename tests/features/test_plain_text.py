"""Callers in plain text, counted by real sidecars: each by its address, and nobody who speaks mutual TLS."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from support.backend import backend
from support.carried import ask
from support.eventually import eventually
from support.meshed import PERMISSIVE, STRICT, Meshed, meshed, opened, sidecar
from support.running import free_port
from tulle.agent.plain_text import PATTERN
from tulle.model.plain_text import MOST
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy
KNOWN, OTHER = "127.0.0.7", "127.0.0.8"


@dataclass
class Called:
    """A workload with a port for HTTP, 80, and one for bytes, 81: where its sidecar takes calls, and where its client's leads there."""

    mesh: Meshed
    direct: tuple[int, int]
    local: tuple[int, int]

    def counted(self) -> dict[tuple[int, str], tuple[int, int]]:
        """Calls and refusals, by port and address."""
        told = json.loads(self.mesh.envoys["sidecar~web"].get(f"/stats?format=json&filter={quote(PATTERN)}"))["stats"]
        stats = {one["name"]: one["value"] for one in told if "value" in one}
        callers = {(int(port), address) for _, _, _, port, _, address in (name.split(".", 5) for name in stats)}
        names = {caller: [f"plain_text.{what}.port.{caller[0]}.caller.{caller[1]}" for what in ("calls", "refused")] for caller in callers}
        return {caller: (stats.get(calls, 0), stats.get(refused, 0)) for caller, (calls, refused) in names.items()}

    async def plain(self, port: int, source: str) -> None:
        assert (await asyncio.to_thread(ask, port, source=source))[0] == 200


@asynccontextmanager
async def called(folder: Path) -> AsyncIterator[Called]:
    direct, local = (free_port(), free_port()), (free_port(), free_port())
    with backend("app") as app:
        web = sidecar("web", opened(80, direct[0], app.port), opened(81, direct[1], app.port, Protocol.TCP))
        calls = tuple(Upstream(host="web", port=port, bind_port=at) for port, at in zip((80, 81), local, strict=True))
        async with meshed(folder, PERMISSIVE, (web, sidecar("client", calls=calls))) as mesh:
            yield Called(mesh, direct, local)


def test_callers_in_plain_text_are_counted_by_address(tmp_path: Path) -> None:
    async def run() -> None:
        async with called(tmp_path) as web:
            for port in web.local:
                assert (await asyncio.to_thread(ask, port, headers={"host": "web"}))[0] == 200
            for port, source in ((web.direct[0], KNOWN), (web.direct[0], KNOWN), (web.direct[0], OTHER), (web.direct[1], OTHER)):
                await web.plain(port, source)
            wanted = {(80, KNOWN): (2, 0), (80, OTHER): (1, 0), (81, OTHER): (1, 0)}
            await eventually(lambda: web.counted() == wanted)
            await a_connection_counts_while_it_stands(web)
            await a_flood_is_bounded(web)
            await refused(web)

    asyncio.run(run())


async def a_connection_counts_while_it_stands(web: Called) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", web.direct[1], local_addr=(KNOWN, 0))
    writer.write(b"GET")
    await eventually(lambda: web.counted().get((81, KNOWN)) == (1, 0))
    writer.close()


async def a_flood_is_bounded(web: Called) -> None:
    for n in range(MOST + 20):
        await web.plain(web.direct[0], f"127.1.{n // 250}.{n % 250 + 1}")
    await web.plain(web.direct[1], "127.2.0.1")
    await eventually(lambda: (81, "127.2.0.1") in web.counted())
    assert sum(port == 80 for port, _ in web.counted()) <= MOST


async def refused(web: Called) -> None:
    await web.mesh.change(STRICT)
    for port in web.direct:
        with pytest.raises(ConnectionError):
            await web.plain(port, "127.0.0.9")
    assert (await asyncio.to_thread(ask, web.local[0], headers={"host": "web"}))[0] == 200
    await eventually(lambda: all(web.counted().get((port, "127.0.0.9")) == (0, 1) for port in (80, 81)))
    assert not any(count for (_, address), (_, count) in web.counted().items() if address != "127.0.0.9")
