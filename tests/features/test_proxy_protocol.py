"""The PROXY protocol on both sides of a gateway, with HAProxy in front of it and behind it."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from support.carried import at, carried
from support.compiled import gateway
from support.real_servers import haproxy
from support.running import free_port
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

HAPROXY = """
global
  log stderr local0 err
defaults
  mode tcp
  timeout connect 60s
  timeout client 60s
  timeout server 60s
listen first
  bind 127.0.0.1:{first}
  server gateway 127.0.0.1:{edge} send-proxy
listen second
  bind 127.0.0.1:{second}
  server gateway 127.0.0.1:{edge} send-proxy-v2
frontend end
  mode http
  bind 127.0.0.1:{end} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port]"
"""
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: edge
  annotations: {{proxy.istio.io/config: "gatewayTopology: {{proxyProtocol: {{}}}}"}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {edge}, name: edge, protocol: {protocol}}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all}}
spec: {{hosts: ["*"], gateways: [edge], {route}: [{{route: [{{destination: {{host: far}}}}]}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: far}}
spec: {{host: far, trafficPolicy: {{proxyProtocol: {{version: {version}}}}}}}
"""


def told(port: int) -> tuple[str, str]:
    """The caller's address, and what the end of the way says it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/")
        own = "{}:{}".format(*connection.sock.getsockname()[:2])
        return own, connection.getresponse().read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize(("protocol", "route"), [("TCP", "tcp"), ("HTTP", "http")])
def test_the_callers_address_goes_all_the_way(tmp_path: Path, version: str, protocol: str, route: str) -> None:
    ports = {name: free_port() for name in ("first", "second", "edge", "end")}
    text = EDGE.format(edge=ports["edge"], protocol=protocol, route=route, version=version)
    far = at("far", 80, ports["end"], id="far", protocol=Protocol[protocol])
    with haproxy(HAPROXY.format(**ports), ports["end"]), carried(text, gateway(), tmp_path, far):
        for front in ("first", "second", "first"):
            own, said = told(ports[front])
            assert said == own
