"""Entries and intentions that a client of Consul's API puts in, in a running mesh: sidecars do as they say."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from support.running import Place, free_port, running

pytestmark = pytest.mark.envoy

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: entries}}
spec:
  workloads:
  - service: api
    version: v1
    ports: [{{port: 8080}}]
    command: ["{python}", -m, tulle.demo.apps.echo]
  - service: api
    version: v2
    ports: [{{port: 8080}}]
    command: ["{python}", -m, tulle.demo.apps.echo]
  - name: shopper
    serviceAccount: shopper
    command: [sleep, "1000"]
    upstreams: [{{service: api, port: 8080, bind: {upstream}}}]
"""


def put(place: Place, path: str, body: object) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", place.api, timeout=60)
    try:
        connection.request("PUT", path, json.dumps(body), {"host": "localhost"})
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        return json.loads(data)
    finally:
        connection.close()


def ask(port: int, path: str = "/") -> tuple[int, str]:
    """The status, and which version answered; 0 where nobody did."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"host": "api"})
        answer = connection.getresponse()
        text = answer.read().decode()
        return answer.status, "v1" if '"v1"' in text else "v2" if '"v2"' in text else text[:80]
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()


async def until(holds: Any) -> None:
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - only asking can tell
            await asyncio.sleep(0.05)


async def scenario(folder: Path) -> None:
    place, upstream = Place(folder=folder), free_port()
    place.write("mesh.yaml", MESH.format(python=sys.executable, upstream=upstream))
    async with running(place, "up", "mesh.yaml"):
        await place.until("/api/v1/services", lambda a: sum(s["healthy"] for s in a["services"]) >= 2)
        await until(lambda: {ask(upstream)[1] for _ in range(12)} == {"v1", "v2"})
        subsets = {v: {"Filter": f"Service.Meta.version == {v}"} for v in ("v1", "v2")}
        resolver = {"Kind": "service-resolver", "Name": "api", "DefaultSubset": "v1", "Subsets": subsets}
        assert await asyncio.to_thread(put, place, "/v1/config", resolver) is True
        await until(lambda: {ask(upstream)[1] for _ in range(12)} == {"v1"})
        route = {"Match": {"HTTP": {"PathPrefix": "/new"}}, "Destination": {"ServiceSubset": "v2"}}
        assert await asyncio.to_thread(put, place, "/v1/config", {"Kind": "service-router", "Name": "api", "Routes": [route]}) is True
        await until(lambda: ask(upstream, "/new") == (200, "v2"))
        assert ask(upstream) == (200, "v1")
        code, told = await place.tulle("explain", "--from", "shopper", "GET", "http://api:8080/new")
        assert "ServiceRouter/api spec.routes[0]" in told, told
        assert code == 0
        code, shown = await place.tulle("get", "service-router", "api")
        assert (code, "api" in shown) == (0, True), shown
        exact = "/v1/connect/intentions/exact?source=shopper&destination=api"
        await asyncio.to_thread(put, place, exact, {"Action": "deny"})
        await until(lambda: ask(upstream)[0] == 403)
        await asyncio.to_thread(put, place, "/v1/connect/intentions/exact?source=*&destination=api", {"Action": "deny"})
        await asyncio.to_thread(put, place, exact, {"Action": "allow"})
        await until(lambda: ask(upstream) == (200, "v1"))
        await asyncio.to_thread(put, place, "/v1/connect/intentions/exact?source=other&destination=api", {"Action": "allow"})
        permissions = [{"Action": "allow", "HTTP": {"PathPrefix": "/new"}}, {"Action": "deny", "HTTP": {"PathPrefix": "/"}}]
        await asyncio.to_thread(put, place, exact, {"Permissions": permissions})
        await until(lambda: ask(upstream)[0] == 403)
        assert ask(upstream, "/new") == (200, "v2")


def test_entries_and_intentions_hold_in_a_running_mesh(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))
