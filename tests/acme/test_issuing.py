"""Certificates from a real authority (pebble), proved by a real gateway, and in force there."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from support.pebble import Pebble, needs_pebble, pebble
from support.running import Place, free_port, running
from support.tls_client import get

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(110), needs_pebble]


def documents(http: int, tls: int, certificate: str) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: {http}, name: http, protocol: HTTP}}
    hosts: [shop.example.com]
    tls: {{httpsRedirect: true}}
  - port: {{number: {tls}, name: https, protocol: HTTPS}}
    hosts: ["*.example.com"]
    tls: {{mode: SIMPLE, credentialName: shop}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: ["*.example.com"]
  gateways: [edge]
  http: [{{directResponse: {{status: 200, body: {{string: hello}}}}}}]
---
{certificate}
"""


def certificate(of: Pebble, more: str = "", issuer: str = "") -> str:
    return f"""
apiVersion: tulle.dev/v1
kind: Certificate
metadata: {{name: shop}}
spec:
  dnsNames: [shop.example.com]
  issuer: {of.issuer(issuer)}
{more}
"""


def ready(item: dict) -> bool:  # type: ignore[type-arg]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"]["conditions"])


WHERE = "/api/v1/resources/certificates/default/shop"


@pytest.mark.parametrize("challenge", ["HTTP-01", "TLS-ALPN-01"])
def test_a_certificate_is_issued_and_served(tmp_path: Path, challenge: str) -> None:
    async def run() -> None:
        place = Place(folder=tmp_path)
        http, tls = place.gateway, free_port()
        with pebble(tmp_path, http=http, tls=tls) as authority:
            async with running(place, "up"):
                await place.until("/api/v1/version", bool)
                path = place.write("edge.yaml", documents(http, tls, certificate(authority, f"  challenge: {challenge}")))
                code, said = await place.tulle("apply", "-f", str(path))
                assert code == 0, said
                item = await place.until(WHERE, ready)
                print(item)
                trust = ssl.create_default_context(cadata=await authority.roots())
                answer = await asyncio.to_thread(get, tls, "shop.example.com", trust)
                assert answer.body == b"hello"

    asyncio.run(run())
