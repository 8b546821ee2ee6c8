"""What checks say and what proxies see, side by side: an instance that fails its callers, and one that fails its check."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from support.agent_calls import call
from support.fronts import front
from support.running import Place, running

pytestmark = pytest.mark.envoy
EJECT = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy: {outlierDetection: {consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 4s, maxEjectionPercent: 100}}
"""


def ejected(answer: dict[str, Any]) -> list[str]:
    return [ejection["reason"] for endpoint in answer["endpoints"] for ejection in endpoint["ejected"]]


def healths(answer: dict[str, Any]) -> set[str]:
    return {endpoint["health"] for endpoint in answer["endpoints"]}


async def fetch(port: int, method: str, path: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"{method} {path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
    await reader.read()
    writer.close()


async def struck(place: Place) -> tuple[dict[str, Any], str]:
    """The endpoints while the one that fails is ejected, and the same as people see it, if it is still so when they look."""
    for _ in range(8):  # each time for longer
        for _ in range(12):
            await fetch(place.gateway, "GET", "/")
        answer = await place.until("/api/v1/endpoints/web", lambda found: ejected(found) == ["consecutive 5xx"])
        _, table = await place.tulle("endpoints", "web", "-o", "wide")
        if "ejected it" in table:
            break
    return answer, table


def test_side_by_side(tmp_path: Path) -> None:
    async def main() -> None:
        place = Place(folder=tmp_path)
        run = ("run", "--service", "web", "--port", "80", "--", sys.executable, "-m", "tulle.demo.apps.echo")
        quick = place.environment | {"TULLE_NODE_TIMEOUT": "6s"}
        async with running(place, "control", environment=quick), running(place, "gateway"), running(place, *run), running(place, *run):
            await place.until("/v1/health/service/web?passing", lambda found: len(found) == 2)
            await place.until("/api/v1/proxies", lambda found: len(found["proxies"]) == 3)
            code, said = await place.tulle("apply", "--wait", "-f", str(place.write("rules.yaml", front(place.gateway) + EJECT)))
            assert code == 0, said
            await fetch(place.gateway, "POST", "/fail?on=true&seconds=300")
            answer, table = await struck(place)
            (out,) = [endpoint for endpoint in answer["endpoints"] if endpoint["ejected"]]
            assert (out["health"], out["ejected"][0]["by"], len(answer["endpoints"])) == ("passing", "gateway~ingressgateway", 2)
            assert {check["state"] for check in out["checks"]} == {"passing"}
            assert "gateway~ingressgateway ejected it" in table
            other = next(endpoint["workload"] for endpoint in answer["endpoints"] if not endpoint["ejected"])
            await call(place, "PUT", f"/v1/agent/service/maintenance/{other}?enable=true&reason=new+disk")
            answer = await place.until(
                "/api/v1/endpoints/web", lambda found: {e["health"] for e in found["endpoints"]} == {"passing", "critical"}
            )
            (out,) = [endpoint for endpoint in answer["endpoints"] if endpoint["health"] == "critical"]
            assert (out["workload"], out["ejected"]) == (other, [])
            assert [check["id"] for check in out["checks"] if check["state"] == "critical"] == [f"_service_maintenance:{other}"]
            await place.until("/api/v1/endpoints/web", lambda found: ejected(found) == [])

    asyncio.run(main())
