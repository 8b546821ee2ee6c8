"""Why requests of an HTTPRoute or GRPCRoute are answered with an error: the backend at fault, with its place and the status' words."""

from __future__ import annotations

import pytest

from support.compiled import built, gateway, instance
from tulle.compile.explain import Request, explain
from tulle.model.resource import Status

ROUTES = """\
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  gatewayClassName: tulle
  listeners: [{name: http, port: 8080, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: edge, namespace: istio-system}]
  hostnames: [x.example]
  rules:
  - matches: [{path: {value: /missing}}]
    backendRefs:
    - {name: nobody, port: 80}
  - matches: [{path: {value: /port}}]
    backendRefs:
    - {name: web, port: 81}
  - matches: [{path: {value: /abroad}}]
    backendRefs:
    - {name: web, port: 9080, namespace: other}
  - matches: [{path: {value: /kind}}]
    backendRefs:
    - {name: bucket, port: 80, group: storage.example, kind: Bucket}
  - matches: [{path: {value: /half}}]
    backendRefs:
    - {name: web, port: 9080}
    - {name: nobody, port: 80}
  - matches: [{path: {value: /none}}]
  - matches: [{path: {value: /idle}}]
    backendRefs:
    - {name: web, port: 9080, weight: 0}
  - matches: [{path: {value: /filter}}]
    filters: [{type: ExtensionRef, extensionRef: {group: "", kind: Magic, name: wand}}]
    backendRefs:
    - {name: web, port: 9080}
  - matches: [{path: {value: /fine}}]
    backendRefs:
    - {name: web, port: 9080}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: talk}
spec:
  parentRefs: [{name: edge, namespace: istio-system}]
  hostnames: [talk.example]
  rules:
  - backendRefs:
    - {name: talk, port: 7000}
"""
BUILT = built(ROUTES, instance("web"), instance("web", namespace="other"))
MISSING = "BackendNotFound: service nobody.default.svc.cluster.local is not known in namespace istio-system"


def lost(url: str, **more: object) -> tuple[int, list[tuple[str, str, str]]]:
    """The answer, and what is said of parts that are not in force: rule, line and reason."""
    trace = explain(BUILT.mesh, gateway(), Request(url=url, **more))
    found = [
        (step.rule, step.source.partition(":")[2], step.why.removeprefix("not in force: "))
        for step in trace.steps
        if step.why.startswith("not in force: ")
    ]
    return trace.direct_response.status if trace.direct_response else 0, found


@pytest.mark.parametrize(
    ("path", "status", "field", "line", "why"),
    [
        ("/missing", 500, "spec.rules[0].backendRefs[0]", 17, MISSING),
        ("/port", 500, "spec.rules[1].backendRefs[0]", 20, "BackendNotFound: service web.default.svc.cluster.local has no port 81"),
        ("/abroad", 500, "spec.rules[2].backendRefs[0]", 23, "RefNotPermitted: no ReferenceGrant in namespace other lets HTTPRoutes of"),
        ("/kind", 500, "spec.rules[3].backendRefs[0]", 26, "InvalidKind: requests are sent to Services, not to Bucket.storage.example"),
        ("/half", 0, "spec.rules[4].backendRefs[1]", 30, MISSING),
        ("/none", 500, "spec.rules[5]", 31, "it names no backend"),
        ("/idle", 500, "spec.rules[6]", 32, "it names no backend whose weight is more than 0"),
        ("/filter", 500, "spec.rules[7]", 35, "InvalidKind: there is no filter Magic. wand"),
    ],
)
def test_the_backend_at_fault(path: str, status: int, field: str, line: int, why: str) -> None:
    answered, [(rule, at, said)] = lost(f"http://x.example:8080{path}")
    assert (answered, rule, at) == (status, f"HTTPRoute/shop {field}", str(line))
    assert said.startswith(why)


def test_calls_of_grpc() -> None:
    answered, [(rule, at, said)] = lost("http://talk.example:8080/a.B/C", method="POST", headers=(("content-type", "application/grpc"),))
    assert (answered, rule, at) == (200, "GRPCRoute/talk spec.rules[0].backendRefs[0]", "51")
    assert said.startswith("BackendNotFound: service talk.default.svc.cluster.local")


def test_a_rule_that_is_valid_has_lost_nothing() -> None:
    assert lost("http://x.example:8080/fine") == (0, [])


def test_the_status_says_the_same_words() -> None:
    status: Status = next(status for key, status in BUILT.statuses.items() if key.name == "shop")
    assert "service nobody.default.svc.cluster.local is not known in namespace" in str(status)
