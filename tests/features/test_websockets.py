"""WebSockets over HTTP/1.1 and HTTP/2, through a gateway and through sidecars, with a server that insists on what RFC 6455 wants."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.exceptions

from support.carried import at
from support.certificates import Ca, tls_secret
from support.compiled import gateway, sidecar
from support.http2_client import Http2, http2
from support.http2_server import http2_server
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import context
from tulle.model.proxy import InboundPort, Node, Upstream
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

CA = Ca()
EDGE = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: PLAIN, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ["*"]}
  - {port: {number: SECURE, name: https, protocol: HTTPS}, bind: 127.0.0.1, hosts: ["*"], tls: {mode: SIMPLE, credentialName: shop}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec: {hosts: ["*"], gateways: [edge], http: [{timeout: LIMIT, route: [{destination: {host: chat}}]}]}
---
"""
PATIENT: dict[str, Any] = {"open_timeout": 60, "ping_timeout": 60, "close_timeout": 60}


def documents(plain: int, secure: int, limit: str) -> str:
    """`limit`: the route's timeout."""
    edge = EDGE.replace("PLAIN", str(plain)).replace("SECURE", str(secure)).replace("LIMIT", limit)
    return edge + tls_secret("shop", CA.issue("shop.example.com"))


@asynccontextmanager
async def chat() -> AsyncIterator[int]:
    """Sends every message back with the path in front."""

    async def handle(connection: Any) -> None:
        async for message in connection:
            await connection.send(f"{connection.request.path} {message}")

    async with websockets.asyncio.server.serve(handle, "127.0.0.1", 0, **PATIENT) as server:
        yield server.sockets[0].getsockname()[1]


def masked(text: str) -> bytes:
    """A client's frame; a mask of zeros changes nothing."""
    return bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text.encode()


async def by_http2(client: Http2, path: str, *said: str) -> list[str]:
    """Opens a WebSocket as browsers do over HTTP/2 (RFC 8441), and what it answers to each message."""
    assert client.takes_extended_connect
    asked = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "chat"), (":path", path)]
    stream, exchange = client.begin([*asked, ("sec-websocket-version", "13")], end=False)
    await exchange.until(lambda e: e.status > 0)
    assert exchange.status == 200
    found = []
    for text in said:
        before = len(exchange.body)
        client.send(stream, masked(text))
        size = 2 + len(f"{path} {text}")
        await exchange.until(lambda e, end=before + size: len(e.body) >= end)  # type: ignore[misc]
        found.append(exchange.body[before + 2 :].decode())
    return found


async def by_http1(url: str, *said: str, tls: ssl.SSLContext | None = None) -> list[str]:
    more = {"ssl": tls, "server_hostname": "shop.example.com"} if tls else {}
    async with websockets.asyncio.client.connect(url, proxy=None, **PATIENT, **more) as connection:
        found = []
        for text in said:
            await connection.send(text)
            found.append(str(await connection.recv()))
        return found


def run(node: Node, text: str, check: Callable[[], Awaitable[None]], *, port: int = 0) -> None:
    async def whole() -> None:
        async with chat() as target, led_mesh(node, text, at("chat", 80, port or target, id="chat")) as mesh:
            assert mesh.rejections == []
            await check()

    asyncio.run(whole())


def test_at_a_gateway() -> None:
    plain, secure = free_port(), free_port()
    text = documents(plain, secure, "60s")

    async def check() -> None:
        wanted = ["/room hello", "/room again"]
        assert await by_http1(f"ws://127.0.0.1:{plain}/room", "hello", "again") == wanted
        assert await by_http1(f"wss://127.0.0.1:{secure}/room", "hello", "again", tls=context(CA)) == wanted
        async with http2(plain) as client:
            assert await by_http2(client, "/room", "hello", "again") == wanted
        async with http2(secure, tls=context(CA, alpn=("h2",)), name="shop.example.com") as client:
            both = await asyncio.gather(by_http2(client, "/room", "hello", "again"), by_http2(client, "/other", "hi"))
            assert both == [wanted, ["/other hi"]], "two of them share a connection"

    run(gateway(), text, check)


def test_a_timeout_is_not_for_what_was_upgraded() -> None:
    """The route's timeout of three seconds is over when the server has agreed."""
    plain = free_port()
    text = documents(plain, free_port(), "3s")

    async def agreed() -> Any:
        """Again where the machine took longer than the route's timeout to agree."""
        async with asyncio.timeout(120):
            while True:
                with suppress(websockets.exceptions.InvalidStatus):
                    return await websockets.asyncio.client.connect(f"ws://127.0.0.1:{plain}/room", proxy=None, **PATIENT)

    async def check() -> None:
        async with await agreed() as connection:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.recv(), 3.3)
            await connection.send("still there")
            assert await connection.recv() == "/room still there"

    run(gateway(), text, check)


def test_through_two_sidecars() -> None:
    """The caller's sidecar and the one of the service, in one proxy: what the first sends comes back in at the second."""
    out, back = free_port(), free_port()

    async def whole() -> None:
        async with chat() as target:
            inbound = InboundPort(service_port=80, listen=back, target=target)
            node = sidecar(app="chat", upstreams=(Upstream(host="chat", port=80, bind_port=out),), inbound=(inbound,))
            async with led_mesh(node, "", at("chat", 80, back, id="chat")) as mesh:
                assert mesh.rejections == []
                assert await by_http1(f"ws://127.0.0.1:{out}/room", "hello") == ["/room hello"]

    asyncio.run(whole())


def test_to_a_service_of_http2() -> None:
    """It stays an extended CONNECT; the service here sends back all that it gets."""
    out, back = free_port(), free_port()

    async def whole() -> None:
        async with http2_server("chat") as target:
            speaks = Protocol.HTTP2
            inbound = InboundPort(service_port=80, listen=back, target=target, protocol=speaks)
            node = sidecar(app="chat", upstreams=(Upstream(host="chat", port=80, bind_port=out),), inbound=(inbound,))
            async with led_mesh(node, "", at("chat", 80, back, id="chat", protocol=speaks)) as mesh:
                assert mesh.rejections == []
                async with http2(out) as client:
                    asked = [
                        (":method", "CONNECT"),
                        (":protocol", "websocket"),
                        (":scheme", "http"),
                        (":authority", "chat"),
                        (":path", "/"),
                    ]
                    stream, exchange = client.begin(asked, end=False)
                    client.send(stream, b"as it is")
                    await exchange.until(lambda e: len(e.body) >= 8)
                    assert (exchange.status, exchange.body) == (200, b"as it is")

    asyncio.run(whole())
