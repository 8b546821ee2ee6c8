"""Key sets fetched from a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from support.tokens import Issuer
from tulle.server.key_sets import LARGEST, KeySets, UnusableError, fetch

ISSUER = Issuer()


@contextmanager
def serving(pages: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = pages.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.send_header("location", "/keys")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_keys_and_discovery() -> None:
    pages: dict[str, tuple[int, bytes]] = {"/keys": (200, ISSUER.key_set.encode())}
    with serving(pages) as base:
        pages["/.well-known/openid-configuration"] = (200, json.dumps({"jwks_uri": f"{base}/keys"}).encode())
        for path in ("/keys", "/.well-known/openid-configuration"):
            assert json.loads(fetch(base + path, 5)) == json.loads(ISSUER.key_set)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"<html>secret</html>", "not JSON"),
        (200, b"[]", "not a JSON object"),
        (200, b"{}", "not a set of public keys"),
        (200, b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "not a set of public keys"),
        (200, b'{"jwks_uri": "file:///etc/passwd"}', "not a URL with http"),
        (200, b'{"jwks_uri": "http://169.254.169.254/latest"}', "no answer|of the link"),
        (302, b"", "is 302"),
        (500, b"secret", "is 500"),
        (200, b" " * (LARGEST + 1), "longer than"),
    ],
)
def test_what_is_not_taken(status: int, body: bytes, why: str) -> None:
    with serving({"/x": (status, body), "/keys": (200, ISSUER.key_set.encode())}) as base, pytest.raises(UnusableError, match=why) as error:
        fetch(f"{base}/x", 0.5)
    assert "secret" not in str(error.value)


def test_keys_stay_while_the_issuer_is_away_and_go_when_nobody_wants_them() -> None:
    asyncio.run(kept())


async def kept() -> None:
    now, seen = 0.0, asyncio.Queue[Mapping[str, str]]()
    sets = KeySets(seen.put_nowait, lambda: now)
    running = asyncio.get_running_loop().create_task(sets.run())
    try:
        with serving({"/keys": (200, ISSUER.key_set.encode())}) as base:
            uri = f"{base}/keys"
            sets.want({uri: 5.0})
            assert (await asyncio.wait_for(seen.get(), 10)).keys() == {uri}
        now = 3600.0
        sets.want({uri: 5.0, f"{uri}2": 5.0})
        async with asyncio.timeout(10):
            while uri not in sets.errors():  # noqa: ASYNC110 - failures have no event
                await asyncio.sleep(0.01)
        assert sets.found.keys() == {uri}, "the last good keys stay"
        sets.want({})
        assert (await asyncio.wait_for(seen.get(), 10)) == {}
    finally:
        running.cancel()
