"""An endpoint that has just come gets few requests at first, and its full share when it is warm."""

from __future__ import annotations

import asyncio
import json
from contextlib import ExitStack

import pytest

from support.backend import backend
from support.carried import ask
from support.compiled import sidecar
from support.led_mesh import LedMesh, led_mesh
from support.running import free_port
from tulle.model.proxy import Node, Upstream

pytestmark = pytest.mark.envoy

WARM_UPS = {"plain": "", "older": "warmupDurationSecs: 4s", "newer": "warmup: {duration: 1h, minimumPercent: 0}"}
"""By host: what its DestinationRule says of the time that a new endpoint has."""
HOST = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {host}}}
spec:
  hosts: [{host}]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{endpoints}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {host}}}
spec: {{host: {host}, trafficPolicy: {{loadBalancer: {{simple: ROUND_ROBIN, {warm_up}}}}}}}
"""


def documents(*ports: int) -> str:
    """All hosts, with these endpoints."""
    endpoints = ", ".join(f"{{address: 127.0.0.1, ports: {{http: {port}}}}}" for port in ports)
    return "".join(HOST.format(host=f"{name}.test", endpoints=endpoints, warm_up=text) for name, text in WARM_UPS.items())


def client(ports: dict[str, int]) -> Node:
    return sidecar(app="client", upstreams=tuple(Upstream(host=f"{name}.test", port=80, bind_port=port) for name, port in ports.items()))


async def answered(port: int, times: int) -> int:
    """How many of so many requests the new endpoint answers."""
    names = [json.loads((await asyncio.to_thread(ask, port))[2])["name"] for _ in range(times)]
    return names.count("new")


async def first_answers(mesh: LedMesh, ports: dict[str, int], old: int, new: int) -> set[int]:
    """Takes the new endpoint away and brings it again: how many of the first three requests it answers where it is warmed up."""
    await mesh.change(documents(old))
    await mesh.change(documents(old, new))
    while not await answered(ports["plain"], 3):
        """The proxy's worker does not know of it yet. Without a warm-up it takes part at once."""
    return {await answered(ports["older"], 3), await answered(ports["newer"], 3)}


async def warmed_up() -> None:
    ports = {name: free_port() for name in WARM_UPS}
    with ExitStack() as stack:
        old, new = (stack.enter_context(backend(name)) for name in ("old", "new"))
        async with led_mesh(client(ports), documents(old.port)) as mesh:
            # The old endpoint must have had more of its time than the new one, which differs most where the machine is quick.
            while await first_answers(mesh, ports, old.port, new.port) != {0}:  # noqa: ASYNC110 - an Envoy has no event for it
                await asyncio.sleep(0.1)
            while await answered(ports["older"], 6) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


def test_a_new_endpoint_is_warmed_up() -> None:
    asyncio.run(warmed_up())
