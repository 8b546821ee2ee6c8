"""Beyond the first proxy: what the proxies beside the endpoints make of a request, and that real ones make the same of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask
from support.compiled import built
from support.meshed import STRICT, meshed, opened, registered, sidecar
from support.running import free_port
from tulle.compile.explain import Arrival, Request, explain_through
from tulle.model.frozen import FrozenMap
from tulle.model.proxy import Node, Role, Upstream
from tulle.model.service import Protocol

EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{app: edge}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: web}}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - match: [{{uri: {{prefix: /old/}}}}]
    rewrite: {{uri: /new/, authority: web.internal}}
    headers: {{request: {{set: {{x-stage: late}}, remove: [x-secret]}}}}
    route: [{{destination: {{host: web, port: {{number: 80}}}}}}]
  - route: [{{destination: {{host: web, port: {{number: 80}}}}}}]
"""
POLICY = """---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}}}
spec: {{selector: {{matchLabels: {{app: web}}}}, action: {action}, rules: [{rules}]}}
"""
GUARDED = "".join(
    POLICY.format(name=name, action=action, rules=rules)
    for name, action, rules in (
        ("not-new", "DENY", "{to: [{operation: {paths: [/new/bad]}}]}"),
        ("not-late", "DENY", "{to: [{operation: {paths: [/new/late]}}], when: [{key: 'request.headers[x-stage]', values: [late]}]}"),
        ("no-secret", "DENY", "{when: [{key: 'request.headers[x-secret]', values: ['*']}]}"),
        ("of-the-edge", "ALLOW", "{from: [{source: {principals: [cluster.local/ns/default/sa/edge]}}]}"),
        ("not-there", "DENY", "{to: [{operation: {hosts: [evil.example]}}]}"),
        ("not-from", "DENY", "{from: [{source: {remoteIpBlocks: [10.9.0.0/16]}}]}"),
    )
)
GATE = Node(id="gateway~edge", role=Role.GATEWAY, labels=FrozenMap({"app": "edge"}), service_account="edge", bind="127.0.0.1")
CASES = [
    ("/", {}),
    ("/old/good", {}),
    ("/old/bad", {}),
    ("/new/bad", {}),
    ("/new/late", {}),
    ("/old/late", {}),
    ("/new/late", {"x-stage": "late"}),
    ("/", {"x-secret": "1"}),
    ("/old/good", {"x-secret": "1"}),
    ("/", {"host": "evil.example"}),
    ("/old/good", {"host": "evil.example"}),
    ("/", {"x-forwarded-for": "10.9.1.1"}),
]


def arrivals(text: str, request: Request, *nodes: Node, caller: Node = GATE) -> tuple[Arrival, ...]:
    mesh = built(text, *map(registered, nodes)).mesh
    return explain_through(mesh, caller, nodes, request).arrivals


def only(text: str, request: Request, *nodes: Node, caller: Node = GATE) -> Arrival:
    (found,) = arrivals(text, request, *nodes, caller=caller)
    return found


@pytest.mark.envoy
def test_real_proxies_decide_as_explained(tmp_path: Path) -> None:
    direct, edge = free_port(), free_port()
    rules = f"{STRICT}---{EDGE.format(port=edge)}{GUARDED}"

    async def run(port: int) -> None:
        web = sidecar("web", opened(80, direct, port))
        async with meshed(tmp_path, rules, (web, GATE)):
            for path, headers in CASES:
                request = Request(url=f"http://a.example:{edge}{path}", headers=tuple(headers.items()))
                found = only(rules, request, web)
                status, _, body = await asyncio.to_thread(ask, edge, path, headers={"host": "a.example", **headers})
                assert found.proxies == (web.id,)
                assert found.allowed, (path, headers)
                assert (status == 403) == (found.allowed.decision == "deny"), (path, headers, status, body, found)

    with backend("app") as one:
        asyncio.run(run(one.port))


WEB = sidecar("web", opened(80, 20001))
ASKED = Request(url="http://a.example:8080/old/bad")
RULES = EDGE.format(port=8080)


def test_who_refuses_is_named_with_its_place() -> None:
    found = only(RULES + GUARDED, ASKED, WEB)
    assert found.allowed
    assert (found.allowed.by, found.allowed.decision) == ("AuthorizationPolicy/not-new spec.rules[0]", "deny")
    step = next(s for s in found.steps if s.rule == "AuthorizationPolicy/not-new")
    assert step.matched
    assert step.source.startswith("rules.yaml:")


def test_plain_text_where_mutual_tls_is_wanted() -> None:
    plain = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: plain}
spec: {host: web, trafficPolicy: {tls: {mode: DISABLE}}}
---
"""
    found = only(RULES + plain + STRICT, ASKED, WEB)
    assert found.closed
    assert found.allowed is None


def test_connections_are_asked_for_as_connections() -> None:
    db = sidecar("db", opened(5432, 20002, protocol=Protocol.TCP))
    caller = sidecar("web", calls=(Upstream(host="db", port=5432, bind_port=15432),))
    policy = POLICY.format(name="no", action="DENY", rules="{from: [{source: {principals: ['*/sa/web']}}]}").replace("app: web", "app: db")
    found = only(policy, Request(url="tcp://db:5432"), db, caller=caller)
    assert found.allowed
    assert found.allowed.decision == "deny"


def test_a_proxy_that_is_not_known() -> None:
    mesh = built(RULES, registered(WEB)).mesh
    (found,) = explain_through(mesh, GATE, (), ASKED).arrivals
    assert (found.proxies, "not connected" in found.unknown) == (("web",), True)


def test_proxies_that_say_the_same_stand_together_and_answers_of_the_first_go_nowhere() -> None:
    other = replace(sidecar("web", opened(80, 20003)), id="sidecar~web-2")
    nodes = (WEB, other)
    mesh = built(RULES, registered(WEB), replace(registered(other), id="web-2")).mesh
    (found,) = explain_through(mesh, GATE, nodes, ASKED).arrivals
    assert set(found.proxies) == {"sidecar~web", "sidecar~web-2"}
    gone = RULES.replace("host: web,", "host: gone,")
    assert explain_through(built(gone).mesh, GATE, nodes, ASKED).arrivals == ()
