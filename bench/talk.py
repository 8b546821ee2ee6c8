"""Clients and echo servers for what no common load generator speaks: WebSocket, datagrams, HTTP/3. `python -m bench.talk NAME ...`.

A client keeps a number of conversations going, each with one message under way, for some seconds, and prints one line of JSON:
messages a second, the median and the 99th percentile of the round trip in milliseconds, and the number of messages.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvloop
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

MESSAGE = b"sixty-four bytes of text for everyone, there and back again, ok."
Once = Callable[[], Awaitable[None]]


class Tally:
    def __init__(self, seconds: float) -> None:
        self.trips: list[float] = []
        self.begun = time.perf_counter()
        self._end = self.begun + seconds

    async def keep(self, once: Once) -> None:
        """One conversation, until time is up."""
        while (now := time.perf_counter()) < self._end:
            await once()
            self.trips.append(time.perf_counter() - now)

    def line(self) -> str:
        ordered = sorted(self.trips)
        rate = len(ordered) / (time.perf_counter() - self.begun)
        p50, p99 = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
        return json.dumps({"rate": rate, "p50": p50, "p99": p99, "count": len(ordered)})


def _frame(data: bytes) -> bytes:
    """A text frame of a client (RFC 6455, 5.2): masked, and shorter than 126 bytes."""
    mask = os.urandom(4)
    return bytes((0x81, 0x80 | len(data))) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(data))


async def websocket(port: int, host: str, seconds: float, conversations: int) -> str:
    """Frames by hand: a library would cost more than the proxy."""
    tally, frame = Tally(seconds), _frame(MESSAGE)

    async def talk() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="
        writer.write(f"GET /ws HTTP/1.1\r\nhost: {host}\r\n{upgrade}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head:
            raise RuntimeError(head.decode())

        async def once() -> None:
            writer.write(frame)
            await reader.readexactly(2 + len(MESSAGE))

        await tally.keep(once)
        writer.close()

    await asyncio.gather(*(talk() for _ in range(conversations)))
    return tally.line()


class _EchoFrames(asyncio.Protocol):
    """Answers the upgrade, and sends every frame back unmasked."""

    def connection_made(self, transport: Any) -> None:
        self._transport, self._left, self._upgraded = transport, b"", False

    def data_received(self, data: bytes) -> None:
        self._left += data
        if not self._upgraded:
            if b"\r\n\r\n" not in self._left:
                return
            self._upgraded, self._left = True, b""
            # The accept key of the one key that the client above sends.
            key = b"ICX+Yqv66kxgM0FcWaLWlFLwTAI="
            self._transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: "
                + key
                + b"\r\n\r\n"
            )
        while len(self._left) >= 6 and len(self._left) >= (size := 6 + (self._left[1] & 0x7F)):
            mask, body = self._left[2:6], self._left[6:size]
            self._left = self._left[size:]
            self._transport.write(bytes((0x81, len(body))) + bytes(b ^ mask[i % 4] for i, b in enumerate(body)))


class _EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def serve(websockets: int, datagrams: int) -> None:
    """Echo servers on two ports, until it is ended."""
    loop = asyncio.get_running_loop()
    await loop.create_server(_EchoFrames, "127.0.0.1", websockets)
    await loop.create_datagram_endpoint(_EchoDatagrams, ("127.0.0.1", datagrams))
    await asyncio.Event().wait()


class _Asking(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _addr: object) -> None:
        if not self.answer.done():
            self.answer.set_result(data)


async def datagrams(port: int, _host: str, seconds: float, conversations: int) -> str:
    """A lost datagram is given up after a second, and fails the run if it happens often."""
    tally, lost = Tally(seconds), 0
    loop = asyncio.get_running_loop()

    async def talk() -> None:
        transport, asking = await loop.create_datagram_endpoint(_Asking, remote_addr=("127.0.0.1", port), family=socket.AF_INET)

        async def once() -> None:
            nonlocal lost
            asking.answer = loop.create_future()
            transport.sendto(MESSAGE)
            try:
                await asyncio.wait_for(asking.answer, 1.0)
            except TimeoutError:
                lost += 1

        await tally.keep(once)
        transport.close()

    await asyncio.gather(*(talk() for _ in range(conversations)))
    if lost > 10:
        raise RuntimeError(f"{lost} datagrams were lost")
    return tally.line()


class _Http3(QuicConnectionProtocol):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.waiting: dict[int, asyncio.Future[None]] = {}
        self.http = H3Connection(self._quic)

    def quic_event_received(self, event: QuicEvent) -> None:
        for got in self.http.handle_event(event):
            if got.stream_ended and (one := self.waiting.pop(got.stream_id, None)):
                one.set_result(None)
            elif isinstance(got, HeadersReceived) and dict(got.headers)[b":status"] != b"200":
                raise RuntimeError(str(got.headers))

    async def once(self, host: str) -> None:
        stream = self._quic.get_next_available_stream_id()
        self.waiting[stream] = asyncio.get_running_loop().create_future()
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", "/")]
        self.http.send_headers(stream, [(k.encode(), v.encode()) for k, v in fields], end_stream=True)
        self.transmit()
        await self.waiting[stream]


async def http3(port: int, host: str, seconds: float, conversations: int) -> str:
    """One connection for every eight requests under way."""
    tally = Tally(seconds)

    async def talk() -> None:
        told = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name=host)
        async with connect("127.0.0.1", port, configuration=told, create_protocol=_Http3) as client:
            assert isinstance(client, _Http3)
            await asyncio.gather(*(tally.keep(partial(client.once, host)) for _ in range(8)))

    await asyncio.gather(*(talk() for _ in range(max(1, conversations // 8))))
    return tally.line()


CLIENTS = {"websocket": websocket, "udp": datagrams, "http3": http3}


def main(arguments: list[str]) -> None:
    if arguments[0] == "serve":
        uvloop.run(serve(int(arguments[1]), int(arguments[2])))
    else:
        name, port, host, seconds, conversations = arguments
        print(uvloop.run(CLIENTS[name](int(port), host, float(seconds), int(conversations))))


if __name__ == "__main__":
    main(sys.argv[1:])
