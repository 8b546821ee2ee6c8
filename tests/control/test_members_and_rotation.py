"""The root is replaced step by step, and no step is taken before the agents of all members hold what it needs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from support.guarded import Guarded, Pair, Shows, guarded
from support.xds_client import node_message
from tulle import private_file
from tulle.agent.membership import JoinError, Membership
from tulle.ca.authority import Authority
from tulle.model.identity import Identity
from tulle.model.proxy import Node, Role
from tulle.translate.snapshot import CLUSTER

WEB = Node(id="sidecar~web-1", role=Role.SIDECAR, namespace="shop", service_account="web", instance="1")


async def report(mesh: Guarded, member: Membership) -> Any:
    status, answer = await mesh.ask("PUT", "/api/v1/agents/web-1", {"holds": member.holds}, member)
    assert status == 200, answer
    return answer.get("outdated", False)


async def connects(mesh: Guarded, pair: Pair) -> bool:
    try:
        async with mesh.proxy(pair) as client:
            await client.send(node=node_message(WEB), type_url=CLUSTER)
            await client.receive()
    except grpc.aio.AioRpcError:
        return False
    return True


async def scenario(mesh: Guarded) -> None:
    member = await mesh.member()
    first = Pair.of(member)
    assert not await report(mesh, member)
    for step, last in (("begin", "steady"), ("switch", "introduced"), ("finish", "switched")):
        status, state = await mesh.ask("POST", "/api/v1/ca/rotation", {"step": step})
        assert status == 200, (last, state)
        assert state["behind"] == ["agent web-1"]
        if step != "finish":
            status, answer = await mesh.ask("POST", "/api/v1/ca/rotation", {"step": "finish" if step == "switch" else "switch"})
            assert (status, "agent web-1" in answer["error"]) == (409, True)
        assert await connects(mesh, Pair.of(member)), step
        assert await report(mesh, member)
        await member.renew()
        assert not await report(mesh, member)
        assert (await mesh.ask("GET", "/api/v1/ca"))[1]["behind"] == []
        assert await connects(mesh, Pair.of(member)), step
    assert not await connects(mesh, first)


def test_no_member_is_left_behind(tmp_path: Path) -> None:
    with guarded(tmp_path) as mesh:
        asyncio.run(scenario(mesh))


@pytest.mark.parametrize("held", ["", "none"])
def test_agents_that_hold_nothing_are_not_waited_for(tmp_path: Path, held: str) -> None:
    """Those of machines that have not joined hold nothing; what is unknown counts as old."""

    async def run(mesh: Guarded) -> None:
        answer = (await mesh.ask("PUT", "/api/v1/agents/a", {"holds": held}))[1]
        assert answer.get("outdated", False) is bool(held)
        assert (await mesh.ask("GET", "/api/v1/ca"))[1]["behind"] == (["agent a"] if held else [])

    with guarded(tmp_path) as mesh:
        asyncio.run(run(mesh))


def test_an_api_that_shows_the_operators_own_certificate(tmp_path: Path) -> None:
    """Agents need its roots to join; proxies go on knowing the control plane by the mesh's."""
    public = Authority(tmp_path / "public", "public.example")
    issued = public.issue(Identity(namespace="x", service_account="y"), hosts=("127.0.0.1",))
    assert issued.key
    (tmp_path / "cert.pem").write_bytes(issued.chain)
    private_file.write(tmp_path / "key.pem", issued.key.reveal().decode())
    roots = public.bundle().decode()

    async def run(mesh: Guarded) -> None:
        admin = Shows(roots, mesh.admin)
        token = (await mesh.ask("POST", "/api/v1/tokens", {"for": "shop/web"}, admin))[1]["token"]
        with pytest.raises(JoinError, match="not trusted"):
            await Membership(tmp_path / "other.json", mesh.api, "shop/web", report=print).enter(token)
        member = Membership(tmp_path / "member.json", mesh.api, "shop/web", report=print, roots=roots)
        await member.enter(token)
        assert not await report(mesh, member)
        await member.renew()
        assert await connects(mesh, Pair.of(member))

    with guarded(tmp_path, TULLE_API_CERT=str(tmp_path / "cert.pem"), TULLE_API_KEY=str(tmp_path / "key.pem")) as mesh:
        asyncio.run(run(mesh))
