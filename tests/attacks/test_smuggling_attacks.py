"""Requests hidden within requests: whatever the proxy takes reaches the service as exactly one request, framed beyond doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from support.doors import Doors, doors, rule
from support.http2_client import http2
from support.wire import told

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("attacks-smuggling")]

HIDDEN = "GET /admin HTTP/1.1\r\nhost: shop.example\r\n\r\n"
POST = "POST /form HTTP/1.1\r\nhost: shop.example\r\n"
TE, CL = "transfer-encoding: chunked\r\n", "content-length: 5\r\n"
CHUNKED = "0\r\n\r\n"
REFUSED = {
    "CL.TE": POST + "content-length: 48\r\n" + TE + "\r\n" + CHUNKED + HIDDEN,
    "TE.CL": POST + TE + "content-length: 4\r\n\r\n" + "2a\r\n" + HIDDEN + "\r\n" + CHUNKED,
    "TE.TE, not chunked": POST + CL + "transfer-encoding: xchunked\r\n\r\n" + CHUNKED + HIDDEN,
    "TE.TE, two headers": POST + TE + "transfer-encoding: identity\r\n\r\n" + CHUNKED + HIDDEN,
    "TE.TE, cow": POST + TE + "transfer-encoding: cow\r\n\r\n" + CHUNKED + HIDDEN,
    "TE.TE, a list": POST + "transfer-encoding: identity, chunked\r\n\r\n" + CHUNKED + HIDDEN,
    "TE.TE, chunked twice": POST + "transfer-encoding: chunked, chunked\r\n\r\n" + CHUNKED + HIDDEN,
    "TE.TE, gzip": POST + "transfer-encoding: gzip, chunked\r\n\r\n" + CHUNKED + HIDDEN,
    "TE.TE, quoted": POST + 'transfer-encoding: "chunked"\r\n\r\n' + CHUNKED + HIDDEN,
    "TE, space before the colon": POST + CL + "transfer-encoding : chunked\r\n\r\n" + CHUNKED + HIDDEN,
    "TE, vertical tab": POST + CL + "transfer-encoding:\x0bchunked\r\n\r\n" + CHUNKED + HIDDEN,
    "TE, form feed": POST + CL + "transfer-encoding: chunked\x0c\r\n\r\n" + CHUNKED + HIDDEN,
    "TE, NUL": POST + CL + "transfer-encoding: chunked\x00\r\n\r\n" + CHUNKED + HIDDEN,
    "TE beside CL, in tabs": POST + CL + "transfer-encoding:\tchunked\r\n\r\n" + CHUNKED + HIDDEN,
    "TE beside CL, in capitals": POST + CL + "TRANSFER-ENCODING: CHUNKED\r\n\r\n" + CHUNKED + HIDDEN,
    "CL twice": POST + CL + "content-length: 0\r\n\r\nhello" + HIDDEN,
    "CL twice the same": POST + CL + CL + "\r\nhello" + HIDDEN,
    "CL in a list": POST + "content-length: 5, 5\r\n\r\nhello" + HIDDEN,
    "CL with a sign": POST + "content-length: +5\r\n\r\nhello" + HIDDEN,
    "CL below zero": POST + "content-length: -5\r\n\r\nhello" + HIDDEN,
    "CL in hexadecimal": POST + "content-length: 0x5\r\n\r\nhello" + HIDDEN,
    "CL with a space": POST + "content-length: 5 0\r\n\r\nhello" + HIDDEN,
    "CL too large": POST + "content-length: 99999999999999999999\r\n\r\nhello" + HIDDEN,
    "CL empty": POST + "content-length:\r\n\r\nhello" + HIDDEN,
    "HTTP/0.9": "GET /admin\r\n\r\n",
    "HTTP/1.1 and more": "GET /form HTTP/1.1 HTTP/1.1\r\nhost: shop.example\r\n\r\n",
    "a first header that goes on": "GET /form HTTP/1.1\r\n host: shop.example\r\n\r\n",
    "no HTTP": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}
"""Of each the answer says that it was not understood, and nothing of it reaches the service."""


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    text = rule("front", "action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]")
    with doors(tmp_path_factory.mktemp("smuggling"), ("front",), text) as found:
        yield found


def innocent(found: Doors) -> None:
    """The next caller, who may share a connection to the service, gets what is its own."""
    assert found.send("front", "/next") == 200
    assert [heard.target for heard in found.behind.requests() if heard.target == "/next"] == ["/next"]


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_a_request_with_two_ends_is_refused(found: Doors, sent: str) -> None:
    found.behind.forget()
    assert told(found.ports["front"], sent.encode("latin-1")) in (400, 501)
    assert found.behind.requests() == []
    innocent(found)


CHUNKS = {
    "a size of too many digits": "fffffffffffffffff\r\nhello\r\n" + CHUNKED,
    "a size below zero": "-1\r\nhello\r\n" + CHUNKED,
    "a size with 0x": "0x5\r\nhello\r\n" + CHUNKED,
    "a size with a plus": "+5\r\nhello\r\n" + CHUNKED,
    "an extension that ends in LF": "5;x=\ny\r\nhello\r\n" + CHUNKED,
    "an extension with a lone CR": "5;x=\ry\r\nhello\r\n" + CHUNKED,
    "no end of the chunk": "5\r\nhello" + CHUNKED,
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
def test_chunks_that_can_be_read_in_two_ways_are_refused(found: Doors, chunks: str) -> None:
    """The head may have gone on by then; the request never becomes whole."""
    found.behind.forget()
    assert told(found.ports["front"], (POST + TE + "\r\n" + chunks + HIDDEN).encode()) in (0, 400)
    assert [heard for heard in found.behind.requests() if heard.complete] == []
    innocent(found)


FRAMED = {
    "a body that is a request": (POST + f"content-length: {len(HIDDEN)}\r\n\r\n{HIDDEN}", HIDDEN),
    "a GET with such a body": (f"GET /form HTTP/1.1\r\nhost: shop.example\r\ncontent-length: {len(HIDDEN)}\r\n\r\n{HIDDEN}", HIDDEN),
    "a chunk that is a request": (POST + TE + f"\r\n{len(HIDDEN):x}\r\n{HIDDEN}\r\n{CHUNKED}", HIDDEN),
    "a header on a line that goes on": (POST + "x-a: b\r\n transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\nhello", "hello"),
    "lines that end in LF": ("POST /form HTTP/1.1\nhost: shop.example\ncontent-length: 5\n\nhello", "hello"),
    "a header with a lone CR": (POST + "x-a: b\rtransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\nhello", "hello"),
    "a longer chunk than said": (POST + TE + "\r\n5\r\nhello there\r\n" + CHUNKED, "hello"),
    "trailers": (POST + TE + "\r\n5\r\nhello\r\n0\r\nhost: bank.example\r\ncontent-length: 9\r\nx-a: b\r\n\r\n", "hello"),
    "an offer of HTTP/2": (
        POST + "connection: upgrade\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\ncontent-length: 5\r\n\r\nhello",
        "hello",
    ),
}


@pytest.mark.parametrize(("sent", "body"), FRAMED.values(), ids=FRAMED)
def test_what_is_taken_is_sent_on_as_one_request(found: Doors, sent: str, body: str) -> None:
    found.behind.forget()
    assert told(found.ports["front"], sent.encode()) == 200
    (heard,) = found.behind.requests()
    assert (heard.target, heard.body.decode(), heard.complete) == ("/form", body, True)
    assert heard.values("host") == ["shop.example"]
    assert len(heard.values("content-length") + heard.values("transfer-encoding")) == 1
    assert not any(set(value) & set("\r\n\0") for _, value in heard.headers)
    assert heard.values("upgrade") == []
    innocent(found)


def test_what_follows_a_request_is_judged_by_itself(found: Doors) -> None:
    """Requests in one packet: the second is refused by the rule that it meets."""
    found.behind.forget()
    assert told(found.ports["front"], f"GET /form HTTP/1.1\r\nhost: shop.example\r\n\r\n{HIDDEN}".encode()) == 200
    innocent(found)
    assert "/admin" not in [heard.target for heard in found.behind.requests()]


GET2 = [(":method", "POST"), (":scheme", "http"), (":authority", "shop.example"), (":path", "/form")]
DOWNGRADED = {
    "transfer-encoding": [*GET2, ("transfer-encoding", "chunked")],
    "content-length that is too long": [*GET2, ("content-length", "500")],
    "two content-lengths": [*GET2, ("content-length", "5"), ("content-length", "50")],
    "content-length that is no number": [*GET2, ("content-length", "5\r\nx: y")],
    "CRLF in a value": [*GET2, ("x-a", "b\r\nx-smuggled: c")],
    "LF in a value": [*GET2, ("x-a", "b\nx-smuggled: c")],
    "CR in a value": [*GET2, ("x-a", "b\rx-smuggled: c")],
    "NUL in a value": [*GET2, ("x-a", "b\0c")],
    "CRLF in a name": [*GET2, ("x-a: b\r\nx-smuggled", "c")],
    "colon in a name": [*GET2, ("x-a:", "b")],
    "space in a name": [*GET2, ("x a", "b")],
    "capitals in a name": [*GET2, ("X-A", "b")],
    "request in a path": [*GET2[:3], (":path", "/form HTTP/1.1\r\nhost: shop.example\r\n\r\nGET /admin")],
    "space in a path": [*GET2[:3], (":path", "/form HTTP/1.1")],
    "CRLF in the authority": [*GET2[:2], (":authority", "shop.example\r\nx-smuggled: c"), GET2[3]],
    "space in the authority": [*GET2[:2], (":authority", "shop.example x"), GET2[3]],
    "request in the method": [(":method", "GET /admin HTTP/1.1\r\nx:"), *GET2[1:]],
    "URL in the scheme": [GET2[0], (":scheme", "http://bank.example/"), *GET2[2:]],
    "two paths": [*GET2, (":path", "/admin")],
    "two authorities": [*GET2[:3], (":authority", "bank.example"), GET2[3]],
    "a path behind other headers": [*GET2[:3], ("x-a", "b"), GET2[3]],
    "connection": [*GET2, ("connection", "close")],
    "upgrade": [*GET2, ("upgrade", "h2c")],
    "no path": GET2[:3],
    "a status": [*GET2, (":status", "200")],
}


def test_what_http2_carries_and_http1_cannot_is_refused(found: Doors) -> None:
    """The service speaks HTTP/1.1: nothing may become part of its framing. Side by side, as the proxy takes a second to hang up."""

    async def status(fields: list[tuple[str, str]]) -> int:
        async with http2(found.ports["front"]) as client:
            return (await client.begin(fields, b"hello")[1].until()).status

    async def statuses() -> dict[str, int]:
        return dict(zip(DOWNGRADED, await asyncio.gather(*map(status, DOWNGRADED.values())), strict=True))

    found.behind.forget()
    assert {name: said for name, said in asyncio.run(statuses()).items() if said not in (0, 400)} == {}
    assert [heard for heard in found.behind.requests() if heard.complete] == []
    innocent(found)


def test_what_http2_sends_beyond_its_length_goes_nowhere(found: Doors) -> None:
    async def reset() -> bool:
        async with http2(found.ports["front"]) as client:
            exchange = client.begin([*GET2, ("content-length", "0")], HIDDEN.encode())[1]
            return (await exchange.until()).status == 0

    found.behind.forget()
    assert asyncio.run(reset())
    assert {heard.body for heard in found.behind.requests()} <= {b""}
    innocent(found)
