"""What does not end with one answer: server-sent events, gRPC streams in both directions, CONNECT; and HTTP/2 in plain text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from support import grpc_echo
from support.carried import at
from support.certificates import Ca, tls_secret
from support.compiled import gateway, sidecar
from support.exchange import Exchange
from support.http2_client import http2
from support.http2_server import http2_server
from support.http3_client import http3
from support.led_mesh import led_mesh
from support.raw_http import read_head, request_bytes
from support.running import free_port
from support.tls_client import context, program
from tulle.model.proxy import InboundPort, Upstream
from tulle.model.service import Protocol, Registration

pytestmark = pytest.mark.envoy

CA = Ca()
EDGE = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, annotations: {tulle.dev/http3: "true"}}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: PLAIN, name: http, protocol: HTTP}, bind: 127.0.0.1, hosts: ["*"]}
  - {port: {number: SECURE, name: https, protocol: HTTPS}, bind: 127.0.0.1, hosts: ["*"], tls: {mode: SIMPLE, credentialName: shop}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - {match: [{uri: {prefix: /test.Other/}}], route: [{destination: {host: two}}]}
  - {match: [{uri: {exact: /test.Echo/Count}}], route: [{destination: {host: two}}]}
  - {match: [{uri: {prefix: /test.Echo/}}], route: [{destination: {host: one}}]}
  - {match: [{uri: {prefix: /short}}], timeout: 8s, route: [{destination: {host: feed}}]}
  - {route: [{destination: {host: feed}}]}
---
"""


class Ports:
    def __init__(self) -> None:
        self.plain, self.secure, self.out, self.back = (free_port() for _ in range(4))

    def text(self) -> str:
        return EDGE.replace("PLAIN", str(self.plain)).replace("SECURE", str(self.secure)) + tls_secret("shop", CA.issue("shop.example.com"))


@asynccontextmanager
async def at_a_gateway(ports: Ports, *instances: Registration) -> AsyncIterator[None]:
    async with led_mesh(gateway(), ports.text(), *instances) as mesh:
        assert mesh.rejections == []
        yield


class Feed:
    """Server-sent events, each when the test says so."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.port = 0
        self.open: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(asyncio.current_task())
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\nconnection: close\r\n\r\n")
        while data := await self.events.get():
            writer.write(b"data: %s\n\n" % data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def stop(self) -> None:
        """Ends the streams that nobody ended."""
        for task in self.open:
            self.events.put_nowait(b"")
            assert task
            await task


@asynccontextmanager
async def feed() -> AsyncIterator[Feed]:
    made = Feed()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made
        await made.stop()


async def events_by_http1(port: int, source: Feed) -> list[bytes]:
    """Each event is sent only when the one before has arrived."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request_bytes("GET", "/events", [("host", "feed"), ("accept", "text/event-stream")]))
    _, headers = await read_head(reader)
    assert ("content-type", "text/event-stream") in headers
    found = []
    for event in (b"one", b"two"):
        source.events.put_nowait(event)
        async with asyncio.timeout(60):
            while not (line := await reader.readline()).startswith(b"data:"):
                """The lines of chunks are in between."""
        found.append(line.strip())
    source.events.put_nowait(b"")
    writer.close()
    return found


async def events_by_frames(client: Any, source: Feed) -> Exchange:
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "feed"), (":path", "/events")]
    _, exchange = client.begin(fields)
    for event in (b"one", b"two"):
        source.events.put_nowait(event)
        await exchange.until(lambda e, event=event: event in e.body)
        assert not exchange.ended
    source.events.put_nowait(b"")
    return await exchange.until()


def test_events_arrive_as_they_are_sent(tmp_path: Path) -> None:
    async def run() -> None:
        ports = Ports()
        async with feed() as source, at_a_gateway(ports, at("feed", 80, source.port, id="feed")):
            assert await events_by_http1(ports.plain, source) == [b"data: one", b"data: two"]
            async with http2(ports.secure, tls=context(CA, alpn=("h2",)), name="shop.example.com") as client:
                assert (await events_by_frames(client, source)).body == b"data: one\n\ndata: two\n\n"
            async with http3(ports.secure, "shop.example.com", ca=CA.write(tmp_path)) as client:
                assert (await events_by_frames(client, source)).body == b"data: one\n\ndata: two\n\n"

    asyncio.run(run())


def test_events_pass_two_sidecars() -> None:
    async def run() -> None:
        ports = Ports()
        async with feed() as source:
            inbound = InboundPort(service_port=80, listen=ports.back, target=source.port)
            node = sidecar(app="feed", upstreams=(Upstream(host="feed", port=80, bind_port=ports.out),), inbound=(inbound,))
            async with led_mesh(node, "", at("feed", 80, ports.back, id="feed")):
                assert await events_by_http1(ports.out, source) == [b"data: one", b"data: two"]

    asyncio.run(run())


def test_a_timeout_ends_a_stream_of_events() -> None:
    """As it does in Istio: it counts from the request to the end of the answer. Rules for events have none."""

    async def run() -> None:
        ports = Ports()
        async with feed() as source, at_a_gateway(ports, at("feed", 80, source.port, id="feed")), http2(ports.plain) as client:
            source.events.put_nowait(b"one")
            cut = await client.ask("feed", "/short")
            assert (cut.status, cut.body) == (200, b"data: one\n\n")
            assert cut.reset is not None

    asyncio.run(run())


@contextmanager
def talkers() -> Iterator[tuple[Registration, ...]]:
    servers = {name: grpc_echo.serve(name, 0) for name in ("one", "two")}
    try:
        yield tuple(at(name, 7000, port, id=name, protocol=Protocol.GRPC) for name, (_, port) in servers.items())
    finally:
        for server, _ in servers.values():
            server.stop(None).wait()


async def talk(channel: grpc.aio.Channel, service: str) -> list[bytes]:
    """Each message is sent only when the answer to the one before has come."""
    call = channel.stream_stream(f"/test.{service}/Talk")(timeout=60)
    found = []
    for text in (b"a", b"b", b"c"):
        await call.write(text)
        found.append(await call.read())
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return found


def test_grpc_streams_are_routed_by_service_and_method() -> None:
    options = (("grpc.enable_http_proxy", 0),)

    async def run(instances: tuple[Registration, ...]) -> None:
        ports = Ports()
        async with at_a_gateway(ports, *instances):
            secure = grpc.ssl_channel_credentials(CA.pem)
            named = (*options, ("grpc.ssl_target_name_override", "shop.example.com"))
            for channel in (
                grpc.aio.insecure_channel(f"127.0.0.1:{ports.plain}", options=options),
                grpc.aio.secure_channel(f"127.0.0.1:{ports.secure}", secure, options=named),
            ):
                async with channel:
                    assert await talk(channel, "Echo") == [b"one:a", b"one:b", b"one:c"]
                    assert await talk(channel, "Other") == [b"two:a", b"two:b", b"two:c"]
                    assert [m async for m in channel.unary_stream("/test.Echo/Count")(b"3", timeout=60)] == [b"two:0", b"two:1", b"two:2"]
                    assert await channel.stream_unary("/test.Echo/Sum")(iter([b"1", b"2"]), timeout=60) == b"one:1+2"
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await channel.unary_unary("/test.Echo/Nothing")(b"", timeout=60)
                    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED, "trailers come through"

    with talkers() as instances:
        asyncio.run(run(instances))


def test_grpc_over_http3(tmp_path: Path) -> None:
    """Framed by hand: gRPC's own clients do not speak HTTP/3. Its answers end in trailers."""

    async def run(instances: tuple[Registration, ...]) -> None:
        ports = Ports()
        async with at_a_gateway(ports, *instances), http3(ports.secure, "shop.example.com", ca=CA.write(tmp_path)) as client:
            headers = [("content-type", "application/grpc"), ("te", "trailers")]
            message = b"\0" + (5).to_bytes(4, "big") + b"hello"
            answer = await client.ask("shop.example.com", "/test.Other/Say", method="POST", headers=headers, body=message)
            assert answer.body == b"\0" + (9).to_bytes(4, "big") + b"two:hello"
            assert ("grpc-status", "0") in answer.trailers

    with talkers() as instances:
        asyncio.run(run(instances))


def test_http2_in_plain_text_on_both_sides() -> None:
    """The service knows nothing else, whatever the caller speaks."""

    async def run() -> None:
        ports = Ports()
        async with http2_server("feed") as target:
            speaks = Protocol.HTTP2
            inbound = InboundPort(service_port=80, listen=ports.back, target=target, protocol=speaks)
            node = sidecar(app="feed", upstreams=(Upstream(host="feed", port=80, bind_port=ports.out),), inbound=(inbound,))
            far = at("feed", 80, target, id="feed", protocol=speaks)
            beside = at("feed", 80, ports.back, id="feed", protocol=speaks)
            async with at_a_gateway(ports, far), led_mesh(node, "", beside):
                for port in (ports.plain, ports.out):
                    for option in ("--http1.1", "--http2", "--http2-prior-knowledge"):
                        _, said = await program("curl", "-s", option, "-D", "-", f"http://127.0.0.1:{port}/")
                        assert re.search(r"(?m)^x-name: feed\r$", said), said

    asyncio.run(run())


def test_connect_by_http2_through_the_callers_sidecar() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data.upper())
        writer.close()

    async def run() -> None:
        port = free_port()
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            far = at("far", 5000, server.sockets[0].getsockname()[1], id="far", protocol=Protocol.TCP)
            node = replace(sidecar(app="caller"), http_proxy=("127.0.0.1", port))
            async with led_mesh(node, "", far) as mesh, http2(port) as client:
                assert mesh.rejections == []
                stream, exchange = client.begin([(":method", "CONNECT"), (":authority", "far:5000")], end=False)
                await exchange.until(lambda e: e.status > 0)
                assert exchange.status == 200
                for text in (b"hello", b"again"):
                    client.send(stream, text)
                    await exchange.until(lambda e, text=text: text.upper() in e.body)

    asyncio.run(run())


def test_many_streams_of_h2load() -> None:
    async def run() -> None:
        ports = Ports()
        async with http2_server("feed") as target, at_a_gateway(ports, at("feed", 80, target, id="feed", protocol=Protocol.HTTP2)):
            for url in (f"http://127.0.0.1:{ports.plain}/", f"https://127.0.0.1:{ports.secure}/"):
                _, said = await program("h2load", "-n", "300", "-c", "3", "-m", "20", url)
                assert "300 succeeded, 0 failed" in said, said

    asyncio.run(run())
