"""Services that are wildcards: the very host that is asked for is looked up, on the service's port, and no host beside them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask, carried
from support.certificates import Ca
from support.compiled import built, cluster, gateway, sidecar, warnings
from support.running import free_port
from support.tls_client import asked, context, refused
from support.tls_server import TlsServer
from tulle.compile import view
from tulle.model.service import Resolution

CA = Ca()
TEXT = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: wild}}
spec:
  hosts: ["*.localhost"]
  ports:
  - {{number: 80, name: http, protocol: HTTP, targetPort: {plain}}}
  - {{number: 443, name: tls, protocol: TLS, targetPort: {tls}}}
  resolution: {resolution}
  location: MESH_EXTERNAL
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: out}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: {http}, name: http, protocol: HTTP}}, hosts: ["*"]}}
  - {{port: {{number: {sni}, name: tls, protocol: TLS}}, hosts: ["*"], tls: {{mode: PASSTHROUGH}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: out}}
spec:
  hosts: ["*"]
  gateways: [out]
  http:
  - match: [{{uri: {{prefix: /shared}}}}]
    route:
    - {{destination: {{host: "*.localhost", port: {{number: 80}}}}, weight: 100}}
    - {{destination: {{host: "*.localhost", port: {{number: 443}}}}, weight: 0}}
  - match: [{{uri: {{prefix: /renamed}}}}]
    rewrite: {{authority: b.localhost}}
    route: [{{destination: {{host: "*.localhost", port: {{number: 80}}}}}}]
  - route: [{{destination: {{host: "*.localhost", port: {{number: 80}}}}}}]
  tls:
  - match: [{{sniHosts: [{names}]}}]
    route: [{{destination: {{host: "*.localhost", port: {{number: 443}}}}}}]
"""


@pytest.mark.envoy
@pytest.mark.parametrize("resolution", ["DYNAMIC_DNS", "NONE"])
def test_a_gateway_dials_the_host_that_is_asked_for(resolution: str, tmp_path: Path) -> None:
    http, sni = free_port(), free_port()

    async def run() -> None:
        server = TlsServer(tmp_path, CA.issue("a.localhost"))
        with backend("far") as far, backend("inner") as inner:
            async with server.serving() as tls:
                ports = {"plain": far.port, "tls": tls, "http": http, "sni": sni}
                text = TEXT.format(names='"*.localhost"', resolution=resolution, **ports)
                with carried(text, gateway(), tmp_path):
                    for host, path, status in (
                        ("a.localhost", "/", 200),
                        ("A.LocalHost", "/", 200),
                        (f"a.localhost:{far.port}", "/", 200),
                        ("a.localhost", "/shared", 200),
                        ("else.example", "/renamed", 200),
                        (f"a.localhost:{inner.port}", "/", 404),
                        (f"127.0.0.1:{inner.port}", "/", 404),
                        ("localhost", "/", 404),
                    ):
                        answer = await asyncio.to_thread(ask, http, path, headers={"host": host})
                        assert answer[0] == status, (host, path)
                    assert (await asked(sni, "a.localhost", context(CA))).json["sni"] == "a.localhost"
                    assert await refused(sni, "a.example", context(CA))
                assert inner.seen == []

    asyncio.run(run())


def test_a_wildcard_does_not_lead_to_names_that_it_does_not_speak_of() -> None:
    """Connections for any name at all would make an open proxy of the gateway."""
    ports = {"plain": 80, "tls": 443, "http": 8080, "sni": 8443}
    result = built(TEXT.format(names='"*"', resolution="DYNAMIC_DNS", **ports))
    found = [chain.serve for x in view(result.mesh, gateway()).listeners for chain in x.chains if x.port == 8443]
    assert [to.cluster for serve in found for to in serve.clusters] == ["BlackHoleCluster"]  # type: ignore[union-attr]
    (said,) = warnings(result, "VirtualService/out")
    assert said.partition(": spec.")[2] == (
        "tls[0].route[0].destination: a wildcard leads to the host that is asked for, which may be none of its own here: "
        "its connections are closed"
    )


def test_one_host_is_looked_up_whatever_request_is_sent_there() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DYNAMIC_DNS, location: MESH_EXTERNAL}
"""
    assert cluster(view(built(text).mesh, sidecar()), "api.example.com:80").resolution is Resolution.DNS
