"""From the bytes of a query to those of its answer, or to the question that other resolvers are to be asked.

Answers that are too long for the client lose records from their end, first what was only added; with TC set where the rules say so.
A query that cannot be read is answered with FORMERR if it has a header to answer to, and passed over in silence otherwise:
an answer to an answer could go on for ever.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
from dns.message import Message
from dns.name import Name
from dns.rcode import Rcode

from tulle.dns.question import AskNode, AskQuery, AskService
from tulle.dns.records import Record
from tulle.dns.resolve import ALIASES, Dice, Found, Resolver
from tulle.dns.rules import Rules
from tulle.dns.zone import Gathered, Zone

HEADER = 12
PLAIN_UDP = 512
"""Bytes of an answer over UDP to a client that said nothing else (RFC 1035, 4.2.1)."""
LARGEST_UDP = 65467
LARGEST_TCP = 65535
OUR_PAYLOAD = 1232
"""What we take over UDP ourselves: fits all networks without fragments."""
PLAIN_ANSWERS = 8
"""More answers than this are never given over UDP to a client without EDNS."""
TCP_ADDRESSES = 4096
TCP_OTHERS = 1024
_SMALLEST = 16
"""Bytes of the smallest record, to begin with a number of records that may fit."""
_FORWARDED_CLASSES = (dns.rdataclass.IN, dns.rdataclass.ANY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """Ready to send."""

    wire: bytes
    varies: bool = False
    """Another answer to the same question may have another order, for the sake of balance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Other resolvers are to be asked the client's own question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chase:
    """Other resolvers are to be asked for `question`, a whole query; `finish` then makes the answer of what they said."""

    question: bytes
    query: Message
    found: Found
    tcp: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Gather:
    """This is to be asked for first; then the query is to be answered again, with what was found."""

    asked: AskService | AskNode | AskQuery


Outcome = Reply | Ask | Chase | Gather | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answerer:
    rules: Rules
    dice: Dice

    def answer(self, wire: bytes, zone: Zone, *, tcp: bool, now: int, gathered: Gathered | None = None) -> Outcome:
        """None: silence. Never raises, whatever the bytes are."""
        if len(wire) < HEADER or wire[2] & 0x80:
            return None
        opcode = wire[2] >> 3 & 0xF
        if opcode != dns.opcode.QUERY:
            return Reply(wire=_bare(wire, dns.rcode.NOTIMP))
        query = _read(wire)
        if query is None or len(query.question) != 1:
            return Reply(wire=_bare(wire, dns.rcode.FORMERR))
        return self._answer(query, zone, gathered, tcp=tcp, now=now)

    def _answer(self, query: Message, zone: Zone, gathered: Gathered | None, *, tcp: bool, now: int) -> Outcome:
        (question,) = query.question
        if query.edns > 0:
            return Reply(wire=self._coded(query, dns.rcode.BADVERS))
        if question.rdtype in (dns.rdatatype.AXFR, dns.rdatatype.IXFR):
            return Reply(wire=self._coded(query, dns.rcode.NOTIMP))
        if question.rdclass not in _FORWARDED_CLASSES:
            return Reply(wire=self._coded(query, dns.rcode.REFUSED))
        resolver = Resolver(zone=zone, rules=self.rules, dice=self.dice, now=now, gathered=gathered)
        found = resolver.find(question.name, question.rdtype)
        if found.gather:
            return Gather(asked=found.gather)
        if found.elsewhere:
            return Ask() if self.rules.recursion else Reply(wire=self._coded(query, dns.rcode.REFUSED))
        if not found.answers:
            soa = resolver.soa(mesh=found.mesh)
            return Reply(wire=self._wire(query, found, (soa,), tcp=tcp))
        if found.alias is not None and self.rules.recursion:
            further = dns.message.make_query(found.alias, question.rdtype, id=query.id)
            return Chase(question=further.to_wire(), query=query, found=found, tcp=tcp)
        return Reply(wire=self._wire(query, found, (), tcp=tcp), varies=found.shuffled)

    def finish(self, chase: Chase, reply: bytes | None) -> bytes:
        """The answer to a query whose last name others knew. They may not have answered, or nonsense: then it ends with that name."""
        answers = _answers(reply, chase.found.alias) if reply else ()
        found = Found(answers=(*chase.found.answers, *answers), extra=chase.found.extra, mesh=chase.found.mesh)
        return self._wire(chase.query, found, (), tcp=chase.tcp)

    def failed(self, wire: bytes) -> bytes:
        """The answer where no other resolver would answer."""
        return _bare(wire, dns.rcode.SERVFAIL, recursion=True)

    def _coded(self, query: Message, code: Rcode) -> bytes:
        response = self._response(query)
        response.flags &= ~dns.flags.AA
        response.set_rcode(code)
        return response.to_wire()

    def _response(self, query: Message) -> Message:
        response = dns.message.make_response(query, recursion_available=self.rules.recursion, our_payload=OUR_PAYLOAD, pad=0)
        response.flags |= dns.flags.AA
        if query.edns >= 0:
            response.use_edns(0, 0, OUR_PAYLOAD, query.payload, options=_subnet(query))
        return response

    # Size

    def _wire(self, query: Message, found: Found, authority: Sequence[Record], *, tcp: bool) -> bytes:
        response = self._response(query)
        response.set_rcode(found.rcode)
        response.authority = [record.rrset() for record in authority]
        return self._fitted(response, found, _room(query, tcp=tcp), self._most(query, found, tcp=tcp))

    def _most(self, query: Message, found: Found, *, tcp: bool) -> int:
        """How many answers may be given, whatever their size."""
        if tcp:
            return TCP_ADDRESSES if query.question[0].rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA) else TCP_OTHERS
        if query.edns >= 0 or found.mesh:
            return len(found.answers)
        return min(PLAIN_ANSWERS, self.rules.udp_answer_limit or PLAIN_ANSWERS)

    def _fitted(self, response: Message, found: Found, room: int, most: int) -> bytes:
        """The most answers that fit, with the addresses of the names in them, and with everything else if that fits too."""
        high = min(len(found.answers), most, room // _SMALLEST)
        whole = self._tried(response, found, high, room)
        if whole is not None:
            return whole
        bare = replace(found, extra=tuple(r for r in found.extra if r.type != dns.rdatatype.TXT))
        fitting = bisect_left(range(1, high + 1), True, key=lambda count: self._tried(response, bare, count, room) is None)
        return self._tried(response, bare, fitting, room) or self._tried(response, Found(answers=found.answers), 0, room) or b""

    def _tried(self, response: Message, found: Found, count: int, room: int) -> bytes | None:
        """None when it does not fit."""
        answers = found.answers[:count]
        extra = found.extra if count == len(found.answers) else _belonging(answers, found.extra)
        response.answer = [record.rrset() for record in answers]
        response.additional = [record.rrset() for record in extra]
        cut = count < len(found.answers) and (found.mesh or self.rules.enable_truncate)
        response.flags = response.flags | dns.flags.TC if cut else response.flags & ~dns.flags.TC
        try:
            return response.to_wire(max_size=room, want_shuffle=False)
        except dns.exception.TooBig:
            return None


def _belonging(answers: Sequence[Record], extra: Sequence[Record]) -> tuple[Record, ...]:
    """What was added for the sake of these answers."""
    targets = {getattr(record.data, "target", None) for record in answers}
    return tuple(record for record in extra if record.name in targets)


def _room(query: Message, *, tcp: bool) -> int:
    if tcp:
        return LARGEST_TCP
    return max(PLAIN_UDP, min(query.payload, LARGEST_UDP)) if query.edns >= 0 else PLAIN_UDP


def _subnet(query: Message) -> list[dns.edns.Option]:
    """The client's network, as it said it, with the word that the answer holds for all networks (RFC 7871, 7.2.1)."""
    found = next((option for option in query.options if isinstance(option, dns.edns.ECSOption)), None)
    return [dns.edns.ECSOption(found.address, found.srclen, 0)] if found else []


def _read(wire: bytes) -> Message | None:
    try:
        return dns.message.from_wire(wire)
    except (dns.exception.DNSException, ValueError, IndexError, struct.error):
        return None


def _bare(wire: bytes, code: Rcode, *, recursion: bool = False) -> bytes:
    """An answer to a query that was not read: its header, and its question where there is one that can be copied."""
    question = _question(wire)
    high = 0x80 | wire[2] & 0x79
    low = (0x80 if recursion else 0) | int(code)
    return wire[:2] + bytes((high, low, 0, 1 if question else 0, 0, 0, 0, 0, 0, 0)) + question


def _question(wire: bytes) -> bytes:
    """The bytes of the only question; none where there are several, it is cut off, or the operation gives it another meaning."""
    if wire[4:6] != b"\0\1" or wire[2] & 0x78:
        return b""
    at = HEADER
    while at < len(wire) and 0 < wire[at] < 64:
        at += wire[at] + 1
    end = at + 5
    return wire[HEADER:end] if at - HEADER < 255 and end <= len(wire) and wire[at] == 0 else b""


def _answers(reply: bytes, alias: Name | None) -> tuple[Record, ...]:
    """What other resolvers said of a name: the names that it stands for, as far as we follow them, and records."""
    message = _read(reply)
    if message is None or alias is None or not message.question or message.question[0].name != alias:
        return ()
    found: list[Record] = []
    names = 0
    for rrset in message.answer:
        names += rrset.rdtype == dns.rdatatype.CNAME
        if names <= ALIASES:
            found += (Record(rrset.name, rrset.ttl, data) for data in rrset)
    return tuple(found)
