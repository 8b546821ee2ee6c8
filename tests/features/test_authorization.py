"""Who is let in: AuthorizationPolicies in a real Envoy, with real services that decide."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask, at, carried
from support.compiled import built, gateway, warnings
from support.judges import grpc_judge
from support.running import free_port
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

PROVIDERS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: http
      envoyExtAuthzHttp: {service: judge.default.svc.cluster.local, port: 8000, includeRequestHeadersInCheck: [x-plan]}
    - name: grpc
      envoyExtAuthzGrpc: {service: court.default.svc.cluster.local, port: 9000, timeout: 60s}
"""


def edge(port: int, protocol: str = "HTTP") -> str:
    routes = "http: [{route: [{destination: {host: far}}]}]"
    if protocol == "TCP":
        routes = "tcp: [{route: [{destination: {host: far}}]}]"
    return f"""
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: main, protocol: {protocol}}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all}}
spec: {{hosts: ["*"], gateways: [edge], {routes}}}
---
"""


def policy(name: str, spec: str, annotations: str = "{}") -> str:
    return f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: istio-system, annotations: {annotations}}}
spec: {{selector: {{matchLabels: {{istio: ingressgateway}}}}, {spec}}}
---
"""


def test_deny_goes_before_allow_and_what_nobody_allows_is_refused(tmp_path: Path) -> None:
    port = free_port()
    text = (
        edge(port)
        + policy("readers", "rules: [{to: [{operation: {methods: [GET], paths: ['/open/*', '/both']}}]}]")
        + policy("closed", "action: DENY, rules: [{to: [{operation: {paths: [/both]}}]}]")
        + policy("tried", "action: DENY, rules: [{}]", '{istio.io/dry-run: "true"}')
    )
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")) as envoy:
        assert [ask(port, path)[0] for path in ("/open/x", "/both", "/elsewhere")] == [200, 403, 403]
        assert ask(port, "/both")[2] == b"RBAC: access denied"
        tried = envoy.get("/stats?filter=istio_dry_run_deny_.*shadow_denied")
        assert tried.strip().endswith(": 4"), "every request was tried"


def test_an_empty_policy_refuses_all(tmp_path: Path) -> None:
    port = free_port()
    with backend("far") as far, carried(edge(port) + policy("none", "rules: []"), gateway(), tmp_path, at("far", 80, far.port, id="far")):
        assert ask(port)[0] == 403


def test_a_service_decides_over_grpc(tmp_path: Path) -> None:
    port = free_port()
    text = edge(port) + policy("ask", "action: CUSTOM, provider: {name: grpc}, rules: [{to: [{operation: {paths: [/buy]}}]}]") + PROVIDERS
    with grpc_judge("x-plan", "gold", status=402, refusal=b"pay first") as (heard, there), backend("far") as far:
        instances = (at("far", 80, far.port, id="far"), at("court", 9000, there, id="court", protocol=Protocol.GRPC))
        with carried(text, gateway(), tmp_path, *instances):
            assert ask(port, "/look")[0] == 200
            assert heard == [], "it is only asked about what the policy's rules take"
            assert ask(port, "/buy")[::2] == (402, b"pay first")
            assert ask(port, "/buy", headers={"x-plan": "gold"})[0] == 200
            assert far.seen[-1]["headers"]["x-judged"] == "gold"


def test_a_service_decides_over_http(tmp_path: Path) -> None:
    port = free_port()
    text = edge(port) + policy("ask", "action: CUSTOM, provider: {name: http}, rules: [{}]") + PROVIDERS
    with backend("judge") as judge, backend("far") as far:
        instances = (at("far", 80, far.port, id="far"), at("judge", 8000, judge.port, id="judge"))
        with carried(text, gateway(), tmp_path, *instances):
            assert ask(port, "/a", headers={"x-plan": "gold", "x-other": "y"})[0] == 200
            assert judge.seen[-1]["headers"]["x-plan"] == "gold"
            assert "x-other" not in judge.seen[-1]["headers"]


def test_who_cannot_ask_refuses(tmp_path: Path) -> None:
    port, nobody = free_port(), free_port()
    text = edge(port) + policy("ask", "action: CUSTOM, provider: {name: http}, rules: [{to: [{operation: {paths: [/buy]}}]}]") + PROVIDERS
    with backend("far") as far:
        instances = (at("far", 80, far.port, id="far"), at("judge", 8000, nobody, id="judge"))
        with carried(text, gateway(), tmp_path, *instances):
            assert [ask(port, path)[0] for path in ("/look", "/buy")] == [200, 403]


def test_a_service_that_nobody_knows_refuses(tmp_path: Path) -> None:
    port = free_port()
    text = edge(port) + policy("ask", "action: CUSTOM, provider: {name: nobody}, rules: [{to: [{operation: {paths: [/buy]}}]}]")
    (warning,) = warnings(built(text), "AuthorizationPolicy/ask")
    assert '"nobody" is not among the extensionProviders' in warning
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        assert [ask(port, path)[0] for path in ("/look", "/buy")] == [200, 403]


@pytest.mark.parametrize(
    ("spec", "let_in"),
    [
        ("action: DENY, rules: [{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}]", False),
        ("action: DENY, rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]", True),
        ("rules: [{from: [{source: {ipBlocks: [127.0.0.1]}}]}]", True),
        ("rules: [{from: [{source: {ipBlocks: [127.0.0.1]}}], to: [{operation: {methods: [GET]}}]}]", False),
        ("action: DENY, rules: [{from: [{source: {ipBlocks: [127.0.0.1]}}], to: [{operation: {methods: [GET]}}]}]", False),
    ],
)
def test_connections(spec: str, let_in: bool, tmp_path: Path) -> None:
    """What only requests have never makes a rule allow a connection, and never keeps one from denying it."""
    port = free_port()
    with backend("far") as far:
        instance = at("far", 80, far.port, id="far", protocol=Protocol.TCP)
        with carried(edge(port, "TCP") + policy("one", spec), gateway(), tmp_path, instance):
            assert reaches(port) == let_in


def reaches(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain:
        try:
            plain.sendall(b"GET / HTTP/1.1\r\nhost: far\r\nconnection: close\r\n\r\n")
            return bool(plain.recv(100))
        except ConnectionError:
            return False


def test_hosts_in_disguise(tmp_path: Path) -> None:
    """The same host with a port, a final dot or other letters is the same host."""
    port = free_port()
    text = edge(port) + policy("no", "action: DENY, rules: [{to: [{operation: {hosts: [bank.example]}}]}]")
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        hosts = ("bank.example", "bank.example:80", "bank.example.", "BANK.example", "bank.example.:80", "shop.example")
        assert [asked_for(port, host) for host in hosts] == [403, 403, 403, 403, 403, 200]


def asked_for(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/", headers={"host": host})
    status = connection.getresponse().status
    connection.close()
    return status
