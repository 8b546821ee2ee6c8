"""Key sets fetched from a real HTTP server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from support.served import serving
from support.tokens import Issuer
from tulle.server.fetching import LARGEST, UnusableError
from tulle.server.kept import Kept
from tulle.server.key_sets import fetch

ISSUER = Issuer()


def test_keys_and_discovery() -> None:
    pages: dict[str, tuple[int, bytes]] = {"/keys": (200, ISSUER.key_set.encode())}
    with serving(pages) as base:
        pages["/.well-known/openid-configuration"] = (200, json.dumps({"jwks_uri": f"{base}/keys"}).encode())
        for path in ("/keys", "/.well-known/openid-configuration"):
            assert json.loads(asyncio.run(fetch(base + path, 5))) == json.loads(ISSUER.key_set)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"<html>secret</html>", "not JSON"),
        (200, b"[]", "not a JSON object"),
        (200, b"{}", "not a set of public keys"),
        (200, b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "not a set of public keys"),
        (200, b'{"jwks_uri": "file:///etc/passwd"}', "not a URL with http"),
        (200, b'{"jwks_uri": "http://169.254.169.254/latest"}', "nobody at such an address"),
        (302, b"", "is 302"),
        (500, b"secret", "is 500"),
        (200, b" " * (LARGEST + 1), "larger than"),
    ],
)
def test_what_is_not_taken(status: int, body: bytes, why: str) -> None:
    with serving({"/x": (status, body), "/keys": (200, ISSUER.key_set.encode())}) as base, pytest.raises(UnusableError, match=why) as error:
        asyncio.run(fetch(f"{base}/x", 0.5))
    assert "secret" not in str(error.value)


def test_keys_stay_while_the_issuer_is_away_and_go_when_nobody_wants_them() -> None:
    asyncio.run(kept())


async def kept() -> None:
    seen = asyncio.Queue[Mapping[str, str]]()
    sets = Kept("key sets", fetch, seen.put_nowait, refresh=0.01, retry=(0.01,))
    running = asyncio.get_running_loop().create_task(sets.run())
    try:
        with serving({"/keys": (200, ISSUER.key_set.encode())}) as base:
            uri = f"{base}/keys"
            sets.want({uri: 5.0})
            assert (await asyncio.wait_for(seen.get(), 10)).keys() == {uri}
        await failing(sets, uri)
        assert sets.found.keys() == {uri}, "the last good keys stay"
        sets.want({})
        assert (await asyncio.wait_for(seen.get(), 10)) == {}
    finally:
        running.cancel()


async def failing(sets: Kept[str], uri: str) -> None:
    async with asyncio.timeout(10):
        while uri not in sets.errors():  # noqa: ASYNC110 - failures have no event
            await asyncio.sleep(0.01)


def test_one_that_does_not_answer_keeps_no_other_waiting() -> None:
    async def run() -> None:
        seen, held = asyncio.Queue[Mapping[str, str]](), asyncio.Event()

        async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await held.wait()
            writer.close()

        sets = Kept("key sets", fetch, seen.put_nowait)
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as mute:
            running = asyncio.get_running_loop().create_task(sets.run())
            with serving({"/keys": (200, ISSUER.key_set.encode())}) as base:
                sets.want({f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}/": 60.0, f"{base}/keys": 5.0})
                assert (await asyncio.wait_for(seen.get(), 10)).keys() == {f"{base}/keys"}
            running.cancel()
            held.set()

    asyncio.run(run())


LINK = ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0xa9fea9fe", "2852039166", "[fd00:ec2::254]"]


@pytest.mark.parametrize("host", LINK)
def test_no_spelling_of_an_address_of_the_link_is_asked(host: str) -> None:
    with pytest.raises(UnusableError, match="nobody at such an address"):
        asyncio.run(fetch(f"http://{host}/latest/meta-data", 1.0))
