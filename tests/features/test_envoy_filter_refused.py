"""An EnvoyFilter that Envoy refuses: its document is named, and the gateway goes on as before."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.carried import ask
from support.running import Place, running

pytestmark = pytest.mark.envoy

SITE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: site}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{directResponse: {{status: 200, body: {{string: here}}}}}}]}}
"""
LUA = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: script, namespace: istio-system}}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: {{context: GATEWAY}}
    patch:
      operation: INSERT_FIRST
      value:
        name: lua
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code: {{inline_string: '{code}'}}
"""
GOOD = 'function envoy_on_response(handle) handle:headers():add("x-lua", "{}") end'


async def scenario(folder: Path) -> None:
    place = Place(folder=folder)
    place.write("site.yaml", SITE.format(port=place.gateway))
    async with running(place, "control"), running(place, "gateway"):
        await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 1)

        async def apply(code: str) -> tuple[int, str]:
            place.write("script.yaml", LUA.format(code=code))
            return await place.tulle("apply", "-f", "site.yaml", "-f", "script.yaml", "--wait")

        async def lua() -> str | None:
            status, headers, _ = await asyncio.to_thread(ask, place.gateway)
            assert status == 200
            return headers.get("x-lua")

        assert (await apply(GOOD.format("one")))[0] == 0
        assert await lua() == "one"
        code, output = await apply("this is no Lua")
        assert code == 1, output
        assert "EnvoyFilter/script" in output or "script.yaml" in output, output
        assert await lua() == "one"
        assert (await place.status("EnvoyFilter", "script", "istio-system"))["Programmed"]["status"] == "False"
        assert (await apply(GOOD.format("two")))[0] == 0
        assert await lua() == "two"
        assert (await place.tulle("delete", "-f", "script.yaml", "--wait"))[0] == 0
        assert await lua() is None


def test_the_last_good_version_stays(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))


MORE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: more}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: more, protocol: HTTP}}, hosts: ["more.example"]}}]
"""


async def at_the_start(folder: Path) -> None:
    """Nothing was accepted before, so that every document is suspected."""
    place = Place(folder=folder)
    texts = (SITE.format(port=place.gateway), MORE.format(port=place.gateway), LUA.format(code="this is no Lua"))
    place.write("site.yaml", "---".join(texts))
    async with running(place, "control"):
        await place.until("/api/v1/proxies", lambda a: a["proxies"] == [])
        assert (await place.tulle("apply", "-f", "site.yaml"))[0] == 0
        async with running(place, "gateway"):
            script = "/api/v1/resources/EnvoyFilter/istio-system/script"
            await place.until(script, lambda found: "Refused" in str(found["status"]))
            assert (await place.tulle("apply", "-f", "site.yaml", "--wait"))[0] == 1
            for name in ("edge", "more"):
                assert (await place.status("Gateway", name))["Programmed"]["status"] == "True"
            assert (await asyncio.to_thread(ask, place.gateway))[2] == b"here"


def test_only_the_patch_is_refused_and_not_what_it_patches(tmp_path: Path) -> None:
    asyncio.run(at_the_start(tmp_path))
