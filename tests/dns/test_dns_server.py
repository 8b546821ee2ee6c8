"""The port as clients use it: another's resolver library, `dig`, and clients that do not keep to the rules."""

from __future__ import annotations

import asyncio
import random
import shutil
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import dns.asyncquery
import dns.flags
import dns.message
import dns.rrset
import pytest

from support.zones import INSTANCES, RULES, code, query, texts, zone
from tulle.dns.answer import Answerer
from tulle.dns.rules import Rules
from tulle.dns.server import DnsServer
from tulle.dns.sockets import DnsListenError, listen
from tulle.dns.upstream import Upstream
from tulle.dns.zone import Zone
from tulle.model.service import Health
from tulle.settings import Address

LOCAL = Address(host="127.0.0.1", port=0)
PATIENCE = 60.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still for a while makes nobody ask the next resolver."""
    monkeypatch.setattr("tulle.dns.upstream.PATIENCE", PATIENCE)


class Running:
    def __init__(self, server: DnsServer, port: int) -> None:
        self.server = server
        self.port = port

    async def udp(self, name: str, type_: str = "A", **options: int) -> dns.message.Message:
        return await dns.asyncquery.udp(query(name, type_, **options), "127.0.0.1", port=self.port, timeout=PATIENCE)

    async def tcp(self, name: str, type_: str = "A") -> dns.message.Message:
        return await dns.asyncquery.tcp(query(name, type_), "127.0.0.1", port=self.port, timeout=PATIENCE)

    async def dig(self, *words: str) -> str:
        command = ("dig", "@127.0.0.1", "-p", str(self.port), "+tries=1", "+time=60", *words)
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        return output.decode()


@asynccontextmanager
async def running(source: Callable[[], Zone] = zone, rules: Rules = RULES, *resolvers: Address) -> AsyncIterator[Running]:
    server = DnsServer(Answerer(rules=rules, dice=random.Random(7)), source, Upstream(resolvers))
    sockets = listen(LOCAL)
    port = sockets.port
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(server.serve(sockets))
        yield Running(server, port)
        serving.cancel()


def test_both_ways_in() -> None:
    async def main() -> None:
        async with running() as port:
            for ask in (port.udp, port.tcp):
                assert set(texts((await ask("web.service.consul")).answer)) == {"A 10.0.0.1", "A 10.9.9.9"}
                assert code(await ask("nobody.service.consul")) == "NXDOMAIN"
            assert len(texts((await port.udp("many.service.consul")).answer)) == 3
            assert len(texts((await port.tcp("many.service.consul")).answer)) == 200

    asyncio.run(main())


def test_answers_of_before_are_forgotten_at_a_change() -> None:
    async def main() -> None:
        now = [zone()]
        async with running(lambda: now[0]) as port:
            for _ in range(40):
                assert len(texts((await port.udp("web.service.consul")).answer)) == 2
            now[0] = zone(instances=[replace(i, status=Health.CRITICAL) if i.id == "web-1" else i for i in INSTANCES])
            port.server.changed()
            for _ in range(40):
                assert texts((await port.udp("web.service.consul")).answer) == ["A 10.9.9.9"]

    asyncio.run(main())


def test_remembered_answers_differ_by_flags_type_size_and_case() -> None:
    async def main() -> None:
        async with running() as port:
            for _ in range(3):
                assert len(texts((await port.udp("many.service.consul")).answer)) == 3
                assert len(texts((await port.udp("many.service.consul", edns=4096)).answer)) == 200
                assert code(await port.udp("alpha.node.consul", "AAAA")) == "NOERROR"
                assert len((await port.udp("alpha.node.consul")).answer) == 1
                assert str((await port.udp("aLpHa.NODE.consul")).question[0].name) == "aLpHa.NODE.consul."
                plain = query("alpha.node.consul")
                plain.flags &= ~dns.flags.RD
                answer = await dns.asyncquery.udp(plain, "127.0.0.1", port=port.port, timeout=PATIENCE)
                assert not answer.flags & dns.flags.RD
                assert (await port.udp("alpha.node.consul")).flags & dns.flags.RD

    asyncio.run(main())


def test_remembered_answers_still_spread_the_load() -> None:
    async def main() -> None:
        async with running() as port:
            firsts = Counter([texts((await port.udp("many.service.consul")).answer)[0] for _ in range(200)])
            assert len(firsts) >= 8
            assert max(firsts.values()) < 100

    asyncio.run(main())


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed")
def test_dig() -> None:
    async def main() -> None:
        async with running(rules=Rules(enable_truncate=True)) as port:
            assert await port.dig("+short", "v1.web.service.consul") == "10.0.0.1\n"
            assert (await port.dig("+short", "_web._v2.service.consul", "SRV")).strip() == "1 3 8081 0a090909.addr.dc1.consul."
            assert await port.dig("+short", "-x", "10.0.0.1") == "Alpha.node.dc1.consul.\n"
            assert "status: NXDOMAIN" in await port.dig("nobody.service.consul")
            assert "status: REFUSED" in await port.dig("example.com")
            assert "status: NOTIMP" in await port.dig("+opcode=notify", "consul", "SOA")
            again = await port.dig("+noedns", "+notcp", "many.service.consul")
            assert ("retrying in TCP mode" in again, "ANSWER: 200," in again) == (True, True)
            assert "Got bad packet" not in await port.dig("+subnet=192.0.2.0/24", "many.service.consul", "SRV")

    asyncio.run(main())


def test_nonsense_over_udp_harms_nobody() -> None:
    async def main() -> None:
        async with running() as port:
            dice = random.Random(11)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                good = query("web.service.consul", edns=1232).to_wire()
                for _ in range(100):  # as many as the kernel keeps for us at any rate
                    wire = bytearray(good)
                    wire[dice.randrange(len(wire))] = dice.randrange(256)
                    sender.sendto(bytes(wire[: dice.randrange(len(wire) + 1)]), ("127.0.0.1", port.port))
            assert code(await port.udp("web.service.consul")) == "NOERROR"

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"\0", b"\0\0", b"\0\x05short", b"\xff\xffnot that long", b"\0\x0c" + b"\0" * 12])
def test_nonsense_over_tcp_harms_nobody(sent: bytes) -> None:
    async def main() -> None:
        async with running() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
            writer.write(sent)
            writer.write_eof()
            async with asyncio.timeout(PATIENCE):
                answer = await reader.read()
            assert len(answer) in (0, 14)
            writer.close()
            assert code(await port.tcp("web.service.consul")) == "NOERROR"

    asyncio.run(main())


def test_many_queries_on_one_connection_in_any_pieces() -> None:
    async def main() -> None:
        async with running() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
            asked = [query("web.service.consul"), query("nobody.service.consul"), query("alpha.node.consul")]
            for byte in b"".join(struct.pack("!H", len(q.to_wire())) + q.to_wire() for q in asked):
                writer.write(bytes([byte]))
                await writer.drain()
            for one in asked:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
                assert dns.message.from_wire(await reader.readexactly(length)).id == one.id
            writer.close()

    asyncio.run(main())


class Elsewhere(asyncio.DatagramProtocol):
    """Another resolver, which answers every question alike."""

    def __init__(self, rcode: int = 0, address: str = "192.0.2.7", *, forged: bool = False, silent: bool = False) -> None:
        self.asked: list[str] = []
        self._rcode, self._address, self._forged, self._silent = rcode, address, forged, silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        asked = dns.message.from_wire(data)
        self.asked.append(str(asked.question[0].name))
        if self._silent:
            return
        answer = dns.message.make_response(asked)
        answer.set_rcode(dns.rcode.Rcode(self._rcode))
        if not self._rcode:
            answer.answer.append(dns.rrset.from_text(asked.question[0].name, 60, "IN", "A", self._address))
        if self._forged:
            answer.id ^= 1
        self._transport.sendto(answer.to_wire(), addr)  # type: ignore[attr-defined]


@asynccontextmanager
async def elsewhere(resolver: Elsewhere) -> AsyncIterator[Address]:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: resolver, local_addr=("127.0.0.1", 0))
    yield Address(host="127.0.0.1", port=transport.get_extra_info("sockname")[1])
    transport.close()


RECURSIVE = Rules(recursion=True)


def test_what_others_know_is_asked_of_others() -> None:
    async def main() -> None:
        failing, good = Elsewhere(rcode=2), Elsewhere()
        async with elsewhere(failing) as first, elsewhere(good) as second, running(zone, RECURSIVE, first, second) as port:
            answer = await port.udp("example.com")
            assert texts(answer.answer) == ["A 192.0.2.7"]
            assert texts((await port.udp("far.service.consul")).answer) == ["CNAME far.example.com.", "A 192.0.2.7"]
            assert texts((await port.udp("v1.web.service.consul")).answer) == ["A 10.0.0.1"]
            assert good.asked == failing.asked == ["example.com.", "far.example.com."]

    asyncio.run(main())


def test_no_such_name_elsewhere_is_an_answer() -> None:
    async def main() -> None:
        missing, other = Elsewhere(rcode=3), Elsewhere()
        async with elsewhere(missing) as first, elsewhere(other) as second, running(zone, RECURSIVE, first, second) as port:
            assert code(await port.udp("example.com")) == "NXDOMAIN"
            assert other.asked == []

    asyncio.run(main())


@asynccontextmanager
async def elsewhere_over_tcp(address: str = "192.0.2.8") -> AsyncIterator[Address]:
    """A resolver that takes TCP only."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        asked = dns.message.from_wire(await reader.readexactly(length))
        answer = dns.message.make_response(asked)
        answer.answer.append(dns.rrset.from_text(asked.question[0].name, 60, "IN", "A", address))
        wire = answer.to_wire()
        writer.write(struct.pack("!H", len(wire)) + wire)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1])


def test_what_is_asked_over_tcp_is_asked_of_others_over_tcp_and_of_the_next_where_one_is_away() -> None:
    async def main() -> None:
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            away = Address(host="127.0.0.1", port=nobody.getsockname()[1])
            async with elsewhere_over_tcp() as second, running(zone, RECURSIVE, away, second) as port:
                assert texts((await port.tcp("example.com")).answer) == ["A 192.0.2.8"]
                assert texts((await port.tcp("far.service.consul")).answer) == ["CNAME far.example.com.", "A 192.0.2.8"]

    asyncio.run(main())


def test_nobody_elsewhere_answers() -> None:
    async def main() -> None:
        async with elsewhere(Elsewhere(rcode=5)) as first, running(zone, RECURSIVE, first) as port:
            answer = await port.udp("example.com")
            assert (code(answer), bool(answer.flags & dns.flags.RA)) == ("SERVFAIL", True)
            over_tcp = await port.tcp("example.com")
            assert code(over_tcp) == "SERVFAIL"

    asyncio.run(main())


def test_an_answer_that_was_not_asked_for_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> list[str]:
        async with (
            elsewhere(Elsewhere(address="192.0.2.66", forged=True)) as first,
            elsewhere(Elsewhere()) as second,
            running(zone, RECURSIVE, first, second) as port,
        ):
            return texts((await port.udp("example.com")).answer)

    for seconds in (1.0, 20.0):  # the second resolver, too, has no longer than the first
        monkeypatch.setattr("tulle.dns.upstream.PATIENCE", seconds)
        if found := asyncio.run(main()):
            break
    assert found == ["A 192.0.2.7"]


def test_a_port_that_is_taken() -> None:
    sockets = listen(LOCAL)
    try:
        with pytest.raises(DnsListenError, match=rf"cannot listen on 127.0.0.1:{sockets.port} for DNS: .*--dns HOST:PORT"):
            listen(Address(host="127.0.0.1", port=sockets.port))
    finally:
        sockets.close()
