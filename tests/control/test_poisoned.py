"""One document that Envoy refuses, in the middle of a hundred good ones."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from support.raw_http import Client
from support.running import Place, running

pytestmark = pytest.mark.envoy

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
"""

POISON = "    headers: {response: {set: {x-answered-by: '%NOBODY%'}}}\n"
"""Looks like one of Envoy's variables, but Envoy has none of that name, and refuses it."""


def virtual_service(number: int, body: str, more: str = "") -> str:
    return f"""---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: site-{number}}}
spec:
  hosts: [site-{number}.example]
  gateways: [edge]
  http:
  - match: [{{uri: {{prefix: /}}}}]
    directResponse: {{status: 200, body: {{string: {body}}}}}
{more}"""


def programmed(answer: dict[str, Any]) -> dict[str, str]:
    (found,) = (c for c in answer["status"]["conditions"] if c["type"] == "Programmed")
    return found


async def ask(place: Place, number: int) -> bytes:
    client = Client()
    try:
        response = await client.send(place.gateway, "GET", "/", [("host", f"site-{number}.example")])
        return response.body
    finally:
        client.close()


async def scenario(folder: Path) -> None:
    place = Place(folder=folder)
    place.write("gateway.yaml", GATEWAY.format(port=place.gateway))
    place.write("sites.yaml", "".join(virtual_service(n, "one") for n in range(100)))
    async with running(place, "control"), running(place, "gateway"):
        await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 1)
        code, output = await place.tulle("apply", "-f", "gateway.yaml", "-f", "sites.yaml", "--wait")
        assert code == 0, output
        assert await ask(place, 41) == b"one"

        documents = [virtual_service(n, "two") for n in range(100)]
        documents[41] = virtual_service(41, "poison", POISON)
        place.write("sites.yaml", "".join(documents))
        code, output = await place.tulle("apply", "-f", "sites.yaml")
        assert code == 0, output
        path = "/api/v1/resources/VirtualService/default/site-41"
        found = await place.until(path, lambda a: "last good" in programmed(a)["message"])
        refused = programmed(found)
        assert (refused["status"], refused["reason"]) == ("False", "Refused")
        line = documents[0].count("\n") * 41
        assert f"sites.yaml:{line + 2}:" in refused["message"] or f"sites.yaml:{line + 9}:" in refused["message"], refused
        assert "NOBODY" in refused["message"], refused
        await place.until("/api/v1/proxies", lambda a: a["proxies"][0]["current"] and not a["proxies"][0]["error"])
        answers = await asyncio.gather(*(ask(place, n) for n in range(100)))
        assert answers == [b"one" if n == 41 else b"two" for n in range(100)]

        place.write("sites.yaml", virtual_service(41, "four", POISON))
        code, output = await place.tulle("apply", "-f", "sites.yaml", "--wait")
        assert code == 1, output
        assert "NOBODY" in output, output

        place.write("sites.yaml", virtual_service(41, "three"))
        code, output = await place.tulle("apply", "-f", "sites.yaml", "--wait")
        assert code == 0, output
        assert await ask(place, 41) == b"three"
        assert (await place.status("VirtualService", "site-41"))["Programmed"]["status"] == "True"


def test_the_ninety_nine_are_in_force_and_the_bad_one_keeps_its_last_good_version(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))


async def invalid_scenario(folder: Path) -> None:
    place = Place(folder=folder)
    place.write("gateway.yaml", GATEWAY.format(port=place.gateway))
    place.write("sites.yaml", "".join(virtual_service(n, "one") for n in range(100)))
    async with running(place, "control"), running(place, "gateway"):
        await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 1)
        code, output = await place.tulle("apply", "-f", "gateway.yaml", "-f", "sites.yaml", "--wait")
        assert code == 0, output
        documents = [virtual_service(n, "two") for n in range(100)]
        documents[41] = documents[41].replace("status: 200", "status: 2000")
        place.write("sites.yaml", "".join(documents))
        code, output = await place.tulle("apply", "-f", "sites.yaml", "--wait")
        assert code == 1
        line = documents[0].count("\n") * 41 + 10
        assert f"sites.yaml:{line}: VirtualService/site-41: spec.http[0].directResponse.status: " in output
        answers = await asyncio.gather(*(ask(place, n) for n in range(100)))
        assert answers == [b"one" if n == 41 else b"two" for n in range(100)]
        accepted = (await place.status("VirtualService", "site-41"))["Accepted"]
        assert accepted["status"] == "False"
        assert f"sites.yaml:{line}" in accepted["message"]


def test_an_invalid_document_keeps_its_last_good_version_and_says_where_it_is_wrong(tmp_path: Path) -> None:
    asyncio.run(invalid_scenario(tmp_path))
