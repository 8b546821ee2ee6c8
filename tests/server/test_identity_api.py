"""Tokens over the API: who may have whose, what is written down of it, and how third parties look at them."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from joserfc import jwk, jwt

from support.api import Api, running_api
from tulle.ca.authority import Authority
from tulle.ca.joining import requested
from tulle.ca.jwt_keys import JwtKeys
from tulle.ca.keys import new_key
from tulle.model.identity import CONTROL_NAMESPACE

JWT = "/api/v1/identity/jwt"


@dataclass
class Mesh:
    api: Api
    keys: JwtKeys
    authority: Authority

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> tuple[int, Any]:
        return self.api.request(method, path, body, {"authorization": f"Bearer {token}"} if token else {})

    def token(self, **wanted: object) -> str:
        return str(self.ask("POST", "/api/v1/tokens", wanted, self.api.first)[1]["token"])

    def joined(self, workload: str) -> str:
        """The token of a workload that has joined."""
        body = {"token": self.token(**{"for": workload}), "csr": requested(new_key()).decode(), "for": workload}
        return str(self.ask("POST", "/api/v1/join", body)[1]["token"])

    def jwt(self, by: str, workload: str = "shop/web", **more: object) -> tuple[int, Any]:
        wanted = {"for": workload} if workload else {}
        return self.ask("POST", JWT, {**wanted, "audience": ["bank"], **more}, by)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    authority = Authority(tmp_path / "ca", "cluster.local")
    keys = JwtKeys(tmp_path / "ca" / "jwt-keys.json", "https://identity.example", "cluster.local")
    with running_api(tmp_path, guarded=True, authority=authority, jwt_keys=keys) as api:
        yield Mesh(api, keys, authority)


def subject(answer: dict[str, Any]) -> str:
    payload = answer["token"].split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(payload + "=="))["sub"])


def test_a_workload_gets_its_own_identity_and_nobody_elses(mesh: Mesh) -> None:
    web = mesh.joined("shop/web")
    for workload in ("shop/web", ""):
        status, answer = mesh.jwt(web, workload)
        assert (status, subject(answer)) == (201, "spiffe://cluster.local/ns/shop/sa/web")
    for other in ("shop/admin", "bank/web", "shop/web/sa/admin", "shop/../bank", "*/web"):
        status, answer = mesh.jwt(web, other)
        assert (status, "token" in answer) == (403, False), other
    assert mesh.ask("GET", "/api/v1/ca/jwt-keys", token=web)[0] == 403
    assert mesh.ask("POST", "/api/v1/ca/jwt-keys", {}, web)[0] == 403


def test_operators_get_those_of_their_namespaces_and_it_is_written_down(mesh: Mesh, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tulle.identity")
    operator, viewer = mesh.token(role="operator", namespaces=["shop"]), mesh.token(role="viewer")
    status, answer = mesh.jwt(operator)
    assert (status, subject(answer)) == (201, "spiffe://cluster.local/ns/shop/sa/web")
    assert mesh.jwt(operator, "bank/web")[0] == 403
    assert mesh.jwt(operator, "")[0] == 400
    assert mesh.jwt(viewer)[0] == 403
    assert mesh.jwt("")[0] == 401
    (record,) = [r for r in caplog.records if r.name == "tulle.identity"]
    fields = record.fields  # type: ignore[attr-defined]
    assert (fields["identity"], fields["audience"], fields["by"]) == (answer["identity"], "bank", operator.split(".")[1])
    assert answer["token"] not in caplog.text


@pytest.mark.parametrize(
    "more",
    [
        {"audience": []},
        {"audience": [""]},
        {"audience": "bank"},
        {"audience": ["x" * 256]},
        {"audience": ["bank"] * 17},
        {"ttl": "2h"},
        {"ttl": "0s"},
        {"ttl": "-5m"},
        {"ttl": "soon"},
        {"sub": "spiffe://cluster.local/ns/bank/sa/admin"},
        {"for": "shop"},
        {"for": "Shop/web"},
        {"for": f"{CONTROL_NAMESPACE}/control"},
    ],
)
def test_what_is_no_request_for_a_token(mesh: Mesh, more: dict[str, object]) -> None:
    status, answer = mesh.jwt(mesh.api.first, **more)
    assert (status, "token" in answer) == (400, False)


def test_third_parties_find_the_keys_by_the_issuer_alone(mesh: Mesh) -> None:
    """OpenID Connect Discovery, without any token for the API."""
    text = mesh.jwt(mesh.api.first, ttl="1m")[1]["token"]
    status, found = mesh.ask("GET", "/.well-known/openid-configuration")
    assert (status, found["issuer"], found["jwks_uri"]) == (
        200,
        "https://identity.example",
        "https://identity.example/.well-known/jwks.json",
    )
    keys = mesh.ask("GET", "/.well-known/jwks.json")[1]
    claims = jwt.decode(text, jwk.KeySet.import_key_set(keys), algorithms=found["id_token_signing_alg_values_supported"]).claims
    jwt.JWTClaimsRegistry(iss={"essential": True, "value": found["issuer"]}, aud={"essential": True, "value": "bank"}).validate(claims)
    assert claims["exp"] - claims["iat"] == 60


def test_the_bundle_of_the_trust_domain_holds_roots_and_keys(mesh: Mesh) -> None:
    bundle = mesh.ask("GET", "/.well-known/spiffe-bundle")[1]
    by_use = {key["use"]: key for key in bundle["keys"]}
    assert by_use.keys() == {"x509-svid", "jwt-svid"}
    der = base64.b64decode(by_use["x509-svid"]["x5c"][0])
    assert x509.load_der_x509_certificate(der) == x509.load_pem_x509_certificate(mesh.authority.bundle())
    point = {name: by_use["x509-svid"][name] for name in ("kty", "crv", "x", "y")}
    numbers = jwk.ECKey.import_key(point).public_key.public_numbers()
    assert numbers == x509.load_der_x509_certificate(der).public_key().public_numbers()  # type: ignore[union-attr]
    assert by_use["jwt-svid"]["kid"] == mesh.ask("GET", "/.well-known/jwks.json")[1]["keys"][0]["kid"]
    assert all("d" not in key for key in bundle["keys"]), "nothing private"


def test_admins_see_to_the_keys(mesh: Mesh) -> None:
    admin = mesh.api.first
    (first,) = mesh.ask("GET", "/api/v1/ca/jwt-keys", token=admin)[1]["keys"]
    assert mesh.ask("POST", "/api/v1/ca/jwt-keys", {"after": "1h"}, admin)[0] == 201
    assert mesh.ask("POST", "/api/v1/ca/jwt-keys", {"after": "1h"}, admin)[0] == 409
    assert mesh.ask("POST", "/api/v1/ca/jwt-keys", {"after": "-1h"}, admin)[0] == 400
    assert mesh.ask("DELETE", f"/api/v1/ca/jwt-keys/{first['id']}", token=mesh.token(role="operator"))[0] == 403
    (left,) = mesh.ask("DELETE", f"/api/v1/ca/jwt-keys/{first['id']}", token=admin)[1]["keys"]
    assert (left["turn"], left["id"] != first["id"]) == ("signs", True)
    assert mesh.ask("DELETE", f"/api/v1/ca/jwt-keys/{first['id']}", token=admin)[0] == 404


def test_the_longest_life_is_an_hour(mesh: Mesh) -> None:
    assert mesh.jwt(mesh.api.first, ttl="1h")[0] == 201
    assert mesh.jwt(mesh.api.first, ttl=f"{timedelta(hours=1).seconds + 1}s")[0] == 400
