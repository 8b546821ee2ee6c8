"""The Gateway API in a running mesh: gRPC calls, statuses as `tulle get` shows them, and documents that come and go."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from support import grpc_echo
from support.raw_http import Client
from support.running import Place, running

pytestmark = pytest.mark.envoy

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: routes}}
spec:
  workloads:
  - service: talk
    ports: [{{port: 7000, protocol: grpc}}]
    command: ["{python}", "{grpc_echo}", talk]
  - service: echo
    ports: [{{port: 8080}}]
    command: ["{python}", -m, tulle.demo.apps.echo]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: tulle
  addresses: [{{value: 127.0.0.1}}]
  listeners: [{{name: web, port: {port}, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {{name: talk}}
spec:
  parentRefs: [{{name: edge}}]
  hostnames: [talk.example]
  rules:
  - matches: [{{method: {{service: test.Echo, method: Say}}, headers: [{{name: version, value: v1}}]}}]
    backendRefs: [{{name: talk, port: 7000}}]
  - matches: [{{method: {{method: Talk}}}}]
    backendRefs: [{{name: gone, port: 7000}}]
"""
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: edge}]
  hostnames: [web.example]
  rules: [{backendRefs: [{name: echo, port: 8080}]}]
"""


def say(port: int, method: str, *, version: str) -> bytes | grpc.StatusCode:
    """The answer to a call, or its status."""
    options = (("grpc.default_authority", "talk.example"), ("grpc.enable_http_proxy", 0))
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        try:
            answer: bytes = channel.unary_unary(method)(b"hi", metadata=(("version", version),), timeout=60, wait_for_ready=True)
        except grpc.RpcError as error:
            status: grpc.StatusCode = error.code()
            return status
        return answer


def conditions(found: list[dict[str, Any]]) -> dict[str, str]:
    return {c["type"]: f"{c['status']} {c['reason']}" for c in found}


async def journey(place: Place) -> None:
    await place.until("/api/v1/services", lambda a: sum(s["healthy"] for s in a["services"]) == 2)
    await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 3 and all(p["current"] for p in a["proxies"]))

    assert await asyncio.to_thread(say, place.gateway, "/test.Echo/Say", version="v1") == b"talk:hi"
    assert await asyncio.to_thread(say, place.gateway, "/test.Echo/Say", version="v2") == grpc.StatusCode.UNIMPLEMENTED
    assert await asyncio.to_thread(say, place.gateway, "/test.Echo/Talk", version="v1") == grpc.StatusCode.UNAVAILABLE

    place.write("route.yaml", ROUTE)
    code, said = await place.tulle("apply", "-f", "route.yaml", "--wait")
    assert (code, "httproute" in said.lower()) == (0, True), said
    client = Client()
    assert (await client.send(place.gateway, "GET", "/", [("host", "web.example")])).status == 200
    assert (await client.send(place.gateway, "GET", "/", [("host", "other.example")])).status == 404
    client.close()

    await shown(place)
    await elsewhere(place)

    code, said = await place.tulle("delete", "httproute", "web", "--wait")
    assert code == 0, said
    assert (await client.send(place.gateway, "GET", "/", [("host", "web.example")])).status == 404
    client.close()


async def shown(place: Place) -> None:
    code, said = await place.tulle("get", "gtw", "edge", "-o", "yaml")
    assert code == 0, said
    gateway = yaml.safe_load(said)
    assert (gateway["kind"], gateway["apiVersion"]) == ("Gateway", "gateway.networking.k8s.io/v1")
    assert conditions(gateway["status"]["conditions"]) == {
        "Accepted": "True Accepted",
        "Programmed": "True Programmed",
        "ResolvedRefs": "True ResolvedRefs",
    }
    assert gateway["status"]["addresses"] == [{"type": "IPAddress", "value": "127.0.0.1"}]
    (listener,) = gateway["status"]["listeners"]
    assert listener["attachedRoutes"] == 2
    assert conditions(listener["conditions"])["Programmed"] == "True Programmed"
    assert {c["observedGeneration"] for c in listener["conditions"]} == {1}
    dated = [datetime.fromisoformat(c["lastTransitionTime"]) for c in (*gateway["status"]["conditions"], *listener["conditions"])]
    assert all(timedelta(0) <= datetime.now(UTC) - one < timedelta(hours=1) for one in dated)

    route = yaml.safe_load((await place.tulle("get", "grpcroute", "talk", "-o", "yaml"))[1])
    (parent,) = route["status"]["parents"]
    assert parent["parentRef"]["name"] == "edge"
    assert conditions(parent["conditions"]) == {"Accepted": "True Accepted", "ResolvedRefs": "False BackendNotFound"}

    code, said = await place.tulle("get", "gw")
    assert (code, "edge" in said) == (0, True), said


async def since(place: Place) -> dict[str, str]:
    found = yaml.safe_load((await place.tulle("get", "gtw", "edge", "-o", "yaml"))[1])["status"]
    return {c["type"]: c["lastTransitionTime"] for c in found["conditions"]}


async def elsewhere(place: Place) -> None:
    """An address that the proxy's machine does not have is told; each version of the Gateway has a new generation."""
    gateway = next(one for one in yaml.safe_load_all(MESH.format(python="", grpc_echo="", port=place.gateway)) if one["kind"] == "Gateway")
    gateway["spec"]["addresses"] = [{"value": "192.0.2.77"}]
    before = await since(place)
    place.write("moved.yaml", yaml.safe_dump(gateway))
    code, said = await place.tulle("apply", "-f", "moved.yaml", "--wait")
    assert (code != 0, "192.0.2.77" in said) == (True, True), said
    found = yaml.safe_load((await place.tulle("get", "gtw", "edge", "-o", "yaml"))[1])["status"]
    assert conditions(found["conditions"])["Programmed"] == "False AddressNotUsable"
    assert {c["observedGeneration"] for c in found["conditions"]} == {2}
    after = await since(place)
    assert after["Accepted"] == before["Accepted"]
    assert after["Programmed"] >= before["Programmed"]
    gateway["spec"]["addresses"] = [{"value": "127.0.0.1"}]
    place.write("moved.yaml", yaml.safe_dump(gateway))
    assert (await place.tulle("apply", "-f", "moved.yaml", "--wait"))[0] == 0
    found = yaml.safe_load((await place.tulle("get", "gtw", "edge", "-o", "yaml"))[1])["status"]
    assert conditions(found["conditions"])["Programmed"] == "True Programmed"
    assert {c["observedGeneration"] for c in found["conditions"]} == {3}
    assert await asyncio.to_thread(say, place.gateway, "/test.Echo/Say", version="v1") == b"talk:hi"


def test_in_a_running_mesh(tmp_path: Path) -> None:
    async def run() -> None:
        place = Place(folder=tmp_path)
        place.write("mesh.yaml", MESH.format(python=sys.executable, grpc_echo=grpc_echo.__file__, port=place.gateway))
        async with running(place, "up", "mesh.yaml"):
            await journey(place)

    asyncio.run(run())
