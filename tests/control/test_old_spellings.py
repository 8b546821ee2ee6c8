"""Documents in spellings of years ago, word for word, at work in a real mesh."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Self

import pytest

from support.raw_http import Client
from support.running import Place, running
from tulle.demo.odds import bounds

pytestmark = pytest.mark.envoy

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: old}}
spec:
  workloads:
  - service: foo
    replicas: 2
    ports: [{{port: 8080}}]
    command: ["{python}", -m, tulle.demo.apps.echo]
  - name: caller
    command: [sleep, "1000"]
"""

EJECT = """
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: foo-default}
spec:
  host: foo.default.svc.cluster.local
  trafficPolicy:
    outlierDetection: {consecutiveErrors: 5, interval: 1m, baseEjectionTime: 3m}
"""

DELAY = """
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: foo-default}
spec:
  hosts: [foo.default.svc.cluster.local]
  http:
  - route: [{destination: {host: foo.default.svc.cluster.local}}]
    fault: {delay: {fixedDelay: 5s, percentage: 100}}
"""

ABORT = """
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: foo-default}
spec:
  hosts: [foo.default.svc.cluster.local]
  http:
  - route: [{destination: {host: foo.default.svc.cluster.local}}]
    fault: {abort: {httpStatus: 500, percentage: 10}}
"""

EN_DASH = """apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: foo-default}
spec:
  hosts: [foo.default.svc.cluster.local]
  http:
  \N{EN DASH} route: [{destination: {host: foo.default.svc.cluster.local}}]
"""


class Caller:
    """Calls foo through the forward proxy of a sidecar, on one connection."""

    def __init__(self, proxy: str) -> None:
        self._port = int(proxy.rpartition(":")[2])
        self._client = Client()

    async def alone(self) -> int:
        """The status of one call on a connection of its own."""
        with Caller(f":{self._port}") as another:
            return (await another.call())[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    async def call(self, path: str = "/", method: str = "GET") -> tuple[int, str]:
        """Status, and the instance that answered."""
        response = await self._client.send(self._port, method, f"http://foo:8080{path}", [("host", "foo:8080"), ("content-length", "0")])
        try:
            return response.status, json.loads(response.body)["instance"]
        except ValueError:
            return response.status, ""


async def applied(place: Place, text: str) -> None:
    place.write("rule.yaml", text)
    code, output = await place.tulle("apply", "--wait", "-f", "rule.yaml")
    assert code == 0, output


async def delayed(place: Place, caller: Caller) -> None:
    await applied(place, DELAY)
    begin = time.monotonic()
    assert await asyncio.gather(*(caller.alone() for _ in range(5))) == [200] * 5
    assert time.monotonic() - begin >= 5.0


async def aborted(place: Place, caller: Caller) -> None:
    await applied(place, ABORT)
    found = Counter([(await caller.call())[0] for _ in range(1000)])
    low, high = bounds(1000, 0.1, 1e-7)
    assert low <= found[500] <= high
    assert found[200] + found[500] == 1000


async def ejected(place: Place, caller: Caller) -> None:
    code, output = await place.tulle("delete", "--wait", "virtualservice", "foo-default")
    assert code == 0, output
    await applied(place, EJECT)
    _, sick = await caller.call("/fail?on=true&seconds=100", "POST")
    errors = 0
    for _ in range(200):
        status, _ = await caller.call()
        errors += status == 503
        if errors == 5:
            break
    # The thread that counts tells the others a moment later: calls may still go there, by turns.
    well, deadline = 0, time.monotonic() + 60
    while well < 20 and time.monotonic() < deadline:
        well = well + 1 if (await caller.call())[0] == 200 else 0
    after = [await caller.call() for _ in range(200)]
    assert {status for status, _ in after} == {200}
    assert sick not in {instance for _, instance in after}
    translated = await place.tulle("translate", "-f", "mesh.yaml", "-f", "rule.yaml", "--node", "caller")
    assert '"consecutive_5xx": 5' in translated[1]
    assert '"interval": "60s"' in translated[1]
    assert '"base_ejection_time": "180s"' in translated[1]


async def scenario(folder: Path) -> None:
    place = Place(folder=folder)
    place.write("mesh.yaml", MESH.format(python=sys.executable))
    async with running(place, "up", "mesh.yaml"):
        await place.until("/api/v1/services", lambda a: any(s["healthy"] == 2 for s in a["services"]))
        proxies = await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 4 and all(p["current"] for p in a["proxies"]))
        with Caller(next(p["httpProxy"] for p in proxies["proxies"] if p["id"] == "sidecar~caller")) as caller:
            await delayed(place, caller)
            await aborted(place, caller)
            await ejected(place, caller)
        place.write("dash.yaml", EN_DASH)
        code, output = await place.tulle("apply", "-f", "dash.yaml")
        assert code == 1
        assert "dash.yaml:7:" in output
        assert "en dash" in output
        assert "hyphen" in output


def test_they_delay_abort_and_eject_as_they_always_did_and_an_en_dash_is_named(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))
