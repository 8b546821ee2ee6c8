"""Ports of which nobody says what is spoken: HTTP is told from other bytes, at the caller's proxy and at the server's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask
from support.certificates import Pair
from support.http2_client import http2
from support.http2_server import http2_server
from support.meshed import DISABLE, PERMISSIVE, STRICT, Meshed, meshed, opened, sidecar
from support.running import free_port
from support.tls_client import unverified
from support.tls_server import TlsServer
from tulle.ca.authority import Authority
from tulle.model.identity import Identity
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy
PORTS = {"web": 80, "lines": 81, "second": 82, "secure": 83}
RULES = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: apps}
spec:
  hosts: [apps]
  http:
  - {match: [{port: 80, uri: {exact: /teapot}}], directResponse: {status: 418}}
  - match: [{port: 80, uri: {exact: /split}}]
    route:
    - {destination: {host: apps, port: {number: 80}}, weight: 50}
    - {destination: {host: apps, port: {number: 80}}, weight: 50, headers: {request: {set: {x-half: second}}}}
  - {match: [{port: 80}], route: [{destination: {host: apps, port: {number: 80}}}]}
"""
POLICY = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: %s}
spec: {selector: {matchLabels: {app: apps}}, action: %s, rules: [{to: [{operation: {%s}}]}]}
"""
ADMIN, GETS = POLICY % ("admin", "DENY", "ports: ['80', '81'], paths: [/admin]"), POLICY % ("gets", "ALLOW", "methods: [GET]")


@dataclass
class Apps:
    """`direct`: where the server's sidecar listens; `local`: where the client's leads there."""

    mesh: Meshed
    direct: dict[str, int]
    local: dict[str, int]

    async def seen(self, path: str = "/", **headers: str) -> tuple[int, dict[str, str]]:
        """Through the mesh: the status, and the headers that the server saw."""
        status, _, body = await asyncio.to_thread(ask, self.local["web"], path, headers={"host": "apps", **headers})
        return status, json.loads(body)["headers"] if status == 200 else {}

    async def plain(self, path: str = "/", **headers: str) -> tuple[int, dict[str, str], dict[str, str]]:
        """Past the client's sidecar: status, headers of the answer, and those that the server saw."""
        status, answered, body = await asyncio.to_thread(ask, self.direct["web"], path, headers=headers)
        return status, answered, json.loads(body)["headers"] if status == 200 else {}

    async def line(self, port: int, *, first: bytes = b"") -> bytes:
        """What a server that speaks first says, and what it then says again; less where it closes. `first`: sent before it speaks."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(first)
            said = await asyncio.wait_for(reader.read(6), 60)
            writer.write(b"again")
            return said + await asyncio.wait_for(reader.read(5), 60)
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks first, then says again what it hears."""
    writer.write(b"hello ")
    try:
        writer.write(await reader.read(100))
        await writer.drain()
    except OSError:
        pass
    writer.close()


@asynccontextmanager
async def apps(folder: Path, text: str = PERMISSIVE) -> AsyncIterator[Apps]:
    direct, local = {name: free_port() for name in PORTS}, {name: free_port() for name in PORTS}
    async with AsyncExitStack() as stack:
        lines = await stack.enter_async_context(await asyncio.start_server(greet, "127.0.0.1", 0))
        issued = Authority(folder / "own", "shop.example").issue(Identity(trust_domain="shop.example"))
        assert issued.key
        targets = {
            "web": stack.enter_context(backend("app")).port,
            "lines": lines.sockets[0].getsockname()[1],
            "second": await stack.enter_async_context(http2_server("app")),
            "secure": await stack.enter_async_context(TlsServer(folder, Pair(issued.chain, issued.key.reveal())).serving()),
        }
        server = sidecar("apps", *(opened(PORTS[name], direct[name], targets[name], Protocol.AUTO) for name in PORTS))
        client = sidecar("client", calls=tuple(Upstream(host="apps", port=PORTS[name], bind_port=local[name]) for name in PORTS))
        mesh = await stack.enter_async_context(meshed(folder, text + RULES, (server, client)))
        yield Apps(mesh, direct, local)


def test_http_and_other_bytes_find_their_way(tmp_path: Path) -> None:
    async def run() -> None:
        async with apps(tmp_path) as at:
            for path in ("/", *("/split",) * 4):
                status, seen = await at.seen(path)
                assert (status, "URI=spiffe://cluster.local/ns/default/sa/client" in seen["x-forwarded-client-cert"]) == (200, True)
            assert (await at.seen("/teapot"))[0] == 418
            assert await at.line(at.local["lines"]) == b"hello again"
            async with http2(at.local["second"]) as second:
                assert (await second.ask("apps")).status == 200
            forged = {"x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/admin"}
            status, answered, seen = await at.plain(**forged)
            assert (status, answered["server"], "x-forwarded-client-cert" in seen) == (200, "istio-envoy", False)
            assert await at.line(at.direct["lines"]) == b"hello again"
            async with http2(at.direct["second"]) as second:
                assert (await second.ask("apps")).status == 200
            for port in (at.direct["secure"], at.local["secure"]):
                assert (await over_tls(port, None, "http/1.1")).startswith(b"HTTP/1.1 200"), "TLS of the application's own is passed on"

    asyncio.run(run())


async def over_tls(port: int, own: Pair | None, *alpn: str) -> bytes:
    """The answer to a request; empty where there is none."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unverified(own, *alpn))
        writer.write(b"GET / HTTP/1.1\r\nhost: apps\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(65536), 60)
        writer.close()
    except OSError:
        return b""
    return answer


def test_callers_say_inside_of_mutual_tls_what_they_carry(tmp_path: Path) -> None:
    """In Istio's words."""

    async def run() -> None:
        async with apps(tmp_path) as at:
            own = at.mesh.pair("client")
            for mode in (PERMISSIVE, STRICT):
                await at.mesh.change(mode + RULES)
                for said in ("istio-http/1.0", "istio-http/1.1", "istio-h2"):
                    assert b"server: istio-envoy" in await over_tls(at.direct["web"], own, said, "istio")
                for said in ("istio", "istio-peer-exchange"):
                    answer = await over_tls(at.direct["web"], own, said)
                    assert answer.startswith(b"HTTP/1.1 200")
                    assert b"istio-envoy" not in answer, "the bytes are passed on"

    asyncio.run(run())


def test_strict_and_disabled_ports(tmp_path: Path) -> None:
    async def run() -> None:
        async with apps(tmp_path, STRICT) as at:
            assert (await at.seen())[0] == 200
            assert await at.line(at.local["lines"]) == b"hello again"
            with pytest.raises(ConnectionError):
                await at.plain()
            assert await at.line(at.direct["lines"], first=b"in plain text\n") == b""
            assert await over_tls(at.direct["secure"], None, "http/1.1") == b""
            await at.mesh.change(DISABLE + RULES)
            status, seen = await at.seen()
            assert (status, "x-forwarded-client-cert" in seen) == (200, False)
            assert (await at.plain())[1]["server"] == "istio-envoy"
            assert await at.line(at.local["lines"]) == await at.line(at.direct["lines"]) == b"hello again"

    asyncio.run(run())


def test_rules_for_requests_hold_for_what_turns_out_to_be_requests(tmp_path: Path) -> None:
    """Of other connections they refuse more, never less: as on ports that are known not to be HTTP."""

    async def run() -> None:
        async with apps(tmp_path, PERMISSIVE + ADMIN) as at:
            assert ((await at.seen("/admin"))[0], (await at.seen())[0], (await at.plain("/admin"))[0]) == (403, 200, 403)
            # A server may have spoken before the caller says the word on which proxies decide.
            assert b"again" not in await at.line(at.local["lines"]) + await at.line(at.direct["lines"])
            await at.mesh.change(PERMISSIVE + RULES + GETS)
            assert (await at.seen())[0] == 200
            assert b"again" not in await at.line(at.local["lines"])
            await at.mesh.change(PERMISSIVE + RULES)
            assert await at.line(at.local["lines"]) == b"hello again"

    asyncio.run(run())
