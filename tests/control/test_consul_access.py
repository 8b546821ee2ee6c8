"""Consul's API asks for tokens where Tulle's own does, and its first token is not for whoever comes first."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import httpx

from support.carried import until
from support.running import Place, running
from tulle.http_client import Response, request

SERVICE = json.dumps({"Name": "payments", "Port": 666}).encode()
BOOTSTRAP = "/v1/acl/bootstrap"


def test_nobody_registers_or_takes_the_first_token_without_one(tmp_path: Path) -> None:
    asyncio.run(scenario(Place(folder=tmp_path)))


async def scenario(place: Place) -> None:
    environment = {**place.environment, "TULLE_API_TOKENS": "required"}
    async with running(place, "control", environment=environment):
        await asyncio.to_thread(until, lambda: is_ready(place), seconds=120)
        assert (await put(place, "/v1/agent/service/register", SERVICE)).status == 403
        code, said = await place.tulle("maint", "--enable")
        assert (code, "node:write" in said, "CONSUL_HTTP_TOKEN" in said) == (1, True, True)
        for path in (BOOTSTRAP, f"{BOOTSTRAP}?dc=dc1", "/v1/acl%2Fbootstrap", "/v1/acl/%62ootstrap"):
            assert (await put(place, path)).status == 401, path
        assert (await put(place, BOOTSTRAP, headers={"x-consul-token": "guessed"})).status == 401
        admin = (place.folder / "state" / "admin-token").read_text().strip()
        first = await put(place, BOOTSTRAP, headers={"authorization": f"Bearer {admin}"})
        assert first.status == 200
        known = {"x-consul-token": str(first.json()["SecretID"])}
        assert (await put(place, "/v1/agent/service/register", SERVICE, known)).status == 200
        assert (await put(place, "/v1/agent/service/register", SERVICE)).status == 403
        again = await put(place, BOOTSTRAP, headers={"x-consul-token": admin})
        assert (again.status, "no longer allowed" in again.text()) == (403, True)


def is_ready(place: Place) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{place.api}/readyz").status_code == 200
    except httpx.TransportError:
        return False


async def put(place: Place, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Response:
    return await request(f"127.0.0.1:{place.api}", "PUT", path, body=body, headers=headers, timeout=60)
