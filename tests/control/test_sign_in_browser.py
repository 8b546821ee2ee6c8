"""People sign in with a browser as they have it, at a site served by HTTPS; the provider is another site."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from support.carried import until
from support.certificates import Ca, tls_secret
from support.openid import provider, registered
from support.real_browser import RealBrowser, installed, real_browser
from support.running import Place, free_port, running

pytestmark = [pytest.mark.envoy, installed]

HOST = "shop.test"
MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: m}}
spec:
  workloads:
  - {{service: shop, ports: [{{number: 80}}], command: [{python}, -m, tulle.demo.apps.echo]}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: https, protocol: HTTPS}}, hosts: [{host}], tls: {{mode: SIMPLE, credentialName: shop}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: istio-system}}
spec: {{hosts: [{host}], gateways: [edge], http: [{{route: [{{destination: {{host: shop.default.svc.cluster.local}}}}]}}]}}
---
apiVersion: v1
kind: Secret
metadata: {{name: login, namespace: istio-system}}
stringData: {{client-secret: "{client_secret}"}}
---
apiVersion: tulle.dev/v1
kind: Authentication
metadata: {{name: people, namespace: istio-system}}
spec:
  targetRefs: [{{kind: Gateway, name: edge}}]
  excludedPaths: [/bye]
  oidc: {{issuer: {issuer}, clientId: {client_id}, secret: login, postLogoutRedirect: "https://{host}:{port}/bye"}}
"""


def test_signing_in_and_out_with_a_real_browser(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))


async def scenario(folder: Path) -> None:
    place = Place(folder=folder)
    home = f"https://{HOST}:{place.gateway}"
    with provider(free_port(), life=3600) as issuer:
        client = await asyncio.to_thread(registered, issuer, f"{home}/oauth2/callback")
        text = MESH.format(python=sys.executable, port=place.gateway, host=HOST, issuer=issuer, **client)
        place.write("mesh.yaml", text + "---\n" + tls_secret("shop", Ca().issue(HOST), namespace="istio-system"))
        async with running(place, "up", "mesh.yaml"):
            await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 2 and all(p["current"] for p in a["proxies"]))
            await place.until("/api/v1/resources/Authentication/istio-system/people", lambda a: not a["status"].get("warnings"))
            await asyncio.to_thread(visit, home, issuer)


def visit(home: str, issuer: str) -> None:
    with real_browser() as ann:
        until(lambda: led_to(ann, f"{home}/orders?page=2").startswith(f"{issuer}/oauth2/authorize?"))
        signs_in(ann)
        until(lambda: ann.url == f"{home}/orders?page=2")
        assert json.loads(ann.text)["path"] == "/orders", "the application answered"
        kept = ann.cookies
        assert {"OauthHMAC", "BearerToken"} <= kept.keys()
        assert all(cookie["secure"] and cookie["httpOnly"] and cookie["sameSite"] == "Lax" for cookie in kept.values()), kept
        ann.open(f"{home}/again")
        assert ann.url == f"{home}/again", "one sign-in is enough"
        ann.open(f"{home}/logout")
        ann.open(f"{home}/orders")
        assert ann.url.startswith(f"{issuer}/oauth2/authorize?"), "signed out"


def led_to(ann: RealBrowser, url: str) -> str:
    """The proxies are told of the provider at once, but nobody tells us when."""
    ann.open(url)
    return ann.url


def signs_in(ann: RealBrowser) -> None:
    ann.fill("input[name=sub]", "ann")
    ann.press("button")
