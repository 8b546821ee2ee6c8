"""JSON Web Tokens with workloads' identities, with everything as a user runs it: gateway, sidecar, files that stay fresh, and rotation."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from support.carried import ask
from support.eventually import eventually
from support.raw_http import Client
from support.running import Place, running
from support.tokens import unsigned
from tulle.http_client import request

pytestmark = pytest.mark.envoy

ME = "spiffe://cluster.local"
# A connection that is open keeps to the keys of its first moment, until it is drained: with one for each request nobody waits for that.
MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: m}}
spec:
  workloads:
  - {{service: bank, serviceAccount: bank, ports: [{{number: 80}}], command: [{python}, -m, tulle.demo.apps.echo]}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec: {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: bank}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: bank}}}}]}}]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: bank}}
spec: {{host: bank, trafficPolicy: {{connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}}}}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: workloads}}
spec:
  selector: {{matchLabels: {{app: bank}}}}
  jwtRules: [{{issuer: "spiffe://cluster.local", audiences: [bank]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: bank}}
spec:
  selector: {{matchLabels: {{app: bank}}}}
  rules:
  - from: [{{source: {{requestPrincipals: ["spiffe://cluster.local/spiffe://cluster.local/ns/shop/sa/web"]}}}}]
  - from: [{{source: {{requestPrincipals: ["spiffe://cluster.local/spiffe://cluster.local/ns/office/*"]}}}}]
    to: [{{operation: {{paths: [/office]}}}}]
"""
FRESH = """
import os, pathlib, sys, time
path = pathlib.Path(os.environ["TULLE_JWT_FILE"])
print("token", path.read_text(), flush=True)
time.sleep(3600)
"""


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def claims(token: str) -> dict[str, Any]:
    return dict(json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "==")))


async def issued(place: Place, workload: str = "shop/web", audience: str = "bank", *more: str) -> str:
    code, said = await place.tulle("identity", "jwt", "--for", workload, "--audience", audience, "-o", "json", *more)
    assert code == 0, said
    return str(json.loads(said)["token"])


def test_tokens_as_people_use_them(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))


async def scenario(folder: Path) -> None:
    place = Place(folder=folder)
    mesh = place.write("mesh.yaml", MESH.format(python=sys.executable, port=place.gateway))
    async with running(place, "up", str(mesh)) as up:
        await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 2 and all(p["current"] for p in a["proxies"]))
        await who_is_let_in(place)
        await what_is_refused(place)
        await the_rotation(place)
        await a_file_that_stays_fresh(place)
        await a_stolen_key(place)
        assert "PRIVATE" not in up.log.read_text()
        assert "eyJ" not in up.log.read_text()


async def answered(place: Place, path: str = "/", token: str = "") -> int:
    return (await asyncio.to_thread(ask, place.gateway, path, headers=bearer(token) if token else {}))[0]


async def who_is_let_in(place: Place) -> None:
    """Without anybody being asked for keys: the mesh knows its own."""
    web, office = await issued(place), await issued(place, "office/desk")
    assert [await answered(place, token=web), await answered(place), await answered(place, token=office)] == [200, 403, 403]
    assert await answered(place, "/office", office) == 200
    code, said = await place.tulle("get", "RequestAuthentication", "workloads", "-o", "json")
    assert (code, "could not be fetched" in said, "not in force" in said) == (0, False, False)
    code, said = await place.tulle("identity", "jwt", "--audience", "bank")
    assert (code, "for: say whose token" in said) == (2, True)


async def what_is_refused(place: Place) -> None:
    good = await issued(place)
    head, payload, signature = good.split(".")
    said = claims(good)

    def written(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    wrong = {
        "alg none": unsigned(**said),
        "another's name with this signature": f"{head}.{written(said | {'sub': f'{ME}/ns/shop/sa/admin'})}.{signature}",
        "a later end with this signature": f"{head}.{written(said | {'exp': said['exp'] + 3600})}.{signature}",
        "a symmetric algorithm": f"{written({'alg': 'HS256', 'typ': 'JWT'})}.{payload}.{signature}",
        "no signature": f"{head}.{payload}.",
        "nothing": "..",
    }
    assert {name: await answered(place, token=token) for name, token in wrong.items()} == dict.fromkeys(wrong, 401)
    assert await answered(place, token=await issued(place, audience="news")) == 403, "it is for somebody else"
    short = await issued(place, "shop/web", "bank", "--ttl", "10s")
    assert await answered(place, token=short) == 200
    # Envoy lets clocks differ by a minute.
    assert claims(short)["exp"] - claims(short)["iat"] == 10


async def the_rotation(place: Place) -> None:
    """A new token for each request, while the keys change: none is refused."""
    keys = (await place.get("/api/v1/ca/jwt-keys"))["keys"]
    assert [key["turn"] for key in keys] == ["signs"]
    statuses: list[int] = []
    stop = asyncio.Event()

    async def calling() -> None:
        client = Client()
        while not stop.is_set():
            token = (await post(place, {"for": "shop/web", "audience": ["bank"]}))["token"]
            answer = await client.send(place.gateway, "GET", "/", [("host", "any"), ("authorization", f"Bearer {token}")])
            statuses.append(answer.status)
        client.close()

    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(calling()) for _ in range(2)]
        await eventually(lambda: len(statuses) >= 50)
        code, said = await place.tulle("ca", "jwt-rotate", "--after", "6s")
        assert (code, "published" in said) == (0, True), said
        await place.until("/api/v1/ca/jwt-keys", lambda a: [k["turn"] for k in a["keys"]] == ["retired", "signs"])
        done = len(statuses)
        await eventually(lambda: len(statuses) >= done + 100)
        stop.set()
        await asyncio.wait(calls)
    assert set(statuses) == {200}


async def post(place: Place, body: object) -> dict[str, Any]:
    answer = await request(f"127.0.0.1:{place.api}", "POST", "/api/v1/identity/jwt", body=json.dumps(body).encode(), timeout=60)
    return dict(answer.json())


async def a_file_that_stays_fresh(place: Place) -> None:
    place.write("fresh.py", FRESH)
    path = place.folder / "tokens" / "jwt"
    asked = ("--service", "web", "-n", "shop", "--service-account", "web", "--jwt-audience", "bank", "--jwt-file", str(path))
    async with running(place, "run", *asked, "--", sys.executable, "fresh.py") as run:
        await eventually(lambda: "token ey" in run.log.read_text())
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        told = next(line for line in run.log.read_text().splitlines() if "token ey" in line).rpartition("token ")[2]
        assert claims(told)["sub"] == f"{ME}/ns/shop/sa/web"
        assert await answered(place, token=path.read_text()) == 200
    assert not path.exists()


async def a_stolen_key(place: Place) -> None:
    stolen = await issued(place)
    keys = (await place.get("/api/v1/ca/jwt-keys"))["keys"]
    code, said = await place.tulle("ca", "jwt-revoke", next(key["id"] for key in keys if key["turn"] == "signs"))
    assert code == 0, said
    await until(place, stolen, 401)
    await until(place, await issued(place), 200)


async def until(place: Place, token: str, status: int) -> None:
    """The proxy is told at once, but nobody tells us when."""
    async with asyncio.timeout(60):
        while await answered(place, token=token) != status:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
