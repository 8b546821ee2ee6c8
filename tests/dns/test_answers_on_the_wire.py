"""Sizes, flags and the bytes of queries that no one should send."""

from __future__ import annotations

import random

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.zones import NOW, RULES, ask, code, query, texts, zone
from tulle.dns.answer import Answerer, Ask, Chase, Reply
from tulle.dns.rules import Rules

ZONE = zone()
ANSWERER = Answerer(rules=Rules(), dice=random.Random(5))
CUT = Rules(enable_truncate=True)


def reply(wire: bytes, *, tcp: bool = False, rules: Rules = RULES) -> Reply | None:
    found = Answerer(rules=rules, dice=random.Random(5)).answer(wire, ZONE, tcp=tcp, now=NOW)
    assert found is None or isinstance(found, Reply)
    return found


@pytest.mark.parametrize(("rules", "told"), [(Rules(), False), (CUT, True)])
def test_few_answers_to_a_client_that_says_nothing_of_its_size(rules: Rules, told: bool) -> None:
    answer = ask("many.service.consul", rules=rules)
    assert (len(texts(answer.answer)), bool(answer.flags & dns.flags.TC)) == (3, told)


def test_the_limit_of_answers_is_eight_at_most() -> None:
    assert len(texts(ask("many.service.consul", rules=Rules(udp_answer_limit=50)).answer)) == 8
    assert len(texts(ask("many.service.consul", rules=Rules(udp_answer_limit=2)).answer)) == 2


@pytest.mark.parametrize("size", [512, 600, 1232, 4096, 65535])
@pytest.mark.parametrize("type_", ["A", "SRV", "ANY"])
def test_answers_fit_the_client(size: int, type_: str) -> None:
    answer = ask("many.service.consul", type_, edns=size, rules=CUT)
    length = len(answer.to_wire())
    assert length <= size
    complete = len(texts(answer.answer)) == 200
    assert bool(answer.flags & dns.flags.TC) is not complete
    assert complete or length > size - 80, "one more would have fitted"
    assert size < 4096 or type_ != "A" or complete


def test_every_port_that_is_given_comes_with_its_address() -> None:
    answer = ask("many.service.consul", "SRV", edns=1232)
    assert {str(data.target) for rrset in answer.answer for data in rrset} == {str(rrset.name) for rrset in answer.additional}
    assert not answer.flags & dns.flags.TC


def test_over_tcp_all_are_given() -> None:
    answer = ask("many.service.consul", tcp=True)
    assert (len(texts(answer.answer)), bool(answer.flags & dns.flags.TC)) == (200, False)
    assert len(texts(ask("many.service.consul", "SRV", tcp=True).answer)) == 200


def test_a_limit_of_addresses_holds_everywhere() -> None:
    assert len(texts(ask("many.service.consul", tcp=True, rules=Rules(a_record_limit=5)).answer)) == 5


def test_the_network_of_the_client_is_said_again_for_all() -> None:
    answer = ask("web.service.consul", edns=1232, options=[dns.edns.ECSOption("192.0.2.0", 24)])
    (option,) = answer.options
    assert isinstance(option, dns.edns.ECSOption)
    assert (option.address, option.srclen, option.scopelen) == ("192.0.2.0", 24, 0)
    assert ask("web.service.consul").edns == -1


@pytest.mark.parametrize(("wire", "expected"), [(b"", None), (b"\0" * 11, None), (b"\1\2\x80" + b"\0" * 9, None)])
def test_silence(wire: bytes, expected: None) -> None:
    assert reply(wire) is expected


@pytest.mark.parametrize(
    "wire",
    [
        b"\1\2\1\0\0\0\0\0\0\0\0\0",
        b"\1\2\1\0\0\1\0\0\0\0\0\0",
        b"\1\2\1\0\0\1\0\0\0\0\0\0\3web",
        b"\1\2\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1",
        query("web.service.consul").to_wire() + b"more",
        query("web.service.consul").to_wire()[:4] + b"\0\2" + query("web.service.consul").to_wire()[6:],
    ],
    ids=["no question", "a question that is missing", "a name that ends", "a name that points at itself", "more", "two questions"],
)
def test_what_cannot_be_read(wire: bytes) -> None:
    found = reply(wire)
    assert found is not None
    answer = dns.message.from_wire(found.wire)
    assert (answer.id, code(answer), answer.answer) == (int.from_bytes(wire[:2]), "FORMERR", [])


@pytest.mark.parametrize("opcode", [1, 2, 4, 5, 6, 15])
def test_what_is_not_a_question(opcode: int) -> None:
    wire = bytearray(query("web.service.consul").to_wire())
    wire[2] = wire[2] & 0x87 | opcode << 3
    found = reply(bytes(wire))
    assert found is not None
    assert found.wire[3] & 0xF == dns.rcode.NOTIMP
    assert found.wire[2] >> 3 & 0xF == opcode


@pytest.mark.parametrize(
    ("name", "type_", "options", "expected"),
    [("consul", "AXFR", {}, "NOTIMP"), ("web.service.consul", "A", {"rdclass": "CH"}, "REFUSED")],
)
def test_what_is_not_done(name: str, type_: str, options: dict[str, str], expected: str) -> None:
    found = reply(dns.message.make_query(name, type_, use_edns=-1, **options).to_wire())
    assert found is not None
    assert code(dns.message.from_wire(found.wire)) == expected


def test_another_version_of_edns() -> None:
    found = reply(dns.message.make_query("web.service.consul", "A", use_edns=1).to_wire())
    assert found is not None
    assert code(dns.message.from_wire(found.wire)) == "BADVERS"


def test_names_of_others_are_for_others() -> None:
    recursive = Answerer(rules=Rules(recursion=True), dice=random.Random(1))
    assert recursive.answer(query("example.com").to_wire(), ZONE, tcp=False, now=NOW) == Ask()
    found = recursive.answer(query("far.service.consul").to_wire(), ZONE, tcp=False, now=NOW)
    assert isinstance(found, Chase)
    upstream = dns.message.make_response(dns.message.from_wire(found.question))
    upstream.answer.append(dns.rrset.from_text("far.example.com.", 60, "IN", "A", "192.0.2.7"))
    answer = dns.message.from_wire(recursive.finish(found, upstream.to_wire()))
    assert texts(answer.answer) == ["CNAME far.example.com.", "A 192.0.2.7"]
    assert texts(dns.message.from_wire(recursive.finish(found, None)).answer) == ["CNAME far.example.com."]
    assert texts(dns.message.from_wire(recursive.finish(found, b"nonsense")).answer) == ["CNAME far.example.com."]
    assert answer.flags & dns.flags.RA


@given(wire=st.binary(max_size=80))
def test_any_bytes(wire: bytes) -> None:
    _sane(wire, ANSWERER.answer(wire, ZONE, tcp=False, now=NOW))


GOOD = [
    query(name, type_, edns=size).to_wire()
    for name, type_ in [
        ("web.service.consul", "A"),
        ("_web._tcp.service.consul", "SRV"),
        ("1.0.0.10.in-addr.arpa", "PTR"),
        ("consul", "ANY"),
    ]
    for size in (0, 1232)
] + [dns.message.make_query("web.service.consul", "A", options=[dns.edns.ECSOption("192.0.2.0", 24)]).to_wire()]


@given(data=st.data())
def test_queries_with_some_bytes_changed(data: st.DataObject) -> None:
    wire = bytearray(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(1, 4))):
        wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(wire)))
    mutilated = bytes(wire[:cut] if data.draw(st.booleans()) else wire)
    _sane(mutilated, ANSWERER.answer(mutilated, ZONE, tcp=data.draw(st.booleans()), now=NOW))


@given(labels=st.lists(st.binary(min_size=1, max_size=63), max_size=5))
def test_names_of_any_bytes(labels: list[bytes]) -> None:
    name = dns.name.Name([*labels[:3], b"service", b"consul", b""])
    wire = dns.message.make_query(name, "A", use_edns=-1).to_wire()
    found = reply(wire)
    assert found is not None
    assert dns.message.from_wire(found.wire).question[0].name == name


def _sane(wire: bytes, found: object) -> None:
    """An answer has the query's id, says that it is one, and others can read it; no answer is ever given to an answer."""
    if len(wire) < 12 or wire[2] & 0x80:
        assert found is None
        return
    assert isinstance(found, Reply)
    assert found.wire[:2] == wire[:2]
    assert found.wire[2] & 0x80
    assert dns.message.from_wire(found.wire, continue_on_error=False) is not None
