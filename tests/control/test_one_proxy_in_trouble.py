"""What a defect does to one proxy's configuration is that proxy's trouble alone."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import tulle.control as module
from support.running import free_port
from support.xds_client import Client, node_message, xds_client
from tulle.control import Control
from tulle.http_client import request
from tulle.model.proxy import Node, Role
from tulle.settings import read_settings
from tulle.translate.snapshot import CLUSTER

ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s}
spec: {hosts: [%s.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 192.0.2.9}]}
"""


async def connected(stack: AsyncExitStack, address: str, name: str) -> Client:
    node = Node(id=f"sidecar~{name}", role=Role.SIDECAR, namespace="default", service=name, service_account=name, instance=name)
    client = await stack.enter_async_context(xds_client(address))
    await client.send(node=node_message(node), type_url=CLUSTER)
    await taken(client)
    return client


async def taken(client: Client) -> str:
    """The names of what came, in one text; it is acknowledged."""
    async with asyncio.timeout(60):
        answer = await client.receive()
    await client.send(type_url=answer.type_url, response_nonce=answer.nonce)
    return " ".join(one.name for one in answer.resources)


def test_the_others_get_theirs_and_it_gets_its_own_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = module.view

    async def run() -> None:
        api, xds = (f"127.0.0.1:{free_port()}" for _ in range(2))
        control = Control(read_settings({}, {"api": api, "xds": xds, "dns": "off"}), str(tmp_path / "mesh.db"))
        stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
            tasks.create_task(control.run(stop))
            stack.callback(stop.set)
            async with asyncio.timeout(60):
                await control.ready.wait()
            well, unwell = [await connected(stack, xds, name) for name in ("well", "unwell")]

            async def apply(name: str) -> None:
                body = json.dumps({"files": [{"path": "x.yaml", "text": ENTRY % (name, name)}]}).encode()
                assert (await request(api, "POST", "/api/v1/apply", body=body, timeout=60)).status == 200

            def broken(mesh: object, node: Node) -> object:
                if node.service == "unwell":
                    raise LookupError("a defect")
                return whole(mesh, node)  # type: ignore[arg-type]

            monkeypatch.setattr(module, "view", broken)
            await apply("first")
            assert "first.example.com" in await taken(well)
            assert [one.revision == control.revision for one in control.fleet.members.values()] == [True, False]
            monkeypatch.undo()
            await apply("second")
            assert "second.example.com" in await taken(well)
            found = await taken(unwell)
            assert "first.example.com" in found
            assert "second.example.com" in found

    asyncio.run(run())
    found = [vars(record)["fields"] for record in caplog.records if "cannot be made" in record.getMessage()]
    assert found == [{"proxy": "sidecar~unwell"}] * len(found) != []
