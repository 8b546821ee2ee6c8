"""Who was let in is shown out: by a policy at once, and in any case before long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from support.backend import backend
from support.http2_client import http2
from support.http2_server import http2_server
from support.meshed import STRICT, Meshed, meshed, opened, sidecar
from support.raw_http import Response, read_response, request_bytes
from support.running import free_port
from support.tls_client import unverified
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

REVOKED = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: revoked, namespace: istio-system}
spec: {action: DENY, rules: [{from: [{source: {principals: ["cluster.local/ns/default/sa/thief"]}}]}]}
"""


class Kept:
    """An HTTP/1.1 connection that is kept open between requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def ask(self) -> Response:
        self.writer.write(request_bytes("GET", "/", [("host", "web")]))
        return await asyncio.wait_for(read_response(self._reader, "GET"), 10)


@asynccontextmanager
async def kept(port: int, mesh: Meshed, account: str) -> AsyncIterator[Kept]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unverified(mesh.pair(account), "istio"))
    yield Kept(reader, writer)
    writer.close()


@asynccontextmanager
async def server(folder: Path) -> AsyncIterator[tuple[Meshed, int, int]]:
    """A sidecar that takes mutual TLS alone, and its ports for HTTP/1.1 and HTTP/2."""
    direct, second = free_port(), free_port()
    with backend("app") as app:
        async with http2_server("app") as other:
            web = sidecar("web", opened(80, direct, app.port), opened(81, second, other, Protocol.HTTP2))
            async with meshed(folder, STRICT, (web,)) as mesh:
                yield mesh, direct, second


def test_a_policy_holds_at_once_for_connections_that_are_open(tmp_path: Path) -> None:
    """And the connections of others go on."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            mesh, port, port2 = await stack.enter_async_context(server(tmp_path))
            thief, client = [await stack.enter_async_context(kept(port, mesh, name)) for name in ("thief", "client")]
            second = await stack.enter_async_context(http2(port2, tls=unverified(mesh.pair("thief"), "istio", "h2"), name="web"))
            assert [(await one.ask()).status for one in (thief, client)] == [200, 200]
            assert (await second.ask("web", scheme="https")).status == 200
            await mesh.change(STRICT + REVOKED)
            assert (await thief.ask()).status == 403
            assert (await second.ask("web", scheme="https")).status == 403
            after = await client.ask()
            assert (after.status, after.get("connection")) == (200, None)
            await mesh.change(STRICT)
            assert [(await one.ask()).status for one in (thief, client)] == [200, 200]

    asyncio.run(run())
