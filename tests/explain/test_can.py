"""Whether somebody may call, asked of the proxies before a service."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.compiled import built, gateway, instance
from support.compiled import sidecar as proxy
from tulle.compile import Mesh
from tulle.compile.explain import UnusableRequestError, can_request
from tulle.model.proxy import InboundPort, Node

RULES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: bank}
spec:
  selector: {matchLabels: {app: bank}}
  rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/web]}}], to: [{operation: {methods: [GET]}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""


def bank(name: str = "bank-1", app: str = "bank") -> Node:
    ports = (InboundPort(service_port=80, listen=20080, target=8080),)
    return replace(proxy(app=app), id=f"sidecar~{name}", service="bank", inbound=ports)


def asked(text: str, method: str, url: str, source: str = "", *nodes: Node) -> dict:
    mesh: Mesh = built(text, instance("bank", number=80)).mesh
    return can_request(mesh, nodes or (bank(), gateway()), {"method": method, "url": url, "source": source})


@pytest.mark.parametrize(
    ("method", "source", "word", "by"),
    [
        ("GET", "default/web", "yes", "AuthorizationPolicy/bank spec.rules[0]"),
        ("POST", "default/web", "no", "none of the policies that allow takes it"),
        ("GET", "default/till", "no", "none of the policies that allow takes it"),
        ("GET", "spiffe://far.example/ns/default/sa/web", "no", "none of the policies that allow takes it"),
        ("GET", "", "no", "no filter chain takes the connection; the caller shows no identity"),
    ],
)
def test_one_word(method: str, source: str, word: str, by: str) -> None:
    for url in ("http://bank/", "http://bank.default.svc.cluster.local:80/"):
        answer = asked(RULES, method, url, source)
        assert (answer["allowed"], answer["proxies"][0]["by"]) == (word, by)


def test_instances_that_differ() -> None:
    answer = asked(RULES, "POST", "http://bank/", "default/web", bank(), bank("bank-2", app="other"))
    assert answer["allowed"] == "depends"
    assert [v["allowed"] for v in answer["proxies"]] == [False, True]


def test_a_service_that_decides() -> None:
    """Whom nobody can ask refuses."""
    text = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: istio-system}
spec: {action: CUSTOM, provider: {name: judge}, rules: [{}]}
---
"""
    config = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: "extensionProviders: [{name: judge, envoyExtAuthzGrpc: {service: bank.default.svc.cluster.local, port: 80}}]"
"""
    assert asked(text, "GET", "http://bank/", "default/web")["allowed"] == "no"
    answer = asked(text + config, "GET", "http://bank/", "default/web")
    assert answer["allowed"] == "depends"
    assert answer["proxies"][0].get("allowed") is None


def test_what_is_not_there() -> None:
    with pytest.raises(UnusableRequestError, match="no proxy of the mesh stands before vault:80"):
        asked(RULES, "GET", "http://vault/", "default/web")
