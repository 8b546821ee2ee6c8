"""A token's file: there before the application reads it, always whole, and gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.api import Api, running_api
from support.eventually import eventually
from support.guarded import Shows
from tulle.agent.jwt_file import JwtFile
from tulle.ca.authority import Authority
from tulle.ca.jwt_keys import JwtKeys


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    keys = JwtKeys(tmp_path / "jwt-keys.json", "spiffe://cluster.local", "cluster.local")
    with running_api(tmp_path, guarded=True, authority=Authority(tmp_path / "ca", "cluster.local"), jwt_keys=keys) as running:
        yield running


@dataclass
class Kept:
    """A file in the making, and what is said of it."""

    file: JwtFile
    said: list[str] = field(default_factory=list)


def kept(api: Api, folder: Path, token: str = "", **more: object) -> Kept:
    said: list[str] = []
    wanted = {"path": folder / "run" / "jwt", "audiences": ("bank",), "api": f"127.0.0.1:{api.port}", "workload": "shop/web"}
    known = {"report": said.append, "credentials": Shows("", token or api.first)}
    return Kept(JwtFile(**{**wanted, **known, **more}), said)  # type: ignore[arg-type]


def test_each_token_takes_the_place_of_the_last_as_a_whole(api: Api, tmp_path: Path) -> None:
    async def run() -> None:
        # To a clock that is far ahead every token is about to end.
        one = kept(api, tmp_path, now=lambda: 4e9, least=0.005)
        running = asyncio.get_running_loop().create_task(one.file.run())
        await asyncio.wait_for(one.file.there.wait(), 60)
        seen = set[str]()

        def look() -> bool:
            seen.add(one.file.path.read_text())
            assert stat.S_IMODE(one.file.path.stat().st_mode) == 0o600
            return len(seen) > 20

        await eventually(look)
        assert all(token.count(".") == 2 and len(token) > 200 for token in seen)
        assert [path.name for path in one.file.path.parent.iterdir() if not path.name.startswith(".")] == ["jwt"]
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert list(one.file.path.parent.iterdir()) == []
        assert one.said == []

    asyncio.run(run())


def test_what_there_is_stays_while_the_control_plane_refuses_or_is_away(api: Api, tmp_path: Path) -> None:
    async def run() -> None:
        one = kept(api, tmp_path, now=lambda: 4e9, least=0.005)
        running = asyncio.get_running_loop().create_task(one.file.run())
        await asyncio.wait_for(one.file.there.wait(), 60)
        one.file.api = "127.0.0.1:1"
        await eventually(lambda: bool(one.said))
        assert one.file.path.read_text().count(".") == 2
        running.cancel()
        (why,) = one.said
        assert "no token for bank in" in why

    asyncio.run(run())


def test_a_refusal_is_told_in_the_words_of_the_control_plane(api: Api, tmp_path: Path) -> None:
    async def run() -> None:
        one = kept(api, tmp_path, token="tulle.abc.def")
        running = asyncio.get_running_loop().create_task(one.file.run())
        await eventually(lambda: bool(one.said))
        running.cancel()
        assert "the control plane refuses: the token is not known" in one.said[0]
        assert not one.file.path.exists()

    asyncio.run(run())
