"""Waiting for proxies that refuse something."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tulle.model.proxy import Node, Role
from tulle.server import fleet
from tulle.server.fleet import Fleet, Member
from tulle.translate.snapshot import Snapshot


def lagging(fleet_: Fleet, name: str, **refused: str) -> None:
    node = Node(id=name, role=Role.GATEWAY)
    fleet_.members[name] = Member(node=node, since=datetime.now(UTC), snapshot=Snapshot(), revision=1, refused=refused)


def test_a_proxy_that_goes_on_refusing_is_not_waited_for_until_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "REFUSAL", 0.01)
    many = Fleet()
    lagging(many, "gateway~a", listener="cannot bind")
    progress = asyncio.run(asyncio.wait_for(many.until(1, 3600.0), 60))
    assert not progress.complete
    assert progress.refusals == ("gateway~a refuses: cannot bind",)


def test_one_that_is_merely_slow_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "REFUSAL", 0.01)
    many = Fleet()
    lagging(many, "gateway~a", listener="cannot bind")
    lagging(many, "gateway~b")

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(many.until(1, 3600.0), 0.2)

    asyncio.run(scenario())
