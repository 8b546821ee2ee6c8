"""What tokens say decides: principals, lists of groups, claims within claims, headers made of claims, routes chosen by claims."""

from __future__ import annotations

import json

import pytest

from support.carried import until
from support.town import Town
from support.words import bearer, policy, tokens

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("scenarios")]
URL = "http://echo.foo:8000/headers"
APP = "selector: {matchLabels: {app: echo}}, "


def test_a_token_of_one_principal_and_of_a_group(town: Town) -> None:
    def call(**claims: object) -> int:
        headers = bearer(town.issuer.token(**claims)) if claims else {}
        return town.called("caller.foo", URL, **headers)

    who = f"from: [{{source: {{requestPrincipals: ['{town.issuer.name}/ann']}}}}]"
    with town.scene.holding(tokens(town.issuer)):
        assert [call(), call(sub="ann"), town.called("caller.foo", URL, **bearer("bad"))] == [200, 200, 401]
        with town.scene.holding(policy("require-jwt", f"{APP}action: ALLOW, rules: [{{{who}}}]")):
            assert [call(), call(sub="ann"), call(sub="bob")] == [403, 200, 403]
        group = ", when: [{key: 'request.auth.claims[groups]', values: [group1]}]"
        with town.scene.holding(policy("require-jwt", f"{APP}action: ALLOW, rules: [{{{who}{group}}}]")):
            assert call(sub="ann") == 403
            assert call(sub="ann", groups=["group1", "group2"]) == 200
            assert call(sub="ann", groups="group1") == 200, "a text is a list of one"
            assert call(sub="ann", groups=["group10"]) == 403
        nested = ", when: [{key: 'request.auth.claims[nested][key]', values: [value*]}]"
        with town.scene.holding(policy("require-jwt", f"{APP}action: ALLOW, rules: [{{{who}{nested}}}]")):
            assert call(sub="ann", nested={"key": "value1"}) == 200
            assert call(sub="ann", nested={"key": ["other", "value2"]}) == 200
            assert call(sub="ann", nested={"other": "value1"}) == 403
            assert call(sub="ann", nested="value1") == 403


def test_claims_are_copied_to_headers(town: Town) -> None:
    made = ", outputClaimToHeaders: [{header: x-jwt-claim-foo, claim: foo}, {header: x-jwt-claim-deep, claim: nested.key}]"
    with town.scene.holding(tokens(town.issuer, more=made)):
        seen = town.scene.call("caller.foo", URL, **bearer(town.issuer.token(foo="bar", nested={"key": "deep"}))).said["headers"]
        assert (seen["x-jwt-claim-foo"], seen["x-jwt-claim-deep"]) == ("bar", "deep")
        forged = town.scene.call("caller.foo", URL, x_jwt_claim_foo="forged").said["headers"]
        assert "x-jwt-claim-foo" not in forged


def test_claims_choose_routes(town: Town) -> None:
    routed = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routed, namespace: foo}
spec:
  hosts: [routed.example.com]
  gateways: [front]
  http:
  - match: [{uri: {prefix: /}, headers: {"@request.auth.claims.groups": {exact: group1}}}]
    route: [{destination: {host: echo.foo.svc.cluster.local, port: {number: 8000}}}]
  - match: [{uri: {prefix: /}, headers: {"@request.auth.claims[nested][key]": {exact: value}}}]
    directResponse: {status: 208}
"""
    with town.scene.holding(routed, tokens(town.issuer, namespace="istio-system")):

        def status(**claims: object) -> int:
            return town.scene.enter("/", host="routed.example.com", **(bearer(town.issuer.token(**claims)) if claims else {})).status

        assert [status(), status(groups="group1"), status(groups=["group2", "group1"]), status(groups=["group2"])] == [404, 200, 200, 404]
        assert status(nested={"key": "value"}) == 208
        assert town.scene.enter("/", host="routed.example.com", **bearer("bad")).status == 401
        forged = {"host": "routed.example.com", "@request.auth.claims.groups": "group1"}
        assert town.scene.enter("/", **forged).status in (400, 404)


def test_keys_that_come_later(town: Town) -> None:
    """Where they cannot be fetched no token is good, and the document says why."""
    with town.scene.holding(tokens(town.issuer, keys="http://127.0.0.1:1/keys")):
        assert [town.called("caller.foo", URL), town.called("caller.foo", URL, **bearer(town.issuer.token()))] == [200, 401]
        path = "/api/v1/resources/RequestAuthentication/foo/tokens"
        until(lambda: "could not be fetched" in json.dumps(town.scene.api("GET", path)["status"]))
