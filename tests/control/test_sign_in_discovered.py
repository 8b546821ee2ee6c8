"""People sign in at a provider that somebody else made, of which a document knows the issuer alone: with everything as a user runs it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.browser import Browser
from support.carried import until
from support.openid import provider, registered
from support.running import Place, free_port, running

pytestmark = pytest.mark.envoy

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
spec: {{selector: {{istio: ingressgateway}}, servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"]}}]}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: istio-system}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: shop.default.svc.cluster.local}}}}]}}]}}
---
apiVersion: tulle.dev/v1
kind: Authentication
metadata: {{name: people, namespace: istio-system}}
spec:
  targetRefs: [{{kind: Gateway, name: edge}}]
  excludedPaths: [/public/*]
  oidc:
    issuer: {issuer}
    clientId: {client}
    secret: login
    scopes: [openid, email]
    authorizationParams: {{prompt: login}}
    idTokenHeader: x-id-token
    forwardBearerToken: true
    postLogoutRedirect: http://127.0.0.1:{port}/bye
    denyRedirect: {{x-requested-with: {{exact: XMLHttpRequest}}}}
    cookieNames: {{session: ShopSession, accessToken: ShopToken}}
    sameSite: Strict
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: people, namespace: istio-system}}
spec:
  selector: {{matchLabels: {{istio: ingressgateway}}}}
  jwtRules:
  - issuer: {issuer}
    audiences: ["{client}"]
    fromHeaders: [{{name: x-id-token}}]
    outputClaimToHeaders: [{{header: x-user, claim: sub}}]
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {{name: login, namespace: istio-system}}
stringData: {{client-secret: "{secret}"}}
"""


def test_an_issuer_is_all_that_must_be_told(tmp_path: Path) -> None:
    asyncio.run(scenario(tmp_path))


async def scenario(folder: Path) -> None:
    place, port = Place(folder=folder), free_port()
    with provider(port) as issuer:
        known = await asyncio.to_thread(registered, issuer, f"http://127.0.0.1:{place.gateway}/oauth2/callback")
        text = MESH.format(python=sys.executable, port=place.gateway, issuer="http://127.0.0.1:1", client=known["client_id"])
        mesh = place.write("mesh.yaml", text)
        secret = place.write("secret.yaml", SECRET.format(secret=known["client_secret"]))
        async with running(place, "up", str(mesh), str(secret)) as up:
            await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 2 and all(p["current"] for p in a["proxies"]))
            await without_its_provider(place)
            place.write("right.yaml", text.replace("http://127.0.0.1:1\n", f"{issuer}\n").partition("---\n")[2])
            assert (await place.tulle("apply", "-f", "right.yaml", "--wait"))[0] == 0
            await place.until("/api/v1/resources/Authentication/istio-system/people", lambda a: not a["status"].get("warnings"))
            ann = Browser(place.gateway, "ann")
            await asyncio.to_thread(signs_in, ann, issuer, known["client_id"])
            await asyncio.to_thread(stays_signed_in, ann, issuer)
            await asyncio.to_thread(signs_out, ann, issuer)
            assert known["client_secret"] not in up.log.read_text()


async def without_its_provider(place: Place) -> None:
    assert (await asyncio.to_thread(Browser(place.gateway).get, "/"))[0] == 401
    found = await place.until(
        "/api/v1/resources/Authentication/istio-system/people", lambda a: "no answer" in json.dumps(a["status"].get("warnings", ""))
    )
    assert "nobody is let in until it does" in json.dumps(found["status"]["warnings"])


def signs_in(ann: Browser, issuer: str, client: str) -> None:
    script = {"x-requested-with": "XMLHttpRequest"}
    until(lambda: ann.get("/", follow=False)[0] == 302)
    assert Browser(urlsplit(ann.home).port or 0).get("/", headers=script)[0] == 401, "scripts cannot sign in"
    asked = urlsplit(ann.get("/orders?page=2", follow=False)[1]["location"])
    said = parse_qs(asked.query)
    assert f"{asked.scheme}://{asked.netloc}{asked.path}" == f"{issuer}/oauth2/authorize"
    assert (said["client_id"], said["scope"], said["prompt"]) == ([client], ["openid email"], ["login"])
    assert said["code_challenge_method"] == ["S256"]
    until(lambda: ann.get("/orders?page=2")[0] == 200)
    assert ann.visited[-1].endswith("/orders?page=2")
    assert {"ShopSession", "ShopToken", "IdToken", "RefreshToken"} <= ann.own.keys()
    _, _, body = ann.get("/public/a", headers={"x-id-token": "of somebody else"})
    assert "of somebody else" not in body.decode()
    status, _, body = ann.get("/", headers=script)
    told = {name.lower(): value for name, value in json.loads(body)["headers"].items()}
    assert (status, told["x-user"]) == (200, "ann"), "the keys of the issuer were found, too"
    assert told["authorization"].startswith("Bearer ")


def stays_signed_in(ann: Browser, issuer: str) -> None:
    """The provider's tokens end, and are renewed without a word to ann."""
    before, visits = ann.own["ShopToken"], len([url for url in ann.visited if url.startswith(issuer)])

    def renewed() -> bool:
        assert ann.get("/")[0] == 200
        return ann.own["ShopToken"] != before

    until(renewed)
    assert len([url for url in ann.visited if url.startswith(issuer)]) == visits


def signs_out(ann: Browser, issuer: str) -> None:
    status, headers, _ = ann.get("/logout", follow=False)
    where = urlsplit(headers["location"])
    said = parse_qs(where.query)
    assert (status, where.path, said["post_logout_redirect_uri"]) == (302, "/oauth2/end_session", [f"{ann.home}/bye"])
    assert {"client_id", "id_token_hint"} & said.keys()
    assert headers["location"].startswith(issuer)
    assert "ShopSession" not in ann.own
    assert ann.get("/orders", follow=False)[0] == 302
