"""Documents and checks that would make the control plane ask where their writers cannot: it does not, and tells nothing of what it saw."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_address, ip_network

import pytest

from support.served import serving
from support.tokens import Issuer
from support.words import tokens
from tulle.http_client import request
from tulle.reach import ANYWHERE, Reach
from tulle.resources.read import read
from tulle.server.fetching import LARGEST, UnusableError
from tulle.server.key_sets import fetch
from tulle.settings import read_settings

ISSUER = Issuer()
REMOTE = Reach(loopback=False)
"""Where the API can be reached from other machines."""
CREDENTIALS = (
    *("169.254.169.254", "169.254.170.2", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "fe80::1"),
    *("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "ff02::1"),
)
THIS_MACHINE = ("127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "64:ff9b::7f00:1", "2002:7f00:1::")
OTHERS = ("10.1.2.3", "192.168.0.7", "172.16.0.1", "203.0.113.9", "2001:db8::1", "fd12:3456::1", "100.64.0.1")


@pytest.mark.parametrize("address", CREDENTIALS)
def test_nobody_is_asked_where_a_machine_has_its_credentials(address: str) -> None:
    assert not ANYWHERE(ip_address(address))
    assert Reach(allowed=(ip_network("169.254.169.254"),))(ip_address(address)) == ("169.254.169.254" in address or "a9fe:a9fe" in address)


@pytest.mark.parametrize("address", THIS_MACHINE)
def test_nobody_on_this_machine_is_asked_for_others(address: str) -> None:
    assert ANYWHERE(ip_address(address))
    assert not REMOTE(ip_address(address))


@pytest.mark.parametrize("address", OTHERS)
def test_others_are_asked(address: str) -> None:
    assert ANYWHERE(ip_address(address))
    assert REMOTE(ip_address(address))


def test_who_writes_documents_decides_what_is_open() -> None:
    loopback = ip_address("127.0.0.1")
    assert read_settings({}).reach(loopback)
    assert not read_settings({"TULLE_API": "0.0.0.0:8500"}).reach(loopback)
    assert read_settings({"TULLE_API": "0.0.0.0:8500", "TULLE_FETCH_ALLOW": "127.0.0.1, 10.0.0.0/8"}).reach(loopback)


NAMES = ("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0.0.0.0", "[::ffff:127.0.0.1]")


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_to_this_machine(name: str) -> None:
    """However it is written. There is no connection at all: the listener has none to take."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        with pytest.raises(UnusableError, match=r"asks nobody at such an address|no answer"):
            asyncio.run(fetch(f"http://{name}:{port}/keys", 5, REMOTE))
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "uri",
    ["file:///etc/passwd", "file://localhost/etc/passwd", "gopher://a/", "ftp://a/", "data:,{}", "unix:///x", "//a/keys", "http:///k", ""],
)
def test_other_schemes_are_not_taken(uri: str) -> None:
    with pytest.raises(UnusableError):
        asyncio.run(fetch(uri, 5))


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "gopher://a/", "unix:///x"])
def test_a_document_that_names_another_scheme_is_an_error(uri: str) -> None:
    found = read(tokens(ISSUER, keys=uri), "tokens.yaml")
    assert [violation.field for violation in found.violations] == ["spec.jwtRules[0].jwksUri"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirections_are_not_followed(status: int) -> None:
    with (
        serving({"/": (status, b"")}, location="http://169.254.169.254/latest/meta-data/") as url,
        pytest.raises(UnusableError, match=f"the answer is {status}, not 200"),
    ):
        asyncio.run(fetch(f"{url}/", 60))


@pytest.mark.parametrize(
    "where", ["http://169.254.169.254/keys", "file:///etc/passwd", "http://[fe80::1]/keys", "http://127.0.0.1\r\nx: y/"]
)
def test_a_discovery_document_does_not_lead_elsewhere(where: str) -> None:
    with serving({"/": (200, json.dumps({"jwks_uri": where}).encode())}) as url, pytest.raises(UnusableError):
        asyncio.run(fetch(f"{url}/", 5))


@pytest.mark.parametrize("path", ["/a b", "/a\r\nx: y", "/a\nGET /b", "/\u00e9", "/\0"])
def test_nothing_is_smuggled_into_the_request(path: str) -> None:
    with serving({}) as url, pytest.raises(UnusableError):
        asyncio.run(fetch(url + path, 5))


SECRETS = {
    "text": b"root:x:0:0:secret",
    "JSON of another kind": b'{"AccessKeyId": "secret"}',
    "a list": b'["secret"]',
    "a symmetric key": b'{"keys": [{"kty": "oct", "k": "secret"}]}',
    "deep JSON": b"[" * 100_000,
    "a number of many digits": b'{"keys": ' + b"9" * 10_000 + b"}",
}


@pytest.mark.parametrize("body", SECRETS.values(), ids=SECRETS)
def test_what_is_no_set_of_keys_is_not_told_of(body: bytes) -> None:
    with serving({"/": (200, body)}) as url, pytest.raises(UnusableError) as told:
        asyncio.run(fetch(f"{url}/", 5))
    assert "secret" not in str(told.value)


@contextmanager
def endless(first: bytes, more: bytes, pause: float = 0) -> Iterator[str]:
    """A server whose answer has no end."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(first)
                    while not over.wait(pause):
                        connection.sendall(more)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        finally:
            over.set()
            # Who had no time to call has left it waiting for a caller.
            socket.create_connection(server.getsockname(), timeout=60).close()
            thread.join()


OK = b"HTTP/1.1 200 OK\r\n"
ENDLESS = {
    "a body": (OK + b"\r\n", b" " * 65536, 0),
    "a body said to be huge": (OK + b"content-length: 99999999999\r\n\r\n", b" " * 65536, 0),
    "chunks": (OK + b"transfer-encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 4096 + b"\r\n", 0),
    "headers": (OK, b"x: " + b"y" * 4096 + b"\r\n", 0),
    "headers behind the body": (OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n", b"x: " + b"y" * 4096 + b"\r\n", 0),
    "one header": (OK + b"x: ", b"y" * 4096, 0),
    "informational answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100, 0),
    "byte after byte": (OK + b"content-length: 100000\r\n\r\n", b" ", 0.05),
    "silence": (b"", b"", 0.05),
}


@pytest.mark.parametrize(("first", "more", "pause"), ENDLESS.values(), ids=ENDLESS)
def test_an_answer_without_end_is_given_up(first: bytes, more: bytes, pause: float) -> None:
    with endless(first, more, pause) as url, pytest.raises(UnusableError):
        asyncio.run(fetch(url, 0.2))


@pytest.mark.parametrize(
    ("kind", "why"), [("headers", "head of the answer is larger"), ("headers behind the body", "more around its body than in it")]
)
def test_answers_are_bounded_for_all_that_are_asked(kind: str, why: str) -> None:
    with endless(*ENDLESS[kind]) as url, pytest.raises(ConnectionError, match=why):
        asyncio.run(request(url.removeprefix("http://").removesuffix("/"), "GET", "/", timeout=60))


def test_a_large_answer_within_bounds_is_read() -> None:
    padded = ISSUER.key_set.encode() + b" " * (LARGEST - 1000)
    with serving({"/": (200, padded)}) as url:
        assert json.loads(asyncio.run(fetch(f"{url}/", 60))) == json.loads(ISSUER.key_set)
