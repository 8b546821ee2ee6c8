"""Who was told that the proxies have taken a change may use it at once."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from support.carried import ask
from support.certificates import Ca, tls_secret
from support.running import Place, free_port, running
from support.tls_client import context, get

pytestmark = pytest.mark.envoy

CA = Ca()
SITE = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge-{plain}}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: {plain}, name: http, protocol: HTTP}}, hosts: ["*"]}}
  - {{port: {{number: {secure}, name: https, protocol: HTTPS}}, hosts: ["*"], tls: {{mode: SIMPLE, credentialName: shop-{plain}}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: site-{plain}}}
spec:
  hosts: [shop.example.com]
  gateways: [edge-{plain}]
  http: [{{directResponse: {{status: 200, body: {{string: hello}}}}}}]
---
"""


async def apply(place: Place, client: httpx.AsyncClient, text: str) -> None:
    body = {"files": [{"path": "site.yaml", "text": text}], "wait": "60s"}
    answer = await client.post(f"http://127.0.0.1:{place.api}/api/v1/apply", content=json.dumps(body), timeout=90)
    assert answer.status_code == 200, answer.text
    assert answer.json()["acknowledged"]["complete"], answer.text


async def scenario(folder: Path) -> None:
    place, tls = Place(folder=folder), context(CA)
    headers, pair = {"host": "shop.example.com"}, CA.issue("shop.example.com")
    async with running(place, "control"), running(place, "gateway"), httpx.AsyncClient(trust_env=False) as client:
        await place.until("/api/v1/proxies", lambda a: a["proxies"] and a["proxies"][0]["current"])
        for _ in range(4):
            plain, secure = free_port(), free_port()
            secret = tls_secret(f"shop-{plain}", pair)
            await apply(place, client, SITE.format(plain=plain, secure=secure) + secret)
            found = await asyncio.to_thread(get, secure, "shop.example.com", tls)
            assert found.status == 200
            assert (await asyncio.to_thread(ask, plain, headers=headers))[0] == 200


def test_new_listeners_are_open(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))
