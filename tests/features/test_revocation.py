"""Who was let in is shown out: by a policy at once, and in any case before long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from support import carried
from support.backend import backend
from support.compiled import gateway
from support.eventually import eventually
from support.http2_client import http2
from support.http2_server import http2_server
from support.led_mesh import led_mesh
from support.load import load
from support.meshed import STRICT, Meshed, meshed, opened, sidecar
from support.raw_http import Response, read_response, request_bytes
from support.running import free_port
from support.tls_client import unverified
from tulle.agent.admin import Admin
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy
HTTP = Protocol.HTTP
LIFE = timedelta(seconds=3)
"""Of connections, where it is bounded."""

WEB = "web.default.svc.cluster.local"
REVOKED = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: revoked, namespace: istio-system}
spec: {action: DENY, rules: [{from: [{source: {principals: ["cluster.local/ns/default/sa/thief"]}}]}]}
"""


ALL_ACCOUNTS = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all-accounts}
spec: {action: ALLOW, rules: [{from: [{source: {principals: ["*"]}}]}]}
"""


class Kept:
    """An HTTP/1.1 connection that is kept open between requests."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    async def ask(self, *headers: tuple[str, str]) -> Response:
        self.writer.write(request_bytes("GET", "/", [("host", "web"), *headers]))
        return await asyncio.wait_for(read_response(self._reader, "GET"), 60)

    async def ended(self) -> None:
        """Until the other side closes."""
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while await asyncio.wait_for(self._reader.read(65536), 60):
                pass


@asynccontextmanager
async def kept(port: int, mesh: Meshed, account: str) -> AsyncIterator[Kept]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unverified(mesh.pair(account), "istio"))
    yield Kept(reader, writer)
    writer.close()


@dataclass
class Served:
    """A sidecar that takes mutual TLS alone, and its ports for HTTP/1.1, HTTP/2 and bytes of any kind."""

    mesh: Meshed
    http: int
    http2: int
    tcp: int
    local: int
    """Where a client's sidecar leads to the first of them."""

    def counted(self, proxy: str, name: str) -> int:
        return self.mesh.envoys[f"sidecar~{proxy}"].counter(name)


@asynccontextmanager
async def server(folder: Path, life: timedelta | None = None) -> AsyncIterator[Served]:
    ports = [free_port() for _ in range(4)]
    with backend("app") as app:
        async with http2_server("app") as other:
            inbound = zip((80, 81, 82), ports[:3], (app.port, other, app.port), (HTTP, Protocol.HTTP2, Protocol.TCP), strict=True)
            web = sidecar("web", *(opened(*port) for port in inbound))
            client = sidecar("client", calls=(Upstream(host="web", port=80, bind_port=ports[3]),))
            async with meshed(folder, STRICT, (web, client), life=life) as mesh:
                yield Served(mesh, *ports)


def test_a_policy_holds_at_once_for_connections_that_are_open(tmp_path: Path) -> None:
    """And the connections of others go on."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            at = await stack.enter_async_context(server(tmp_path))
            mesh = at.mesh
            thief, client = [await stack.enter_async_context(kept(at.http, mesh, name)) for name in ("thief", "client")]
            second = await stack.enter_async_context(http2(at.http2, tls=unverified(mesh.pair("thief"), "istio", "h2"), name="web"))
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


@pytest.mark.parametrize("before", ["", ALL_ACCOUNTS], ids=["the first", "another"])
def test_a_policy_ends_connections_of_bytes_that_are_open(tmp_path: Path, before: str) -> None:
    """With the next bytes: whoever may still come then comes again."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            at = await stack.enter_async_context(server(tmp_path))
            await at.mesh.change(STRICT + before)
            thief, client = [await stack.enter_async_context(kept(at.tcp, at.mesh, name)) for name in ("thief", "client")]
            assert [(await one.ask()).status for one in (thief, client)] == [200, 200]
            await at.mesh.change(STRICT + before + REVOKED)
            thief.writer.write(request_bytes("GET", "/", [("host", "web")]))
            await thief.ended()
            again, other = [await stack.enter_async_context(kept(at.tcp, at.mesh, name)) for name in ("thief", "client")]
            with pytest.raises((EOFError, ConnectionError, ssl.SSLError)):
                await again.ask()
            assert (await other.ask()).status == 200

    asyncio.run(run())


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: web}}}}]}}]}}
"""
"""For a server on a port."""

NOBODY = """
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: nobody, namespace: istio-system}
spec: {}
"""


def test_a_policy_holds_at_once_at_a_gateway(tmp_path: Path) -> None:
    """For the first one, and where there is no longer any."""

    async def run() -> None:
        text = GATEWAY.format(port=(port := free_port()))
        with backend("web") as app:
            async with led_mesh(gateway(), text, carried.at("web", 80, app.port, id="web")) as mesh, AsyncExitStack() as stack:
                first = Kept(*await asyncio.open_connection("127.0.0.1", port))
                second = await stack.enter_async_context(http2(port, stays=True))
                assert [(await first.ask()).status, (await second.ask("web")).status] == [200, 200]
                await mesh.change(text + NOBODY)
                assert [(await first.ask()).status, (await second.ask("web")).status] == [403, 403]
                refused = Kept(*await asyncio.open_connection("127.0.0.1", port))
                assert (await refused.ask()).status == 403
                await mesh.change(text)
                assert (await refused.ask()).status == 200
                assert mesh.rejections == []
                for one in (first, refused):
                    one.writer.close()

    asyncio.run(run())


def test_bytes_are_served_on_while_callers_with_requests_are_sent_elsewhere(tmp_path: Path) -> None:
    """At the end of a workload: nobody could tell its callers of bytes, and each would lose what it has just asked for."""

    async def run() -> None:
        async with server(tmp_path) as at, kept(at.tcp, at.mesh, "client") as bytes_, kept(at.http, at.mesh, "client") as requests:
            assert [(await one.ask()).status for one in (bytes_, requests)] == [200, 200]
            await Admin(str(at.mesh.envoys["sidecar~web"].admin)).drain(inbound=True)
            assert (await requests.ask()).get("connection") == "close"
            assert [(await bytes_.ask()).status for _ in range(3)] == [200] * 3

    asyncio.run(run())


def test_connections_end_in_time_and_no_request_fails(tmp_path: Path) -> None:
    """The client's proxy leaves them by itself; a client that does not is told."""

    async def run() -> None:
        async with server(tmp_path, LIFE) as at, load(at.local, ("/",), connections=2) as pulling:
            connections = f"cluster.outbound|80||{WEB}.upstream_cx_total"
            await eventually(lambda: at.counted("client", connections) > 2)
            async with kept(at.http, at.mesh, "client") as stubborn:
                while (answer := await stubborn.ask()).get("connection") is None:
                    assert answer.status == 200
                assert (answer.status, answer.get("connection")) == (200, "close")
                await stubborn.ended()
            async with http2(at.http2, tls=unverified(at.mesh.pair("client"), "istio", "h2"), name="web") as second:
                assert (await second.ask("web", scheme="https")).status == 200
                await eventually(lambda: second.leaving)
            pulling.stop()
            assert not pulling.failures
            assert pulling.requests

    asyncio.run(run())


def test_streams_and_connections_without_requests_end_in_time_too(tmp_path: Path) -> None:
    async def run() -> None:
        async with server(tmp_path, 2 * LIFE) as at, kept(at.http, at.mesh, "client") as stream, kept(at.tcp, at.mesh, "client") as bytes_:
            upgraded = await stream.ask(("connection", "upgrade"), ("upgrade", "websocket"))
            assert (upgraded.status, (await bytes_.ask()).status) == (101, 200)
            await asyncio.gather(stream.ended(), bytes_.ended())

    asyncio.run(run())


def resumed(port: int, tls: ssl.SSLContext, session: ssl.SSLSession | None = None) -> tuple[bytes, ssl.SSLSession | None]:
    """The first bytes of an answer, empty where there is none, and what the session could be resumed with."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        try:
            with tls.wrap_socket(plain, session=session) as wrapped:
                wrapped.sendall(request_bytes("GET", "/", [("host", "web")]))
                return wrapped.recv(15), wrapped.session
        except OSError:
            return b"", None


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_no_session_is_resumed_with_a_certificate_that_has_expired(tmp_path: Path, version: ssl.TLSVersion) -> None:
    async def run() -> None:
        async with server(tmp_path) as at:
            for life in (2, 20):  # a machine may take longer than a short life for the first call
                tls = unverified(at.mesh.pair("client", life=timedelta(seconds=life)), "istio")
                tls.minimum_version = tls.maximum_version = version
                answer, session = await asyncio.to_thread(resumed, at.http, tls)
                if answer:
                    break
            assert answer == b"HTTP/1.1 200 OK"
            await asyncio.sleep(life + 0.1)  # until the certificate has ended
            assert await asyncio.to_thread(resumed, at.http, tls, session) == (b"", None)

    asyncio.run(run())
