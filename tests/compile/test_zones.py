"""Zone-aware balancing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.compiled import built, instance, sidecar, warnings
from tulle.compile import view
from tulle.compile.zones import SCALE, Zone, shares
from tulle.model.identity import Locality
from tulle.model.service import Registration
from tulle.translate import CLUSTER, ENDPOINTS, Translator
from tulle.translate.static import shown

A, B, C, FAR = ("r", "a"), ("r", "b"), ("r", "c"), ("s", "a")
numbers = st.dictionaries(st.sampled_from((A, B, C)), st.integers(1, 30), min_size=1)


@pytest.mark.parametrize(
    ("served", "callers", "expected"),
    [
        ({A: 2, B: 2}, {}, {A: 10000}),
        ({A: 2, B: 2}, {A: 1, B: 1}, {A: 10000}),
        ({A: 1, B: 3}, {A: 1, B: 1}, {A: 5000, B: 5000}),
        ({A: 1, B: 1, C: 2}, {A: 2, B: 2}, {A: 5000, C: 5000}),
        ({A: 3, B: 1}, {A: 1, B: 1}, {A: 10000}),
        ({A: 4, FAR: 4}, {}, {}),
        ({B: 4, C: 4}, {A: 1}, {}),
        ({A: 1, B: 1}, {A: 1, B: 1}, {A: 10000}),
    ],
)
def test_shares(served: Mapping[Zone, int], callers: Mapping[Zone, int], expected: Mapping[Zone, int]) -> None:
    assert shares(A, served, callers, 1) == expected
    assert shares(A, served, callers, 99) == {}


@given(numbers, numbers)
def test_no_zone_gets_more_than_its_endpoints_are_worth(served: Mapping[Zone, int], callers: Mapping[Zone, int]) -> None:
    """All callers together load all endpoints alike, as long as each zone that calls also serves."""
    callers = {zone: number for zone, number in callers.items() if zone in served}
    if not callers or len(served) < 2:
        return
    load = dict.fromkeys(served, 0.0)
    for zone, number in callers.items():
        for target, part in shares(zone, served, callers, 1).items():
            load[target] += number * part / SCALE
    for zone, number in served.items():
        assert load[zone] / sum(callers.values()) == pytest.approx(number / sum(served.values()), abs=0.001)


RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  trafficPolicy: {loadBalancer: {zoneAwareLbSetting: {minClusterSize: 2%s}}%s}
"""
JUDGED = ", outlierDetection: {interval: 5s}"


def at(service: str, place: str, number: int) -> tuple[Registration, ...]:
    made = (instance(service, id=f"{service}-{place}-{n}", target=30000 + n) for n in range(number))
    where = f"10.{ord(place[0])}.{ord(place[-1])}"
    return tuple(replace(one, locality=Locality.parse(place), address=f"{where}.{n}") for n, one in enumerate(made, 1))


def groups(rule: str, caller: str, *registrations: Registration) -> list[tuple[str, int, int]]:
    """Zone, priority and weight of each group of endpoints as a caller sees them."""
    node = replace(sidecar(), service="front", locality=Locality.parse(caller))
    snapshot = Translator().snapshot(view(built(rule, *registrations).mesh, node))
    (entry,) = (e for e in snapshot.entries(ENDPOINTS) if "|shop." in e.name)
    (cluster,) = (e for e in snapshot.entries(CLUSTER) if "|shop." in e.name)
    assert "locality_weighted_lb_config" in shown(cluster)["common_lb_config"]
    found = shown(entry)["endpoints"]
    return [(f"{g['locality']['region']}/{g['locality']['zone']}", g.get("priority", 0), g["load_balancing_weight"]) for g in found]


CALLERS = (*at("front", "r/a", 1), *at("front", "r/b", 1))
SERVED = (*at("shop", "r/a", 1), *at("shop", "r/b", 3), *at("shop", "s/a", 1))


def test_a_small_zone_hands_over_what_it_cannot_take() -> None:
    assert groups(RULE % ("", JUDGED), "r/a", *CALLERS, *SERVED) == [("r/a", 0, 5000), ("r/b", 0, 5000), ("s/a", 1, 1)]


def test_a_big_zone_keeps_all_and_the_others_stand_in() -> None:
    assert groups(RULE % ("", JUDGED), "r/b", *CALLERS, *SERVED) == [("r/b", 0, 10000), ("r/a", 1, 1), ("s/a", 2, 1)]


def test_regions_fail_over_in_the_order_given() -> None:
    more = (*SERVED, *at("shop", "t/a", 1))
    found = groups(RULE % (", failover: [{from: r, to: t}]", JUDGED), "r/b", *CALLERS, *more)
    assert [place for place, _, _ in found] == ["r/b", "r/a", "t/a", "s/a"]


def test_without_outlier_detection_nothing_fails_over_by_region() -> None:
    rule = RULE % (", failover: [{from: r, to: t}]", "")
    said = "zoneAwareLbSetting.failover: not in force: needs outlierDetection"
    assert any(said in w for w in warnings(built(rule, *SERVED), "DestinationRule/shop"))
    assert groups(rule, "r/b", *CALLERS, *SERVED) == [("r/b", 0, 10000), ("r/a", 1, 1), ("s/a", 1, 1)]
