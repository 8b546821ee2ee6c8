"""Datagrams: sessions, shares and hashing, with DNS as the example."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support import dns_server
from support.carried import at, carried
from support.compiled import gateway, sidecar
from support.dns_server import query
from support.running import Place, free_port, running
from tulle.model.proxy import InboundPort, Upstream
from tulle.model.service import Protocol, Registration

pytestmark = pytest.mark.envoy

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: dns}}
spec:
  host: dns
  {policy}
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
"""


@contextmanager
def two() -> Iterator[tuple[Registration, ...]]:
    with ExitStack() as stack:
        ports = [stack.enter_context(dns_server.dns_server(f"192.0.2.{n}")) for n in (1, 2)]
        found = [at("dns", 53, p, id=f"dns-{n}", protocol=Protocol.UDP) for n, p in enumerate(ports, 1)]
        yield tuple(
            type(r)(id=r.id, service=r.service, ports=r.ports, labels=type(r.labels)({"version": f"v{n}"})) for n, r in enumerate(found, 1)
        )


def test_each_caller_is_a_session(tmp_path: Path) -> None:
    port = free_port()
    node = sidecar(app="client", upstreams=(Upstream(host="dns", port=53, bind_port=port, udp=True),))
    with (
        two() as instances,
        carried(RULE.format(policy="trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}"), node, tmp_path, *instances),
    ):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            assert len({query(port, caller=caller) for _ in range(10)}) == 1
        assert {query(port) for _ in range(10)} == {"192.0.2.1", "192.0.2.2"}


def test_a_machine_keeps_its_endpoint_where_its_address_is_hashed(tmp_path: Path) -> None:
    port = free_port()
    node = sidecar(app="client", upstreams=(Upstream(host="dns", port=53, bind_port=port, udp=True),))
    rule = RULE.format(policy="trafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true}}}")
    with two() as instances, carried(rule, node, tmp_path, *instances):
        assert len({query(port) for _ in range(20)}) == 1


def test_shares_at_a_gateway(tmp_path: Path) -> None:
    port = free_port()
    rules = (
        RULE.format(policy="")
        + f"""---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: dns, protocol: UDP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: dns}}
spec:
  hosts: ["*"]
  gateways: [edge]
  tcp:
  - match: [{{port: {port}}}]
    route:
    - {{destination: {{host: dns, subset: v1}}, weight: 80}}
    - {{destination: {{host: dns, subset: v2}}, weight: 20}}
"""
    )
    with two() as instances, carried(rules, gateway(), tmp_path, *instances):
        found = Counter(query(port) for _ in range(200))
    assert 120 < found["192.0.2.1"] < 195
    assert found.total() == 200


def test_a_sidecar_receives_datagrams_for_its_workload(tmp_path: Path) -> None:
    port = free_port()
    with dns_server.dns_server("192.0.2.7") as target:
        node = sidecar(app="dns", inbound=(InboundPort(service_port=53, listen=port, target=target, protocol=Protocol.UDP),))
        with carried("", node, tmp_path):
            assert query(port) == "192.0.2.7"


MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: names}}
spec:
  workloads:
  - service: dns
    ports: [{{port: 53, protocol: udp}}]
    command: ["{python}", "{server}", 192.0.2.9, "{{port}}"]
  - name: client
    command: [sleep, "1000"]
    upstreams: [{{service: dns, port: 53, udp: true, bind: {upstream}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {edge}, name: dns, protocol: UDP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: dns}}
spec:
  hosts: ["*"]
  gateways: [edge]
  tcp: [{{match: [{{port: {edge}}}], route: [{{destination: {{host: dns}}}}]}}]
"""


def dig(port: int) -> str:
    asked = ["dig", "@127.0.0.1", "-p", str(port), "+short", "+tries=20", "+time=2", "example.com", "A"]
    """What it prints last: it complains of the tries before, as nobody can tell when a server begins to receive."""
    return subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout.strip().rpartition("\n")[2]


def test_dig_through_a_whole_mesh(tmp_path: Path) -> None:
    place, edge, upstream = Place(folder=tmp_path), free_port(), free_port()
    place.write("mesh.yaml", MESH.format(python=sys.executable, server=dns_server.__file__, edge=edge, upstream=upstream))

    async def mesh() -> None:
        async with running(place, "up", "mesh.yaml"):
            await place.until("/api/v1/services", lambda a: any(s["healthy"] for s in a["services"]))
            await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 3 and all(p["current"] for p in a["proxies"]))
            for port in (edge, upstream):
                assert await asyncio.to_thread(dig, port) == "192.0.2.9"

    asyncio.run(mesh())
