"""The DNS port, over UDP and TCP.

In front stands a cache of whole answers by whole questions: everything but the id, so that flags, EDNS and type tell questions apart. It is
emptied when the zone changes, and now and then, since answers bear the time. Answers whose order is left to chance are kept in several
orders, given out in turn.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

from tulle.dns.answer import HEADER, Answerer, Ask, Chase, Gather, Outcome, Reply
from tulle.dns.question import AskNode, AskQuery, AskService
from tulle.dns.resolve import Dice
from tulle.dns.rules import Rules
from tulle.dns.sockets import Sockets
from tulle.dns.upstream import Upstream
from tulle.dns.zone import Gathered, Zone
from tulle.logs import Log

CACHED = 4096
"""Questions in each cache."""
ORDERS = 16
"""Orders of one answer."""
FRESH = 10.0
"""Seconds after which all answers are made anew."""
CONNECTIONS = 1024
"""TCP clients at once; more are turned away."""
IDLE = 30.0
"""Seconds after which a silent TCP client is let go."""

_log = Log("dns")
Send = Callable[[bytes], None]
Gatherer = Callable[[AskService | AskNode | AskQuery], Awaitable[Gathered]]
"""Asks another datacenter, or a prepared query. Raises OSError when there is no answer."""
GATHERED_AT_ONCE = 256
"""Further questions fail at once, so that a slow datacenter cannot fill the memory."""
PATIENCE = 5.0
"""Seconds for what has to be asked for first."""


async def nobody(asked: AskService | AskNode | AskQuery) -> Gathered:
    """Where there is nobody to ask."""
    return Gathered(asked=asked, datacenter="")


class _Orders:
    """The answers to one question, given out in turn once there are enough of them."""

    __slots__ = ("_bodies", "_turn", "_wanted")

    def __init__(self) -> None:
        self._bodies: list[bytes] = []
        self._turn = 0
        self._wanted = ORDERS

    def add(self, body: bytes, *, varies: bool) -> None:
        self._bodies.append(body)
        if not varies:
            self._wanted = 1

    def next(self) -> bytes | None:
        """None while more are wanted."""
        if len(self._bodies) < self._wanted:
            return None
        self._turn = (self._turn + 1) % len(self._bodies)
        return self._bodies[self._turn]


class DnsServer:
    """`zone` gives the zone as it is now; `changed` is to be called when it may give another."""

    def __init__(self, answerer: Answerer, zone: Callable[[], Zone], upstream: Upstream, gather: Gatherer = nobody) -> None:
        self._answerer = answerer
        self._zone = zone
        self._upstream = upstream
        self._gather = gather
        self._caches: tuple[dict[bytes, _Orders], dict[bytes, _Orders]] = ({}, {})
        self._current: Zone | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._gathering = 0
        self._tasks: asyncio.TaskGroup

    def changed(self) -> None:
        self._current = None
        self._forget()

    async def serve(self, sockets: Sockets) -> None:
        """Until it is cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as self._tasks:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=sockets.udp)
            server = await asyncio.start_server(self._connected, sock=sockets.tcp)
            try:
                while True:
                    await asyncio.sleep(FRESH)
                    self._forget()
            finally:
                transport.close()
                server.close()
                for writer in self._writers:
                    writer.close()

    def _forget(self) -> None:
        for cache in self._caches:
            cache.clear()

    # Answers

    def cached(self, query: bytes, *, tcp: bool) -> bytes | None:
        orders = self._caches[tcp].get(query[2:])
        body = orders.next() if orders else None
        return None if body is None else query[:2] + body

    def answer(self, query: bytes, send: Send, *, tcp: bool) -> None:
        """Calls `send` now, later, or not at all."""
        outcome = self._outcome(query, tcp=tcp)
        if isinstance(outcome, Reply):
            self._remember(query, outcome, tcp=tcp)
            send(outcome.wire)
        elif outcome is not None:
            self._tasks.create_task(self._ask(query, outcome, send, tcp=tcp))

    def _outcome(self, query: bytes, *, tcp: bool) -> Outcome:
        try:
            if self._current is None:
                self._current = self._zone()
            return self._answerer.answer(query, self._current, tcp=tcp, now=int(time.time()))
        except Exception:  # noqa: BLE001 - the pump: whatever one query brings about, the next is served
            _log.exception("a query could not be answered", query=query[:300].hex())
            return Reply(wire=self._answerer.failed(query)) if len(query) >= HEADER else None

    def _remember(self, query: bytes, reply: Reply, *, tcp: bool) -> None:
        cache = self._caches[tcp]
        if len(cache) >= CACHED:
            cache.clear()
        cache.setdefault(query[2:], _Orders()).add(reply.wire[2:], varies=reply.varies)

    async def _ask(self, query: bytes, outcome: Ask | Chase | Gather, send: Send, *, tcp: bool) -> None:
        try:
            told = await self._gathered(query, outcome, tcp=tcp) if isinstance(outcome, Gather) else outcome
            if isinstance(told, Reply):
                send(told.wire)
            elif isinstance(told, Chase):
                send(self._answerer.finish(told, await self._upstream.ask(told.question, tcp=tcp)))
            else:
                send(await self._upstream.ask(query, tcp=tcp) or self._answerer.failed(query))
        except Exception:  # noqa: BLE001 - the pump: whatever one query brings about, the next is served
            _log.exception("a query could not be answered with the help of others", query=query[:300].hex())

    async def _gathered(self, query: bytes, outcome: Gather, *, tcp: bool) -> Reply | Ask | Chase:
        """The outcome once what it takes is there; a failure where that cannot be had."""
        failed = Reply(wire=self._answerer.failed(query))
        if self._gathering >= GATHERED_AT_ONCE:
            return failed
        self._gathering += 1
        try:
            async with asyncio.timeout(PATIENCE):
                gathered = await self._gather(outcome.asked)
        except (OSError, TimeoutError) as error:
            _log.debug("what a question takes cannot be had", error=str(error) or type(error).__name__)
            return failed
        finally:
            self._gathering -= 1
        again = self._answerer.answer(query, self._zone(), tcp=tcp, now=int(time.time()), gathered=gathered)
        return failed if again is None or isinstance(again, Gather) else again

    # TCP

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._writers) >= CONNECTIONS:
            writer.close()
            return
        self._writers.add(writer)
        self._tasks.create_task(self._converse(reader, writer))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def send(reply: bytes) -> None:
            if not writer.is_closing():
                writer.write(struct.pack("!H", len(reply)) + reply)

        try:
            while query := await _next(reader):
                if reply := self.cached(query, tcp=True):
                    send(reply)
                else:
                    self.answer(query, send, tcp=True)
                async with asyncio.timeout(IDLE):
                    await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # the client is gone, or might as well be
        finally:
            self._writers.discard(writer)
            writer.close()


async def _next(reader: asyncio.StreamReader) -> bytes:
    """A query of a TCP client (RFC 1035, 4.2.2). Raises IncompleteReadError at the end of the connection, TimeoutError after silence."""
    async with asyncio.timeout(IDLE):
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return await reader.readexactly(length)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if reply := self._server.cached(data, tcp=False):
            self._transport.sendto(reply, addr)
        else:
            self._server.answer(data, lambda answer: self._send(answer, addr), tcp=False)

    def _send(self, answer: bytes, addr: tuple[str | Any, int]) -> None:
        if not self._transport.is_closing():
            self._transport.sendto(answer, addr)


def server(rules: Rules, dice: Dice, zone: Callable[[], Zone], upstream: Upstream, gather: Gatherer) -> DnsServer:
    return DnsServer(Answerer(rules=rules, dice=dice), zone, upstream, gather)
