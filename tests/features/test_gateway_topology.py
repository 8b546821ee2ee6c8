"""A gateway behind other proxies: whose word on the caller's address counts."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask, at, carried
from support.compiled import gateway
from support.running import free_port
from tulle.resources.read import read

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: edge
  annotations:
    proxy.istio.io/config: '{config}'
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all}}
spec:
  hosts: ["*"]
  gateways: [edge]
  http: [{{route: [{{destination: {{host: far}}}}]}}]
"""


@pytest.mark.envoy
@pytest.mark.parametrize(("hops", "trusted"), [(0, ""), (1, "203.0.113.9"), (2, "198.51.100.7")])
def test_trusted_hops(tmp_path: Path, hops: int, trusted: str) -> None:
    """With one trusted proxy the last address in the header is the caller's, with two the one before it."""
    port = free_port()
    text = GATEWAY.format(port=port, config=f"gatewayTopology: {{numTrustedProxies: {hops}}}")
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        _, _, body = ask(port, headers={"x-forwarded-for": "198.51.100.7, 203.0.113.9"})
    seen: Mapping[str, str] = json.loads(body)["headers"]
    known = seen.get("x-envoy-external-address", "")
    assert known == trusted if trusted else known not in ("203.0.113.9", "198.51.100.7")


V1 = b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 80\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + socket.inet_aton("198.51.100.7") + socket.inet_aton("127.0.0.1") + b"\x12\x67\x00\x50"
REQUEST = b"GET / HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n"


def exchange(port: int, said: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as caller:
        caller.sendall(said)
        found = b""
        try:
            while data := caller.recv(4096):
                found += data
        except ConnectionResetError:
            pass
    return found


@pytest.mark.envoy
def test_the_callers_address_of_a_proxy_header(tmp_path: Path) -> None:
    port = free_port()
    text = GATEWAY.format(port=port, config="gatewayTopology: {proxyProtocol: {}}")
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        for header in (V1, V2):
            body = exchange(port, header + REQUEST).partition(b"\r\n\r\n")[2]
            assert json.loads(body)["headers"]["x-forwarded-for"] == "198.51.100.7"
        assert exchange(port, REQUEST) == b"", "a caller without the header is none of those that stand in front"


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("gatewayTopology: {numTrustedProxys: 2}", 'gatewayTopology.numTrustedProxys: unknown field "numTrustedProxys"'),
        ("gatewayTopology: {numTrustedProxies: many}", "gatewayTopology.numTrustedProxies: must be a whole number"),
        ("gatewayTopology: {proxyProtocol: {version: V1}}", "gatewayTopology.proxyProtocol.version: unknown field"),
        ("[1]", "must be a mapping, not a list"),
        ("a: [", "did not find expected node content"),
    ],
)
def test_what_is_wrong_in_the_annotation(config: str, complaint: str) -> None:
    (found,) = read(GATEWAY.format(port=8080, config=config), "f.yaml").violations
    assert "Gateway/edge: metadata.annotations.proxy.istio.io/config: " in str(found)
    assert complaint in str(found)


def test_what_else_the_annotation_says_is_not_in_force() -> None:
    (found,) = read(GATEWAY.format(port=8080, config="holdApplicationUntilProxyStarts: true"), "f.yaml").warnings
    assert str(found).endswith("metadata.annotations.proxy.istio.io/config: holdApplicationUntilProxyStarts: not in force")
