"""Who is near, and who stands in (BEHAVIOURS 24)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.compiled import built, cluster, instance, sidecar, warnings
from tulle import compile as compiler
from tulle.compile.locality import Standpoint, distance, grouped, lies_in, standpoint
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Locality
from tulle.model.proxy import LocalityGroup, Node
from tulle.model.service import Endpoint, Registration
from tulle.model.traffic import Distribution, LocalityRules

PLACES = ("eu/a/1", "eu/a/2", "eu/b", "us/a", "asia")


def endpoint(place: str, **labels: str) -> Endpoint:
    return Endpoint(address=f"10.0.0.{len(place)}", port=80, locality=Locality.parse(place), labels=FrozenMap(labels))


def caller(place: str, **labels: str) -> Standpoint:
    return standpoint(Locality.parse(place), labels, "10.0.0.1", ("topology.kubernetes.io/region", "topology.kubernetes.io/zone", "tier"))


def ranks(groups: tuple[LocalityGroup, ...]) -> dict[str, int]:
    return {str(g.locality): g.priority for g in groups}


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("eu/a/1", {"eu/a/1": 0, "eu/a/2": 1, "eu/b": 2, "us/a": 3, "asia": 3}),
        ("eu/b", {"eu/b": 0, "eu/a/1": 1, "eu/a/2": 1, "us/a": 2, "asia": 2}),
        ("us/z", {"us/a": 0, "eu/a/1": 1, "eu/a/2": 1, "eu/b": 1, "asia": 1}),
        ("africa", {}),
        ("", {}),
    ],
)
def test_nearest_first_without_gaps(place: str, expected: dict[str, int]) -> None:
    assert ranks(grouped(tuple(map(endpoint, PLACES)), LocalityRules(), caller(place))) == expected


def test_a_region_fails_over_to_the_region_that_is_named() -> None:
    rules = LocalityRules(failover=(("eu", "asia"),))
    assert ranks(grouped(tuple(map(endpoint, ("eu/a", "us/a", "asia"))), rules, caller("eu/a"))) == {"eu/a": 0, "asia": 1, "us/a": 2}


def test_distances() -> None:
    here = Locality.parse("eu/a/1")
    assert [distance(here, Locality.parse(p), {"eu": "asia"}) for p in ("eu/a/1", "eu/a/2", "eu/b", "asia", "us")] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("pattern", "place", "expected"),
    [
        ("*", "", True),
        ("*", "eu/a", True),
        ("eu", "eu/a/1", True),
        ("eu/*", "eu/a/1", True),
        ("eu/a/*", "eu/b", False),
        ("eu/a/1", "eu/a/2", False),
        ("", "eu", False),
    ],
)
def test_places_in_patterns(pattern: str, place: str, expected: bool) -> None:
    assert lies_in(Locality.parse(place), pattern) is expected


def test_shares_of_places_and_nothing_for_the_rest() -> None:
    rule = Distribution(caller="eu/*", shares=(("eu/a/*", 80), ("us", 20)))
    groups = grouped(tuple(map(endpoint, PLACES)), LocalityRules(distribute=(rule,)), caller("eu/b"))
    assert {str(g.locality): g.weight for g in groups} == {"eu/a/1": 4000, "eu/a/2": 4000, "us/a": 2000}
    assert grouped(tuple(map(endpoint, PLACES)), LocalityRules(distribute=(rule,)), caller("us")) == ()


def test_labels_in_the_order_of_their_weight() -> None:
    rules = LocalityRules(failover_priority=("topology.kubernetes.io/region", "tier=gold", "topology.kubernetes.io/zone"))
    found = (endpoint("eu/a", tier="gold"), endpoint("eu/b", tier="gold"), endpoint("eu/c"), endpoint("us/a", tier="gold"))
    assert ranks(grouped(found, rules, caller("eu/a"))) == {"eu/a": 0, "eu/b": 1, "eu/c": 2, "us/a": 3}


RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: far}}
spec:
  host: far
  trafficPolicy:
    {policy}
"""
OUTLIERS = RULE.format(policy="outlierDetection: {consecutive5xxErrors: 1}")


def instances() -> tuple[Registration, ...]:
    return tuple(replace(instance("far", id=f"far-{n}", target=20000 + n), locality=Locality.parse(p)) for n, p in enumerate(PLACES))


def stands(place: str, name: str = "") -> Node:
    return replace(sidecar(app="client"), id=f"sidecar~{place}{name}", locality=Locality.parse(place))


def priorities(text: str, node: Node) -> list[int]:
    view = compiler.view(built(text, *instances()).mesh, node)
    return [g.priority for e in view.endpoints for g in e.localities]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("outlierDetection: {}", [0, 1, 2, 3, 3]),
        ("loadBalancer: {simple: RANDOM}", []),
        ("loadBalancer: {localityLbSetting: {enabled: true}}", []),
        ("{loadBalancer: {localityLbSetting: {enabled: false}}, outlierDetection: {}}", []),
        ("{loadBalancer: {localityLbSetting: {failover: [{from: eu, to: asia}]}}, outlierDetection: {}}", [0, 1, 2, 3, 4]),
        ("loadBalancer: {localityLbSetting: {distribute: [{from: eu, to: {us: 100}}]}}", [0]),
    ],
)
def test_what_puts_places_in_force(policy: str, expected: list[int]) -> None:
    assert priorities(RULE.format(policy=policy), stands("eu/a/1")) == expected


@pytest.mark.parametrize("declared", ["spec: {ports: [{port: 9080}], trafficDistribution: PreferClose}", ""])
def test_a_service_asks_for_near_endpoints(declared: str) -> None:
    annotations = "" if declared else "annotations: {networking.istio.io/traffic-distribution: PreferSameZone}"
    spec = declared or "spec: {ports: [{port: 9080}]}"
    text = f"{{apiVersion: v1, kind: Service, metadata: {{name: far, {annotations}}}, {spec}}}"
    assert priorities(text, stands("eu/a/2")) == [0, 1, 2, 3, 3]


def test_proxies_of_one_place_share_their_endpoints() -> None:
    mesh = built(OUTLIERS, *instances()).mesh
    one, same, other = (compiler.view(mesh, n).layers[-1] for n in (stands("eu/a/1"), stands("eu/a/1", "x"), stands("us/a")))
    assert one is same
    assert one is not other


def test_without_rules_all_places_share_their_endpoints() -> None:
    mesh = built("", *instances()).mesh
    assert compiler.view(mesh, stands("eu")).layers[-1] is compiler.view(mesh, stands("us")).layers[-1]


EXTERNAL = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: far}
spec:
  hosts: [far.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: eu.example.com, locality: eu/a}, {address: us.example.com, locality: us/a}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far}
spec: {host: far.example.com, trafficPolicy: {outlierDetection: {}}}
"""


@pytest.mark.parametrize(("place", "first"), [("eu/a", "eu.example.com"), ("us/a", "us.example.com")])
def test_endpoints_by_name_are_near_or_far_too(place: str, first: str) -> None:
    found = cluster(compiler.view(built(EXTERNAL).mesh, stands(place)), "far.example.com:80")
    assert next((g.endpoints[0].address, g.priority) for g in found.localities) == (first, 0)
    assert sorted(g.priority for g in found.localities) == [0, 1]


def test_failover_without_outlier_detection_is_told() -> None:
    result = built(RULE.format(policy="loadBalancer: {localityLbSetting: {failover: [{from: eu, to: us}]}}"), *instances())
    (warning,) = warnings(result, "DestinationRule/far")
    assert "spec.trafficPolicy.loadBalancer.localityLbSetting: not in force: needs outlierDetection" in warning
