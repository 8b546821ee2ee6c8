"""Hosts that are written so that a rule does not know them and the program behind it does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from support.doors import Doors, doors, rule
from support.http2_client import http2
from support.wire import told

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("attacks-hosts")]

RULES = {
    "denied": "action: DENY, rules: [{to: [{operation: {hosts: [bank.example, '*.vault.example']}}]}]",
    "excluded": "action: ALLOW, rules: [{to: [{operation: {notHosts: [bank.example, '*.vault.example']}}]}]",
    "allowed": "action: ALLOW, rules: [{to: [{operation: {hosts: [shop.example]}}]}]",
}
DISGUISES = {
    "plain": "bank.example",
    "capitals": "BANK.example",
    "trailing dot": "bank.example.",
    "port": "bank.example:80",
    "another port": "bank.example:65535",
    "empty port": "bank.example:",
    "dot and port": "bank.example.:80",
    "name of a user": "shop.example@bank.example",
    "user and password": "a:b@bank.example:80",
    "end": "a.vault.example",
    "end with dot": "a.VAULT.example.",
}


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    text = "".join(rule(name, spec) for name, spec in RULES.items())
    with doors(tmp_path_factory.mktemp("hosts"), tuple(RULES), text) as found:
        yield found


@pytest.mark.parametrize("host", DISGUISES.values(), ids=DISGUISES)
def test_a_host_in_disguise_is_refused(found: Doors, host: str) -> None:
    assert {door: found.send(door, "/", host=host) for door in RULES} == dict.fromkeys(RULES, 403)
    assert {door: found.explained(door, "/", host=host) for door in RULES} == dict.fromkeys(RULES, 403)


@pytest.mark.parametrize("host", ["shop.example", "shop.example:80", "SHOP.example."])
def test_ordinary_hosts_get_through(found: Doors, host: str) -> None:
    assert [found.send(door, "/", host=host) for door in RULES] == [200] * 3
    assert [found.explained(door, "/", host=host) for door in RULES] == [200] * 3


@pytest.mark.parametrize(("first", "second"), [("shop.example", "bank.example"), ("bank.example", "shop.example")])
def test_two_hosts_are_refused(found: Doors, first: str, second: str) -> None:
    """RFC 9112, 3.2: there is one, or the request is none."""
    assert {door: found.send(door, "/", f"host: {second}", host=first) for door in RULES} == dict.fromkeys(RULES, 403)


@pytest.mark.parametrize(
    "host", ["bank.example/x", "bank.example x", "bank.example\\x", "bank.example?x", '"bank.example"', "<bank.example>"]
)
def test_what_is_no_host_is_refused(found: Doors, host: str) -> None:
    assert {door: found.send(door, "/", host=host) for door in RULES} == dict.fromkeys(RULES, 400)


def test_the_host_of_a_whole_url_counts_not_the_header(found: Doors) -> None:
    """RFC 9112, 3.2.2. The service gets that one, too."""
    assert found.send("denied", "http://bank.example/", host="shop.example") == 403
    found.behind.forget()
    assert found.send("denied", "http://shop.example/", host="bank.example") == 200
    (heard,) = found.behind.requests()
    assert heard.values("host") == ["shop.example"]


def test_a_request_without_host_is_refused(found: Doors) -> None:
    assert {told(port, b"GET / HTTP/1.1\r\n\r\n") for port in found.ports.values()} == {400}


def test_over_http2_the_authority_counts_not_the_host_header(found: Doors) -> None:
    async def status(authority: str, host: str) -> int:
        fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", host)]
        if authority:
            fields.insert(2, (":authority", authority))
        async with http2(found.ports["denied"]) as client:
            return (await client.begin(fields)[1].until()).status

    assert asyncio.run(status("bank.example", "shop.example")) == 403
    assert asyncio.run(status("", "bank.example")) == 403
    found.behind.forget()
    assert asyncio.run(status("shop.example", "bank.example")) == 200
    (heard,) = found.behind.requests()
    assert heard.values("host") == ["shop.example"], "the service hears of no other"
