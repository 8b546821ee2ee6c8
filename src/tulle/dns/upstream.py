"""Other resolvers, asked for what is not ours to answer."""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Sequence

from tulle.logs import Log
from tulle.settings import Address

PATIENCE = 2.0
"""Seconds for each resolver."""
AT_ONCE = 512
"""Questions under way; further ones fail at once, so that a slow resolver cannot fill the memory."""
_GOOD = (0, 3)
"""NOERROR and NXDOMAIN are answers; with anything else the next resolver is asked."""

_log = Log("dns")


class Upstream:
    """Asks one resolver after the other."""

    def __init__(self, resolvers: Sequence[Address]) -> None:
        self.resolvers = tuple(resolvers)
        self._under_way = 0

    async def ask(self, query: bytes, *, tcp: bool) -> bytes | None:
        """The first good answer, with the id of the query; None when nobody has one. A query is at least a header long."""
        if self._under_way >= AT_ONCE:
            return None
        self._under_way += 1
        try:
            for resolver in self.resolvers:
                answer = await self._ask(resolver, query, tcp=tcp)
                if answer is not None and answer[3] & 0xF in _GOOD:
                    return query[:2] + answer[2:]
        finally:
            self._under_way -= 1
        return None

    async def _ask(self, resolver: Address, query: bytes, *, tcp: bool) -> bytes | None:
        # An id that nobody can guess, and a port of its own: an answer that someone else sends is not believed.
        asked = secrets.token_bytes(2) + query[2:]
        try:
            async with asyncio.timeout(PATIENCE):
                return await (_over_tcp(resolver, asked) if tcp else _over_udp(resolver, asked))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            _log.debug("a resolver does not answer", resolver=str(resolver), error=str(error) or type(error).__name__)
            return None


class _OneAnswer(asyncio.DatagramProtocol):
    def __init__(self, query: bytes) -> None:
        self._query = query
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _addr: object) -> None:
        if not self.answer.done() and answers(self._query, data):
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


def answers(query: bytes, data: bytes) -> bool:
    """Whether this is an answer to the query: same id, and the same question but for capitals."""
    end = question_end(query)
    return len(data) >= end and data[:2] == query[:2] and bool(data[2] & 0x80) and data[12:end].lower() == query[12:end].lower()


def question_end(query: bytes) -> int:
    """Where the question of a query that was read before ends."""
    at = 12
    while at < len(query) and query[at]:
        at += query[at] + 1
    return at + 5


async def _over_udp(resolver: Address, query: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(lambda: _OneAnswer(query), remote_addr=(resolver.host, resolver.port))
    try:
        transport.sendto(query)
        return await protocol.answer
    finally:
        transport.close()


async def _over_tcp(resolver: Address, query: bytes) -> bytes | None:
    reader, writer = await asyncio.open_connection(resolver.host, resolver.port)
    try:
        writer.write(struct.pack("!H", len(query)) + query)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        data = await reader.readexactly(length)
        return data if answers(query, data) else None
    finally:
        writer.close()
