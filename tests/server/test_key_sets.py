"""Key sets fetched from a real HTTP server."""

from __future__ import annotations

import asyncio
import json

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
            assert json.loads(asyncio.run(fetch(base + path, 60))) == json.loads(ISSUER.key_set)


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"<html>secret</html>", "not JSON"),
        (200, b"[]", "not a JSON object"),
        (200, b"{}", "not a set of public keys"),
        (200, b'{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "not a set of public keys"),
        (200, b'{"jwks_uri": "file:///etc/passwd"}', "not a URL with http"),
        (200, b'{"jwks_uri": "http://169.254.169.254/latest"}', "nobody at such an address"),
        (200, b'{"jwks_uri": "http://example:secret/"}', "not a URL that can be asked"),
        (302, b"", "is 302"),
        (500, b"secret", "is 500"),
        (200, b" " * (LARGEST + 1), "larger than"),
    ],
)
def test_what_is_not_taken(status: int, body: bytes, why: str) -> None:
    with serving({"/x": (status, body), "/keys": (200, ISSUER.key_set.encode())}) as base, pytest.raises(UnusableError, match=why) as error:
        asyncio.run(fetch(f"{base}/x", 60))
    assert "secret" not in str(error.value)


def test_keys_stay_while_the_issuer_is_away_and_go_when_nobody_wants_them() -> None:
    asyncio.run(kept())


async def kept() -> None:
    changed = asyncio.Event()
    sets = Kept("key sets", fetch, changed.set, refresh=0.01, retry=(0.01,))
    running = asyncio.get_running_loop().create_task(sets.run())
    try:
        with serving({"/keys": (200, ISSUER.key_set.encode())}) as base:
            uri = f"{base}/keys"
            sets.want({uri: 60.0})
            await asyncio.wait_for(changed.wait(), 60)
            assert sets.found.keys() == {uri}
            changed.clear()
        await asyncio.wait_for(changed.wait(), 60)
        assert "no answer" in sets.errors()[uri]
        assert sets.found.keys() == {uri}, "the last good keys stay"
        changed.clear()
        sets.want({})
        await asyncio.wait_for(changed.wait(), 60)
        assert (sets.found, sets.errors()) == ({}, {})
    finally:
        running.cancel()


def test_a_timeout_that_changes_counts_from_the_next_try() -> None:
    async def run() -> None:
        asked, twice = list[float](), asyncio.Event()

        async def away(uri: str, seconds: float) -> str:
            asked.append(seconds)
            if len(asked) > 1:
                twice.set()
            sets.want({uri: 9.0})
            raise UnusableError("away")

        sets = Kept("key sets", away, lambda: None, retry=(0.01,))
        sets.want({"http://a/": 5.0})
        running = asyncio.get_running_loop().create_task(sets.run())
        await asyncio.wait_for(twice.wait(), 60)
        running.cancel()
        assert asked[:2] == [5.0, 9.0]

    asyncio.run(run())


def test_one_that_does_not_answer_keeps_no_other_waiting() -> None:
    async def run() -> None:
        changed, held = asyncio.Event(), asyncio.Event()

        async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await held.wait()
            writer.close()

        sets = Kept("key sets", fetch, changed.set)
        async with await asyncio.start_server(silent, "127.0.0.1", 0) as mute:
            running = asyncio.get_running_loop().create_task(sets.run())
            with serving({"/keys": (200, ISSUER.key_set.encode())}) as base:
                silence = f"http://127.0.0.1:{mute.sockets[0].getsockname()[1]}/"
                sets.want({silence: 60.0, f"{base}/keys": 60.0})
                await asyncio.wait_for(changed.wait(), 60)
                assert sets.found.keys() == {f"{base}/keys"}
                with pytest.raises(UnusableError, match="no answer: TimeoutError"):
                    await fetch(silence, 0.05)
            running.cancel()
            held.set()

    asyncio.run(run())


LINK = ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "0xa9fea9fe", "2852039166", "[fd00:ec2::254]"]


@pytest.mark.parametrize("host", LINK)
def test_no_spelling_of_an_address_of_the_link_is_asked(host: str) -> None:
    with pytest.raises(UnusableError, match="nobody at such an address"):
        asyncio.run(fetch(f"http://{host}/latest/meta-data", 60))
