"""A gateway's TLS as testssl.sh sees it: no finding of medium or higher, with nothing said but mode and certificate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from support.backend import backend
from support.carried import at
from support.certificates import Ca, tls_secret
from support.compiled import gateway
from support.led_mesh import led_mesh
from support.running import free_port
from support.testssl import findings, needs_testssl, serious

pytestmark = [pytest.mark.envoy, pytest.mark.slow, pytest.mark.timeout(3000), needs_testssl]

HOST = "shop.example.com"


def documents(port: int) -> str:
    """The headers are what the page on TLS says of strict scanners: what an application's pages may do is not for a gateway to know."""
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - port: {{number: {port}, name: https, protocol: HTTPS}}
    bind: 127.0.0.1
    hosts: [{HOST}]
    tls: {{mode: SIMPLE, credentialNames: [shop, shop-rsa]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec:
  hosts: [{HOST}]
  gateways: [edge]
  http:
  - route: [{{destination: {{host: far}}}}]
    headers:
      response:
        set:
          strict-transport-security: max-age=31536000; includeSubDomains
          content-security-policy: default-src 'self'
          x-content-type-options: nosniff
---
"""


def test_no_finding_of_medium_or_higher(tmp_path: Path) -> None:
    """With a certificate of either kind, so that all cipher suites that there are can be met."""
    ca = Ca("an authority of the web")
    keys = {"shop": None, "shop-rsa": rsa.generate_private_key(65537, 2048)}
    pairs = {name: ca.issue(HOST, days=89, revocation="http://ca.example.com/list.crl", key=key) for name, key in keys.items()}
    port = free_port()
    text = documents(port) + "---\n".join(tls_secret(name, pair) for name, pair in pairs.items())

    async def run() -> list[dict[str, Any]]:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                assert mesh.rejections == []
                return await findings(tmp_path, HOST, port, ca.write(tmp_path))

    found = asyncio.run(run())
    told = {one["id"]: one["finding"] for one in found}
    assert {"TLS1_2", "TLS1_3", "heartbleed", "ROBOT", "FREAK", "HSTS_time"} <= told.keys(), "it has looked"
    assert sum(name.startswith("cert_chain_of_trust") for name in told) == 2, "at both certificates"
    assert serious(found) == []
