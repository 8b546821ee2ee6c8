"""Where callers of a gateway come from: the address of the connection, or the one that trusted proxies tell of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from support.running import free_port
from support.scene import exchange
from support.town import Town
from support.words import policy

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("scenarios")]


def door(port: int, hops: int) -> str:
    return f"""apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: door, namespace: foo, annotations: {{proxy.istio.io/config: 'gatewayTopology: {{numTrustedProxies: {hops}}}'}}}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: door, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: door, namespace: foo}}
spec: {{hosts: ["*"], gateways: [door], http: [{{route: [{{destination: {{host: echo.foo.svc.cluster.local, port: {{number: 8000}}}}}}]}}]}}
"""


@dataclass(frozen=True, slots=True)
class Ways:
    """`statuses`: with each list of proxies that a caller may tell of."""

    town: Town
    port: int

    def statuses(self, *told: str) -> list[int]:
        headers = [{"x-forwarded-for": one} if one else {} for one in told]
        return [exchange(self.port, "GET", "/", one).status for one in headers]


@pytest.fixture(params=[0, 1, 2], ids=lambda hops: f"{hops} hops")
def ways(request: pytest.FixtureRequest, town: Town) -> Iterator[tuple[int, Ways]]:
    port = free_port()
    with town.scene.holding(door(port, request.param)):
        yield request.param, Ways(town, port)


def edge(rule: str) -> str:
    return policy("addresses", f"selector: {{matchLabels: {{istio: ingressgateway}}}}, {rule}", "istio-system")


TOLD = ("", "203.0.113.9", "198.51.100.7, 203.0.113.9", "203.0.113.9, 198.51.100.7", "192.0.2.1, 198.51.100.7, 203.0.113.9")


def test_addresses_that_are_told(ways: tuple[int, Ways]) -> None:
    """With none trusted, whatever a caller says counts for nothing; with one, the last address counts; with two, the one before."""
    hops, found = ways
    allow = "action: ALLOW, rules: [{from: [{source: {remoteIpBlocks: [203.0.113.0/24]}}]}]"
    with found.town.scene.holding(edge(allow)):
        expected = {0: [403] * 5, 1: [403, 200, 200, 403, 200], 2: [403, 403, 403, 200, 403]}
        assert found.statuses(*TOLD) == expected[hops]
    deny = "action: DENY, rules: [{from: [{source: {notRemoteIpBlocks: [203.0.113.0/24]}}]}]"
    with found.town.scene.holding(edge(deny)):
        assert found.statuses(*TOLD) == expected[hops]


def test_addresses_of_connections(ways: tuple[int, Ways]) -> None:
    _, found = ways
    with found.town.scene.holding(edge("action: ALLOW, rules: [{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}]")):
        assert found.statuses(*TOLD) == [200] * 5
    with found.town.scene.holding(edge("action: ALLOW, rules: [{from: [{source: {ipBlocks: [203.0.113.0/24]}}]}]")):
        assert found.statuses(*TOLD) == [403] * 5
