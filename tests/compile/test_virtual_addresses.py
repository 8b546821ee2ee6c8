"""Addresses for ServiceEntries that name none."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.compiled import built, hosts, sidecar
from tulle.compile import view
from tulle.compile.catalog import ServiceKey
from tulle.compile.virtual import allocated
from tulle.model.resource import Key

keys = st.lists(st.builds(ServiceKey, host=st.text("abc", min_size=1, max_size=3), namespace=st.sampled_from("ab")), unique=True)


@given(keys, st.sets(st.integers(0, 65535).map(lambda n: f"240.240.{n // 256}.{n % 256}")))
def test_no_two_have_the_same(wanting: list[ServiceKey], taken: set[str]) -> None:
    found = allocated(wanting, taken)
    assert found.keys() == set(wanting)
    assert len(set(found.values())) == len(wanting)
    assert not taken & set(found.values())
    assert all(address.startswith("240.240.") and address.rpartition(".")[2] not in ("0", "255") for address in found.values())


@given(keys, st.integers(0, 5))
def test_the_younger_never_take_the_address_of_the_older(wanting: list[ServiceKey], number: int) -> None:
    assert allocated(wanting[:number], ()).items() <= allocated(wanting, ()).items()


def test_the_network_may_be_full() -> None:
    found = allocated([ServiceKey(host=str(n), namespace="a") for n in range(70_000)], ())
    assert len(set(found.values())) == len(found) == 256 * 254


ENTRY = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, labels: {%s}}
spec: {hosts: ["%s"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: %s%s}
---
"""


def given_to(name: str, labels: str = "", host: str = "far.example", resolution: str = "DNS", more: str = "") -> object:
    result = built(ENTRY % (name, labels, host, resolution, more))
    return result.statuses[Key(kind="ServiceEntry", namespace="default", name=name)].details.get("addresses")


def test_who_gets_one() -> None:
    assert given_to("plain") == [{"host": "far.example", "value": "240.240.207.77"}]
    assert given_to("addressed", more=", addresses: [192.0.2.1]") is None
    assert given_to("none", resolution="NONE") is None
    assert given_to("wild", host="*.far.example", resolution="DYNAMIC_DNS") is None
    assert given_to("unwilling", labels='networking.istio.io/enable-autoallocate-ip: "false"') is None


def test_requests_for_the_address_are_for_the_service() -> None:
    found = hosts(view(built(ENTRY % ("plain", "", "far.example", "DNS", "")).mesh, sidecar()))
    assert found["far.example:80"].domains == ("far.example", "far.example:80", "240.240.207.77", "240.240.207.77:80")
