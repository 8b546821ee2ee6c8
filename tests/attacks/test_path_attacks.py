"""Paths that are written so that a rule does not know them and the program behind it does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from support.doors import Doors, doors, rule
from support.http2_client import http2

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("attacks-paths")]

_SECRET = "[/admin, '/admin/*', '/vault/{*}/key', '*.secret']"
RULES = {
    "denied": "action: DENY, rules: [{to: [{operation: {paths: " + _SECRET + "}}]}]",
    "excluded": "action: ALLOW, rules: [{to: [{operation: {notPaths: " + _SECRET + "}}]}]",
    "allowed": "action: ALLOW, rules: [{to: [{operation: {paths: ['/public/*', /status]}}]}]",
    "others-denied": "action: DENY, rules: [{to: [{operation: {notPaths: ['/public/*', /status]}}]}]",
    "asked": "action: CUSTOM, provider: {name: nobody}, rules: [{to: [{operation: {paths: " + _SECRET + "}}]}]",
}
DISGUISES = {
    "plain": "/admin",
    "double slash": "//admin",
    "many slashes": "////admin///keys",
    "dot segment": "/./admin",
    "climbing": "/x/../admin",
    "encoded dots": "/x/%2e%2e/admin",
    "half encoded dots": "/x/.%2E/admin",
    "encoded dot segment": "/%2e/admin",
    "encoded letter": "/%61dmin",
    "encoded slash": "/%2fadmin",
    "encoded slash in capitals": "/%2Fadmin",
    "encoded slash behind": "/admin%2f",
    "encoded slash within": "/admin%2Fkeys",
    "encoded climbing": "/x%2f..%2fadmin",
    "climbing out of what is public": "/public/..%2fadmin",
    "climbing with everything encoded": "/public%2f%2e%2e%2fadmin",
    "backslash": "/\\admin",
    "backslash climbing": "/x\\..\\admin",
    "encoded backslash": "/%5cadmin",
    "encoded backslash climbing": "/public/..%5cadmin",
    "capital letters": "/ADMIN",
    "mixed letters": "/AdMiN/keys",
    "parameters": "/admin;a=b",
    "parameters within": "/admin;a=b/keys",
    "parameters of nothing": "/;a=b/admin",
    "encoded parameters": "/admin%3ba=b",
    "parameters on dots": "/x/..;/admin",
    "encoded parameters on dots": "/x/..%3bv=1/admin",
    "slash at the end": "/admin/",
    "slashes at the end": "/admin//",
    "dot at the end": "/admin/.",
    "query": "/admin?x",
    "query that climbs": "/admin?/../public/x",
    "template": "/vault/a/key",
    "template with double slash": "/vault//a//key",
    "template with capitals": "/Vault/a/Key;x",
    "ending": "/x/y.secret",
    "ending in capitals": "/x/y.SECRET;v=1",
    "whole URL": "http://shop.example//admin",
}
NO_PATHS = {
    "fragment": "/admin#x",
    "fragment that climbs": "/admin#/../public/x",
    "encoded NUL": "/admin%00",
    "NUL and an ending": "/admin%00.png",
}
OPEN = ("/public/a", "/public/a/b.html", "/status", "/status?of=admin")


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    text = "".join(rule(name, spec) for name, spec in RULES.items())
    with doors(tmp_path_factory.mktemp("paths"), tuple(RULES), text) as found:
        yield found


@pytest.mark.parametrize("target", DISGUISES.values(), ids=DISGUISES)
def test_a_path_in_disguise_is_refused(found: Doors, target: str) -> None:
    assert {door: found.send(door, target) for door in RULES} == dict.fromkeys(RULES, 403)


@pytest.mark.parametrize("target", NO_PATHS.values(), ids=NO_PATHS)
def test_what_is_no_path_is_refused_before_any_rule(found: Doors, target: str) -> None:
    assert {door: found.send(door, target) for door in RULES} == dict.fromkeys(RULES, 400)


@pytest.mark.parametrize("target", [t for t in (*DISGUISES.values(), *OPEN) if t.startswith("/")])
def test_disguises_are_foretold(found: Doors, target: str) -> None:
    expected = dict.fromkeys(RULES, 200 if target in OPEN else 403)
    assert {door: found.explained(door, target) for door in RULES} == expected


@pytest.mark.parametrize("target", OPEN)
def test_ordinary_paths_get_through_as_they_are(found: Doors, target: str) -> None:
    found.behind.forget()
    assert {door: found.send(door, target) for door in RULES} == dict.fromkeys(RULES, 200)
    assert {heard.target for heard in found.behind.requests()} == {target}


ODD = ("/%2f", "/files/a%2Fb", "/x//y", "/x;v=1/y", "/A/b", "/wiki/caf%C3%A9", "/x/...", "/.hidden", "/a..b", "/administrator")


@pytest.mark.parametrize("target", ODD)
def test_odd_paths_that_nobody_refuses_get_through_as_they_are(found: Doors, target: str) -> None:
    """Programs that tell such paths apart go on to do so."""
    found.behind.forget()
    assert [found.send(door, target) for door in ("denied", "excluded", "asked")] == [200] * 3
    assert {heard.target for heard in found.behind.requests()} == {target}


METHODS = {"plain": "DELETE", "small letters": "delete", "mixed letters": "Delete"}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_method_in_disguise_is_refused(tmp_path_factory: pytest.TempPathFactory, method: str) -> None:
    """HTTP/1.1 knows its methods in capitals alone; HTTP/2 carries any."""
    rules = {
        "denied": "action: DENY, rules: [{to: [{operation: {methods: [DELETE]}}]}]",
        "excluded": "action: ALLOW, rules: [{to: [{operation: {notMethods: [DELETE]}}]}]",
        "allowed": "action: ALLOW, rules: [{to: [{operation: {methods: [GET]}}]}]",
    }

    async def status(port: int) -> int:
        async with http2(port) as client:
            _, exchange = client.begin([(":method", method), (":scheme", "http"), (":authority", "shop.example"), (":path", "/")])
            return (await exchange.until()).status

    text = "".join(rule(name, spec) for name, spec in rules.items())
    with doors(tmp_path_factory.mktemp("methods"), tuple(rules), text) as found:
        assert [asyncio.run(status(port)) for port in found.ports.values()] == [403] * 3
        assert [found.send(door, "/", method=method) for door in rules] == [403 if method == "DELETE" else 400] * 3
        assert [found.send(door, "/") for door in rules] == [200] * 3


def test_an_upgrade_is_no_way_around(found: Doors) -> None:
    """A WebSocket is asked for by HTTP/1.1, or as an extended CONNECT (RFC 8441): its path is one like any other."""
    upgrade = ("connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13", "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==")
    extended = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "shop.example")]

    async def status(port: int, path: str) -> int:
        async with http2(port) as client:
            _, exchange = client.begin([*extended, (":path", path), ("sec-websocket-version", "13")], end=False)
            return (await exchange.until(lambda answer: answer.status > 0)).status

    for path in ("/admin", "//admin", "/x%2f..%2fadmin"):
        assert {door: found.send(door, path, *upgrade) for door in RULES} == dict.fromkeys(RULES, 403)
        assert {door: asyncio.run(status(port, path)) for door, port in found.ports.items()} == dict.fromkeys(RULES, 403)
