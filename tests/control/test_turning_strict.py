"""`tulle mtls strict`: workloads go to mutual TLS alone, or back, and proper callers never notice."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.carried import ask
from support.eventually import eventually
from support.load import Load, load
from support.running import TULLE, Place, free_port, running

pytestmark = pytest.mark.envoy

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: m}}
spec:
  gateway: {{enabled: false}}
  workloads:
  - {{service: web, serviceAccount: web, ports: [{{number: 80}}], command: [{python}, -m, tulle.demo.apps.echo]}}
  - {{service: shop, serviceAccount: shop, ports: [{{number: 80}}], command: [{python}, -m, tulle.demo.apps.echo]}}
  - service: client
    serviceAccount: client
    ports: [{{number: 81}}]
    command: [{python}, -m, tulle.demo.apps.echo]
    upstreams: [{{service: web, port: 80, bind: {web}}}, {{service: shop, port: 80, bind: {shop}}}]
"""
LEFT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: shop-strict, annotations: {tulle.dev/trial-until: "2026-01-01T00:00:00Z"}}
spec: {selector: {matchLabels: {app: shop}}, mtls: {mode: STRICT}}
"""
OFTEN = {"TULLE_NODE_TIMEOUT": "6s"}
"""Agents report every two seconds or more often."""
SOME: Any = {"connections": 1, "pause": 0.02}


@dataclass
class Turned:
    """A mesh with callers that must not notice. `shop`: where those call it who know nothing of the mesh."""

    place: Place
    shop: int
    loads: tuple[Load, Load]

    async def strict(self, *arguments: str) -> tuple[int, str]:
        return await self.place.tulle("mtls", "strict", "--yes", *arguments)

    async def told(self, *arguments: str) -> tuple[int, Any, str]:
        """As `strict`: exit code, the JSON on standard output, and standard error."""
        pipe, place = asyncio.subprocess.PIPE, self.place
        command = (TULLE, "mtls", "strict", "--yes", "-o", "json", *arguments)
        process = await asyncio.create_subprocess_exec(*command, env=place.environment, cwd=place.folder, stdout=pipe, stderr=pipe)
        output, errors = await process.communicate()
        return process.returncode or 0, json.loads(output), errors.decode()

    async def policies(self) -> dict[str, Any]:
        return {one["metadata"]["name"]: one for one in (await self.place.get("/api/v1/resources/peerauthentication"))["items"]}

    async def plain(self) -> int:
        """The status of a call to the shop in plain text. Raises OSError."""
        return (await asyncio.to_thread(ask, self.shop))[0]

    async def served(self) -> None:
        """Until many more requests have been answered."""
        before = [one.requests for one in self.loads]
        await eventually(lambda: all(one.requests > n + 50 for one, n in zip(self.loads, before, strict=True)))


@asynccontextmanager
async def turned(folder: Path) -> AsyncIterator[Turned]:
    place, web, shop = Place(folder=folder), free_port(), free_port()
    mesh = place.write("mesh.yaml", MESH.format(python=sys.executable, web=web, shop=shop))
    async with running(place, "up", str(mesh), environment=place.environment | OFTEN):
        await place.until("/api/v1/mtls/workloads", lambda a: len(a["workloads"]) == 3)
        direct = (await place.until("/api/v1/mtls", lambda a: sum(e["mutual"] for e in a["edges"]) == 9) and await endpoint(place))["port"]
        async with load(web, ("/",), **SOME) as first, load(shop, ("/",), **SOME) as second:
            yield Turned(place, direct, (first, second))
            first.stop()
            second.stop()
            assert not first.failures
            assert not second.failures


async def endpoint(place: Place) -> Any:
    code, text = await place.tulle("endpoints", "shop", "-o", "json")
    assert code == 0, text
    return json.loads(text)[0]


async def scenario(folder: Path) -> None:
    async with turned(folder) as mesh:
        code, text = await mesh.place.tulle("mtls", "strict", "--dry-run", "-o", "json")
        assert (code, {step["way"] for step in json.loads(text)}) == (0, {"turn"})
        await left_alone(mesh)
        await back(mesh)
        await interrupted(mesh)
        await cut_off(mesh)
        await mesh.served()


async def left_alone(mesh: Turned) -> None:
    """Whom somebody calls in plain text stays as it is; the others are turned."""
    assert await mesh.plain() == 200
    await mesh.place.until("/api/v1/mtls/workloads", lambda a: any(w["plain"] and w["callers"] for w in a["workloads"]))
    code, text = await mesh.strict("--watch", "2s")
    assert code == 1
    assert "default/shop is left as it is: it is called in plain text: 1 connection, the last at " in text
    assert re.search(r"Z, by \S+ \(127\.0\.0\.1\)\n", text)
    assert "default/web: STRICT\n" in text
    policies = await mesh.policies()
    assert set(policies) == {"web-strict", "client-strict"}
    assert "annotations" not in policies["web-strict"]["metadata"]
    assert policies["web-strict"]["spec"] == {"selector": {"matchLabels": {"app": "web"}}, "mtls": {"mode": "STRICT"}}
    await mesh.served()
    assert await mesh.plain() == 200


async def back(mesh: Turned) -> None:
    """Where somebody is refused who called in plain text, the workload goes back. Programs find only JSON on standard output."""
    async with asyncio.TaskGroup() as tasks:
        trial = tasks.create_task(mesh.told("shop", "--quiet", "0s", "--watch", "60s"))
        with contextlib.suppress(OSError):
            while not trial.done():
                await mesh.plain()
    code, steps, text = trial.result()
    assert (code, [step["name"] for step in steps]) == (1, ["shop"])
    assert re.search(r"default/shop: back as before: refused: \d+ connections? in plain text, by \S+ \(127\.0\.0\.1\)\n", text)
    assert await mesh.plain() == 200
    assert "shop-strict" not in await mesh.policies()


@asynccontextmanager
async def on_trial(mesh: Turned) -> AsyncIterator[asyncio.subprocess.Process]:
    async with running(mesh.place, "mtls", "strict", "shop", "--yes", "--quiet", "0s", "--watch", "60s") as run:
        await mesh.place.until(
            "/api/v1/resources/peerauthentication", lambda a: any(one["metadata"]["name"] == "shop-strict" for one in a["items"])
        )
        yield run.process


async def interrupted(mesh: Turned) -> None:
    async with on_trial(mesh) as process:
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
    assert "shop-strict" not in await mesh.policies()
    assert await mesh.plain() == 200


async def cut_off(mesh: Turned) -> None:
    """What is left of a run that was killed is told, and taken back by the next one."""
    async with on_trial(mesh) as process:
        process.kill()
        await process.wait()
    code, text = await mesh.strict("shop")
    assert code == 1
    assert "shop-strict in default is on trial until " in text
    assert "tulle delete peerauthentication/shop-strict -n default" in text
    mesh.place.write("left.yaml", LEFT)
    assert (await mesh.place.tulle("apply", "-f", "left.yaml"))[0] == 0
    code, text = await mesh.strict("shop")
    assert "shop-strict in default was left on trial by a run that was cut off: taken back" in text
    assert "shop-strict" not in await mesh.policies()
    assert await mesh.plain() == 200


def test_workloads_go_to_mutual_tls_alone_or_back_and_proper_callers_never_notice(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))
