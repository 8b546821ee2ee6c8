"""The control plane is killed without warning, under load, and started again."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from support.eventually import eventually
from support.load import load
from support.running import Place, running

pytestmark = pytest.mark.envoy

DOCUMENTS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - headers: {{response: {{set: {{x-cluster: "{answer}"}}}}}}
    route: [{{destination: {{host: web, port: {{number: 9080}}}}}}]
"""

SERVER = [sys.executable, "-m", "tulle.demo.apps.echo"]


def settled(answer: dict) -> bool:
    return len(answer["proxies"]) == 2 and all(proxy["current"] for proxy in answer["proxies"])


async def metric(place: Place, name: str) -> float:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.api)
    writer.write(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


async def scenario(folder: Path) -> None:
    place = Place(folder=folder)
    place.write("documents.yaml", DOCUMENTS.format(port=place.gateway, answer="before"))
    web = running(place, "run", "--service", "web", "--port", "9080", "--", *SERVER)
    async with running(place, "gateway"), web:  # noqa: SIM117 - they outlive the control plane
        async with running(place, "control") as first:
            await place.until("/api/v1/services", lambda a: any(s["healthy"] for s in a["services"]))
            code, output = await place.tulle("apply", "-f", "documents.yaml", "--wait")
            assert code == 0, output
            await place.until("/api/v1/proxies", settled)
            async with load(place.gateway, ("/",), connections=4) as pulling:
                place.write("documents.yaml", DOCUMENTS.format(port=place.gateway, answer="after"))
                code, output = await place.tulle("apply", "-f", "documents.yaml")
                assert code == 0, output
                await first.kill()
                alone = pulling.requests
                await eventually(lambda: pulling.requests >= alone + 500)
                async with running(place, "control"):
                    await place.until("/api/v1/proxies", settled)
                    changed = pulling.answers["after"]
                    await eventually(lambda: pulling.answers["after"] >= changed + 200)
                    conditions = await place.status("VirtualService", "web")
                    assert conditions["Programmed"]["status"] == "True"
                    assert (await place.get("/api/v1/services"))["services"][0]["healthy"] == 1
                    assert await metric(place, "tulle_xds_nacks_total") == 0
                    # Two proxies resumed: that is a few hundred bytes for what had changed, and a new certificate for each.
                    assert await metric(place, "tulle_xds_sent_bytes_total") < 8000
            assert not pulling.failures


def test_traffic_goes_on_nothing_is_lost_and_proxies_resume_with_little(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))
