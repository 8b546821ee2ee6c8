"""JSON Web Tokens at a gateway: a real Envoy, tokens of every kind, and claims that decide who is let in and where a request goes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask, at, carried
from support.compiled import built, gateway, inputs, warnings
from support.running import free_port
from support.tokens import Issuer, unsigned
from tulle.compile import build, view
from tulle.compile.explain import Request, explain_view

pytestmark = pytest.mark.envoy

ISSUER, OTHER = Issuer(), Issuer("https://other.example", "two")


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def edge(port: int, *, routes: str = "http: [{route: [{destination: {host: far}}]}]") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all}}
spec: {{hosts: ["*"], gateways: [edge], {routes}}}
---
"""


def authentication(*rules: str, name: str = "tokens") -> str:
    made = "\n".join(f"  - {rule}" for rule in rules)
    return f"""apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: {name}, namespace: istio-system}}
spec:
  jwtRules:
{made}
---
"""


def issued(by: Issuer, more: str = "") -> str:
    return f"{{issuer: '{by.name}', jwks: '{by.key_set}'{more}}}"


def policy(spec: str, name: str = "policy") -> str:
    return f"""apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: istio-system}}
spec: {spec}
---
"""


def test_tokens_that_are_taken_and_refused(tmp_path: Path) -> None:
    port = free_port()
    text = edge(port) + authentication(issued(ISSUER, ", audiences: [shop]"))
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        assert ask(port)[0] == 200, "without a token nobody claims to be anyone"
        good = ISSUER.token(aud=["news", "shop"])
        assert ask(port, headers=bearer(good))[0] == 200
        assert "authorization" not in far.seen[-1]["headers"], "the token is not for the endpoint"
        assert ask(port, f"/?access_token={good}")[0] == 200
        assert ask(port, headers=bearer(ISSUER.token(aud="bank")))[0] == 403
        forged = good.rpartition(".")[0] + "." + "A" * 342
        confused = good.split(".")[1]
        head = f"{base64.urlsafe_b64encode(json.dumps({'alg': 'HS256', 'kid': 'one'}).encode()).rstrip(b'=').decode()}.{confused}"
        mac = hmac.new(ISSUER.modulus, head.encode(), hashlib.sha256).digest()
        wrong = {
            "expired": ISSUER.token(aud="shop", lives=-600),
            "not valid yet": ISSUER.token(aud="shop", nbf=2**33),
            "of another issuer": OTHER.token(aud="shop"),
            "signed by another": Issuer(ISSUER.name).token(aud="shop"),
            "forged": forged,
            "alg none": unsigned(iss=ISSUER.name, sub="ann", aud="shop"),
            "a public key for a secret": f"{head}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}",
            "no token": "abc",
        }
        said = {name: ask(port, headers=bearer(token))[0] for name, token in wrong.items()}
        assert said == dict.fromkeys(wrong, 401)


def test_places_and_what_the_endpoint_is_told(tmp_path: Path) -> None:
    port = free_port()
    more = (
        ", fromHeaders: [{name: x-token, prefix: 'jwt '}], fromParams: [t], fromCookies: [c], forwardOriginalToken: true"
        ", outputPayloadToHeader: x-payload, outputClaimToHeaders: [{header: x-sub, claim: sub}, {header: x-role, claim: realm.role}]"
    )
    with (
        backend("far") as far,
        carried(edge(port) + authentication(issued(ISSUER, more)), gateway(), tmp_path, at("far", 80, far.port, id="far")),
    ):
        token = ISSUER.token(realm={"role": "clerk"})
        for path, headers in (("/", {"x-token": f"jwt {token}"}), (f"/?t={token}", {}), ("/", {"cookie": f"a=b; c={token}"})):
            assert ask(port, path, headers=headers)[0] == 200
            told = far.seen[-1]["headers"]
            assert (told["x-sub"], told["x-role"]) == ("ann", "clerk")
            assert token in f"{told} {far.seen[-1]}", "the token is for the endpoint, too"
            assert json.loads(base64.urlsafe_b64decode(told["x-payload"] + "=="))["sub"] == "ann"
        assert ask(port, headers=bearer("abc"))[0] == 200, "the usual place is not looked at"
        assert ask(port, headers={"x-sub": "eve"})[0] == 200
        assert "x-sub" not in far.seen[-1]["headers"], "nobody may say who he is"


def test_several_issuers_and_tokens_that_are_required(tmp_path: Path) -> None:
    port = free_port()
    text = edge(port) + authentication(issued(ISSUER), issued(OTHER))
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        assert [ask(port, headers=bearer(i.token()))[0] for i in (ISSUER, OTHER)] == [200, 200]
        assert [ask(port)[0], ask(port, headers=bearer("abc"))[0]] == [200, 401]
    port = free_port()
    text = edge(port) + authentication(issued(ISSUER, ", presence: REQUIRED"))
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        assert [ask(port)[0], ask(port, headers=bearer(ISSUER.token()))[0]] == [401, 200]


def test_claims_let_in(tmp_path: Path) -> None:
    port = free_port()
    rules = (
        "{rules: [{from: [{source: {requestPrincipals: ['https://issuer.example/*']}}], to: [{operation: {paths: [/any]}}]},"
        " {when: [{key: 'request.auth.claims[groups]', values: [staff]}, {key: request.auth.audiences, values: ['sh*']}],"
        " to: [{operation: {paths: [/staff]}}]},"
        " {when: [{key: 'request.auth.claims[scope]', values: [write]}], to: [{operation: {paths: [/write]}}]},"
        " {when: [{key: 'request.auth.claims[teams]', values: [staff]}], to: [{operation: {paths: [/words]}}]},"
        " {to: [{operation: {paths: [/open]}}]}]}"
    )
    text = edge(port) + authentication(issued(ISSUER, ", spaceDelimitedClaims: [teams]")) + policy(rules)
    calls = {
        "open, nobody": ("/open", {}, 200),
        "any, nobody": ("/any", {}, 403),
        "any, ann": ("/any", {"sub": "ann"}, 200),
        "staff, ann": ("/staff", {"sub": "ann", "groups": ["shop"], "aud": "shop"}, 403),
        "staff, bob": ("/staff", {"sub": "bob", "groups": ["shop", "staff"], "aud": "shop"}, 200),
        "staff, elsewhere": ("/staff", {"sub": "bob", "groups": "staff", "aud": "bank"}, 403),
        "one word of several": ("/write", {"scope": "read write"}, 200),
        "a part of a word": ("/write", {"scope": "read writer"}, 403),
        "a claim of words": ("/words", {"teams": "shop staff"}, 200),
        "a claim of other words": ("/words", {"teams": "shop staffing"}, 403),
    }
    seen = view(built(text, at("far", 80, 1, id="far")).mesh, gateway())
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        for name, (path, claims, status) in calls.items():
            headers = bearer(ISSUER.token(**claims)) if claims else {}
            assert ask(port, path, headers=headers)[0] == status, name
            trace = explain_view(seen, gateway(), Request(url=f"http://shop.example:{port}{path}", headers=tuple(headers.items())))
            assert (trace.direct_response.status if trace.direct_response else 200) == status, (name, trace)
    bad = explain_view(seen, gateway(), Request(url=f"http://shop.example:{port}/any", headers=tuple(bearer("abc").items())))
    assert bad.direct_response is not None
    assert bad.direct_response.status == 401


CLAIMED = """http: [
  {match: [{headers: {"@request.auth.claims.groups": {exact: staff}}, withoutHeaders: {"@request.auth.claims[left]": {}}}],
   directResponse: {status: 207}},
  {match: [{headers: {"@request.auth.claims[realm][role]": {prefix: cl}}}], directResponse: {status: 208}},
  {directResponse: {status: 209}}]"""


def test_claims_choose_the_route(tmp_path: Path) -> None:
    port = free_port()
    text = edge(port, routes=CLAIMED) + authentication(issued(ISSUER))
    seen = view(built(text).mesh, gateway())
    with carried(text, gateway(), tmp_path):
        for claims, status in (
            ({"groups": ["staff"]}, 207),
            ({"groups": "staff", "left": "yes"}, 209),
            ({"realm": {"role": "clerk"}}, 208),
            ({}, 209),
        ):
            headers = bearer(ISSUER.token(**claims))
            assert ask(port, headers=headers)[0] == status, claims
            trace = explain_view(seen, gateway(), Request(url=f"http://a:{port}/", headers=tuple(headers.items())))
            assert trace.direct_response is not None
            assert trace.direct_response.status == status
        assert ask(port, headers={"@request.auth.claims.groups": "staff"})[0] in (209, 400), "no header is a claim"


def test_a_route_that_only_claims_lead_to_is_guarded(tmp_path: Path) -> None:
    """Before the token is looked at, no route takes the request."""
    port = free_port()
    routes = """http: [{match: [{headers: {"@request.auth.claims.groups": {exact: staff}}}], directResponse: {status: 207}}]"""
    text = edge(port, routes=routes) + authentication(issued(ISSUER))
    headers = bearer(ISSUER.token(groups=["staff"]))
    for more, routed, others in (("", 207, 404), (policy("{action: DENY, rules: [{}]}"), 403, 403)):
        seen = view(built(text + more).mesh, gateway())
        with carried(text + more, gateway(), tmp_path):
            assert (ask(port, headers=headers)[0], ask(port)[0]) == (routed, others)
        trace = explain_view(seen, gateway(), Request(url=f"http://a:{port}/", headers=tuple(headers.items())))
        assert trace.direct_response is not None
        assert trace.direct_response.status == routed


def test_keys_that_are_fetched(tmp_path: Path) -> None:
    """Until they are there no token is good, and the document says so."""
    port, uri = free_port(), "https://issuer.example/keys"
    text = edge(port) + authentication(f"{{issuer: '{ISSUER.name}', jwksUri: '{uri}'}}")
    before = build(inputs(text))
    assert before.mesh.structure.authentications.key_uris == {uri: 5.0}
    waiting = build(replace(inputs(text), key_sets={}))
    (warning,) = warnings(waiting, "RequestAuthentication/tokens")
    assert f"the keys at {uri} could not be fetched yet" in warning
    there = build(replace(waiting.inputs, key_sets={uri: ISSUER.key_set}), waiting)
    assert warnings(there, "RequestAuthentication/tokens") == []
    (tokens,) = next(x for x in view(there.mesh, gateway()).listeners if x.port == port).chains[0].serve.tokens
    assert tokens.issuers[0].keys == ISSUER.key_set
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        assert [ask(port)[0], ask(port, headers=bearer(ISSUER.token()))[0]] == [200, 401]


def test_an_issuer_without_keys_refuses_its_tokens_and_nothing_else(tmp_path: Path) -> None:
    port = free_port()
    text = edge(port) + authentication(f"{{issuer: '{ISSUER.name}', jwks: '{{\"keys\": []}}'}}")
    assert "spec.jwtRules[0].jwks holds no keys" in warnings(build(inputs(text)), "RequestAuthentication/tokens")[0].replace(":", "")
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        assert [ask(port)[0], ask(port, headers=bearer(ISSUER.token()))[0]] == [200, 401]
