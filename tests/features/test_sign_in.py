"""People who sign in at a gateway: a real Envoy, a provider of the test's own, and a browser that keeps cookies."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.backend import Backend, backend
from support.browser import Browser
from support.carried import ask, at
from support.compiled import built, gateway, sidecar, warnings
from support.edge import edge
from support.led_mesh import LedMesh, led_mesh
from support.lone_envoy import validate
from support.provider import Provider, provider
from support.running import free_port
from tulle.compile import view
from tulle.compile.explain import Request, explain_view
from tulle.translate import Translator
from tulle.translate.static import shown, static_config

pytestmark = pytest.mark.envoy

CLIENT, SECRET = "shop", "the client's own secret"


def documents(port: int, at_: str, more: str = "", secret: str = SECRET, target: str = "{kind: Gateway, name: edge}") -> str:
    stored = f"""
apiVersion: v1
kind: Secret
metadata: {{name: login, namespace: istio-system}}
stringData: {{client-secret: "{secret}"}}
"""
    login = f"""
apiVersion: tulle.dev/v1
kind: Authentication
metadata: {{name: people, namespace: istio-system}}
spec:
  targetRefs: [{target}]
  excludedPaths: [/public/*]
  oidc:
    clientId: {CLIENT}
    secret: login
    authorizationEndpoint: {at_}/authorize
    tokenEndpoint: {at_}/token
    {more}
"""
    return edge(port, *([stored] if secret else []), login)


def tokens(issuer: Provider) -> str:
    return f"""---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: istio-system}}
spec:
  jwtRules:
  - issuer: {issuer.url}
    jwks: '{issuer.issuer.key_set}'
    forwardOriginalToken: true
    outputClaimToHeaders: [{{header: x-user, claim: sub}}]
"""


def test_signing_in_and_out() -> None:
    port = free_port()

    async def run() -> None:
        with backend("far") as far, provider(CLIENT, SECRET) as people:
            text = documents(port, people.url, "forwardBearerToken: true") + tokens(people)
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                await asyncio.to_thread(_signs_in_and_out, port, far, people)
                _is_explained(mesh, port, people)
                assert mesh.rejections == []

    asyncio.run(run())


def _signs_in_and_out(port: int, far: Backend, people: Provider) -> None:
    ann = Browser(port)
    status, headers, _ = ann.get("/orders?page=2", follow=False)
    asked = parse_qs(urlsplit(headers["location"]).query)
    assert (status, asked["client_id"], asked["scope"]) == (302, [CLIENT], ["openid"])
    assert asked["redirect_uri"] == [f"http://127.0.0.1:{port}/oauth2/callback"]
    for path, shown_ in (
        ("/", {"authorization": f"Bearer {people.issuer.token()}"}),
        ("/?token=abc", {}),
        ("/", {"cookie": "BearerToken=abc"}),
    ):
        assert ask(port, path, headers=shown_)[0] == 302, "no token of somebody's own takes the place of signing in"
    assert far.seen == [], "nothing gets through before somebody signs in"
    assert ann.get("/orders?page=2")[0] == 200, (ann.visited, people.refused)
    assert people.redeemed
    assert ann.visited[-1].endswith("/orders?page=2"), "people come back to where they wanted to go"
    told = far.seen[-1]["headers"]
    assert told["authorization"].startswith("Bearer ey")
    assert told["x-user"] == "ann", "what looks at tokens sees this one"
    before = len(people.redeemed)
    assert ann.get("/again", follow=False)[0] == 200
    assert len(people.redeemed) == before, "one sign-in is enough"
    assert SECRET not in json.dumps(far.seen) + json.dumps(ann.cookies) + "".join(ann.visited)
    kept = dict(ann.cookies[f"127.0.0.1:{port}"])
    forger = Browser(port)
    forger.cookies[f"127.0.0.1:{port}"] = {**kept, "OauthHMAC": kept["OauthHMAC"][:-4] + "AAA="}
    assert forger.get("/", follow=False)[0] == 302, "cookies are signed"
    assert Browser(port).get("/public/logo", follow=False)[0] == 200
    stranger = Browser(port)
    code = "/oauth2/callback?" + urlsplit(next(url for url in ann.visited if "/oauth2/callback" in url)).query
    assert stranger.get(code, follow=False)[0] in (401, 302), "a code that another one was sent is good for nothing"
    assert "OauthHMAC" not in stranger.cookies[f"127.0.0.1:{port}"]
    assert ann.get("/logout", follow=False)[0] == 302
    assert "OauthHMAC" not in ann.cookies[f"127.0.0.1:{port}"]
    assert ann.get("/orders", follow=False)[0] == 302


def _is_explained(mesh: LedMesh, port: int, people: Provider) -> None:
    for path, headers, status in (("/", (), 302), ("/public/a", (), 200), ("/", (("cookie", "OauthHMAC=x"),), 200), ("/logout", (), 302)):
        request = Request(url=f"http://127.0.0.1:{port}{path}", headers=headers)
        trace = explain_view(view(mesh.built.mesh, gateway()), gateway(), request)
        assert (trace.direct_response.status if trace.direct_response else 200) == status, trace
        assert SECRET not in json.dumps(trace.to_dict())
    away = explain_view(view(mesh.built.mesh, gateway()), gateway(), Request(url=f"http://127.0.0.1:{port}/"))
    assert any(f"sent to {people.url}/authorize" in step.why for step in away.steps)


def test_without_its_secret_or_with_a_wrong_one_nobody_gets_in() -> None:
    port = free_port()

    async def run() -> None:
        with backend("far") as far, provider(CLIENT, SECRET) as people:
            async with led_mesh(gateway(), documents(port, people.url, secret=""), at("far", 80, far.port, id="far")) as mesh:
                assert (await asyncio.to_thread(Browser(port).get, "/"))[0] == 401
                (why,) = warnings(mesh.built, "Authentication/people")
                assert "there is no Secret login in namespace istio-system: nobody is let in" in why
                await mesh.change(documents(port, people.url, secret="wrong"))
                assert (await asyncio.to_thread(Browser(port).get, "/"))[0] == 401
                assert people.refused == ["token: not the client's secret"]
                await mesh.change(documents(port, people.url))
                assert (await asyncio.to_thread(Browser(port).get, "/"))[0] == 200
                assert mesh.rejections == []

    asyncio.run(run())


def test_nothing_that_is_shown_holds_the_secret(tmp_path: Path) -> None:
    port = free_port()
    result = built(documents(port, "https://people.example"), at("far", 80, 1, id="far"))
    seen = view(result.mesh, gateway())
    snapshot = Translator().snapshot(seen)
    assert snapshot.problems() == ()
    config = static_config(snapshot, gateway())
    told = "\n".join((repr(seen), repr(snapshot), json.dumps(config), *(json.dumps(shown(entry)) for entry in snapshot)))
    assert "sign-in-client://istio-system/people" in told
    assert SECRET not in told
    assert validate(config, tmp_path) == ""


def test_nobody_signs_in_beside_a_workload() -> None:
    result = built(documents(8080, "https://people.example", target="{kind: Service, name: far}"), at("far", 80, 1, id="far"))
    (why,) = warnings(result, "Authentication/people")
    assert "people sign in at gateways: nobody is let in here" in why
    logins = result.mesh.structure.logins
    assert [login.by.clients for login in logins.at("istio-system", sidecar().labels, "far")] == [()]  # type: ignore[union-attr]
