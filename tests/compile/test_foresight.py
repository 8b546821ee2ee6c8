"""What is told of a mesh before it is in force: findings between documents, and services that only registrations would tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.compiled import documents, instance
from tulle.compile import build
from tulle.compile.foresight import arising, findings
from tulle.compile.stand_ins import stand_ins
from tulle.model.mesh import Inputs, MeshSettings
from tulle.model.resource import Condition, Status
from tulle.resources.read import read

ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - route: [{destination: {host: shop, subset: v1}}]
"""
SUBSETS = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets: [{name: v1, labels: {version: v1}}]
"""
PUBLISHED = Path(__file__).parent.parent / "corpus" / "published"


def test_what_a_change_breaks_elsewhere_is_told() -> None:
    inputs = Inputs(resources=documents(ROUTE + SUBSETS), registrations={"a": instance("shop")})
    before = build(inputs)
    assert findings(inputs.resources, before.statuses) == ()
    (route, rule) = inputs.resources
    after = {**inputs.resources, **documents(SUBSETS.replace("name: v1,", "name: v2,"), "new.yaml")}
    built = build(Inputs(resources=after, registrations=inputs.registrations))
    (found,) = arising(after, before.statuses, built.statuses, {rule})
    assert (found.resource, found.origin.path, found.field) == ("VirtualService/shop", "rules.yaml", "spec.http[0].route[0].destination")
    assert 'no subset "v1"' in found.message
    assert arising(after, built.statuses, built.statuses, {rule}) == ()  # as it was so before
    assert arising(after, built.statuses, built.statuses, {route}) == (found,)  # but of what is applied, all is told


def test_text_that_moved_is_nothing_new() -> None:
    twice = ROUTE + "---" + ROUTE.replace("name: shop", "name: younger") + SUBSETS
    one, other = documents(twice), documents("\n\n\n" + twice)
    before, after = build(Inputs(resources=one)), build(Inputs(resources=other))
    assert findings(one, before.statuses) != findings(other, after.statuses)
    assert arising(other, before.statuses, after.statuses, ()) == ()


def test_a_document_that_is_not_accepted_is_told_though_no_warning_says_why() -> None:
    found = documents(ROUTE)
    (key,) = found
    unused = Status(conditions=(Condition(type="Accepted", status=False, reason="Invalid", message="nobody wants it"),))
    assert [str(one) for one in findings(found, {key: unused})] == ["rules.yaml:2: VirtualService/shop: nobody wants it"]
    assert findings(found, {}) == ()


def assumed(text: str) -> dict[str, list[int]]:
    found = documents(text)
    declared = (service.host for service in build(Inputs(resources=found)).mesh.services)
    return {
        host.removesuffix(".svc.cluster.local"): [p.number for p in one.ports]
        for host, one in stand_ins(found.values(), declared, MeshSettings()).items()
    }


def document(kind: str, spec: str, api: str = "networking.istio.io/v1", name: str = "x") -> str:
    return f"---\napiVersion: {api}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"


@pytest.mark.parametrize(
    ("kind", "api", "spec", "expected"),
    [
        ("DestinationRule", "networking.istio.io/v1", "{host: a}", {"a.default": [80]}),
        ("DestinationRule", "networking.istio.io/v1", '{host: "*.shop.svc.cluster.local"}', {"any.shop": [80]}),
        ("DestinationRule", "networking.istio.io/v1", '{host: "*.local"}', {"any.default": [80]}),
        (
            "DestinationRule",
            "networking.istio.io/v1",
            "{host: a, trafficPolicy: {portLevelSettings: [{port: {number: 7}, tls: {mode: DISABLE}}]}}",
            {"a.default": [7]},
        ),
        (
            "VirtualService",
            "networking.istio.io/v1",
            "{hosts: [x], http: [{route: [{destination: {host: a.b.svc.cluster.local, port: {number: 9}}}], mirror: {host: m}}]}",
            {"a.b": [9], "m.default": [80]},
        ),
        ("VirtualService", "networking.istio.io/v1", "{hosts: [x], tcp: [{route: [{destination: {host: out.example.com}}]}]}", {}),
        ("WorkloadEntry", "networking.istio.io/v1", "{address: 10.0.0.1, labels: {host: a}}", {}),
        (
            "EnvoyFilter",
            "networking.istio.io/v1alpha3",
            "{configPatches: [{applyTo: CLUSTER, patch: {operation: ADD, value: {metadata: {filterMetadata: {spec: {http: b}}}}}}]}",
            {},
        ),
        (
            "Sidecar",
            "networking.istio.io/v1",
            '{egress: [{port: {number: 33, name: tcp, protocol: TCP}, bind: 127.0.0.1, hosts: ["./*", "shop/db.shop.svc.cluster.local"]}]}',
            {"any.default": [33], "db.shop": [33]},
        ),
        (
            "HTTPRoute",
            "gateway.networking.k8s.io/v1",
            "{parentRefs: [{kind: Service, group: '', name: a, port: 5}], rules: [{backendRefs: [{name: b, namespace: c, port: 6}]}]}",
            {"a.default": [5], "b.c": [6]},
        ),
        (
            "ServiceResolver",
            "consul.hashicorp.com/v1alpha1",
            "{redirect: {service: other}}",
            {"other.default": [80], "x.default": [80]},
        ),
    ],
)
def test_services_that_documents_name_are_taken_to_run(kind: str, api: str, spec: str, expected: dict[str, list[int]]) -> None:
    text = document(kind, spec, api)
    assert assumed(text) == expected
    found = documents(text)
    there = stand_ins(found.values(), (), MeshSettings())
    told = [str(f) for f in findings(found, build(Inputs(resources=found, registrations=there)).statuses)]
    assert not [line for line in told if ".svc.cluster.local" in line and ("known" in line or "has no port" in line)]


def test_what_documents_declare_is_not_invented() -> None:
    entry = document("ServiceEntry", "{hosts: [a.default.svc.cluster.local], ports: [{number: 80, name: http}], resolution: DNS}")
    assert assumed(entry + document("DestinationRule", "{host: a}", name="y")) == {}


def test_documents_as_they_are_published_name_no_service_that_is_not_taken_to_run() -> None:
    seen = 0
    for path in sorted(PUBLISHED.glob("*.yaml")):
        resources = {resource.key: resource for resource in read(path.read_text(), path.name).resources}
        hosts = [service.host for service in build(Inputs(resources=resources)).mesh.services]
        there = stand_ins(resources.values(), hosts, MeshSettings())
        seen += len(there)
        for found in findings(resources, build(Inputs(resources=resources, registrations=there)).statuses):
            assert not (".svc.cluster.local" in found.message and "known" in found.message), str(found)
    assert seen > 20
