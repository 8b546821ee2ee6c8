"""Whose an address is."""

from __future__ import annotations

from dataclasses import replace

from support.compiled import built
from support.meshed import instance
from tulle.compile.whereabouts import Whereabouts, Whom
from tulle.model.proxy import Node, Role
from tulle.model.service import Registration

HERE, THERE = "front", "back"
MACHINES = {"10.0.0.1": HERE, "10.0.0.2": THERE, "2001:db8::2": THERE}
ENTRIES = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: legacy, namespace: shop}
spec: {address: 127.0.0.7}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: partner}
spec: {hosts: [partner.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 10.0.0.9}]}
"""


def at(service: str, address: str, node: str = "") -> Registration:
    return replace(instance(service), address=address, node=node)


def whom(address: str, *registrations: Registration, machine: str = HERE, nodes: tuple[Node, ...] = ()) -> Whom:
    where = Whereabouts(built(ENTRIES, *registrations).mesh, registrations, nodes, MACHINES, HERE)
    return where.whom(address, machine)


def test_one_workload_is_named() -> None:
    found = whom("10.0.0.2", at("web", "10.0.0.2", THERE), at("web", "10.0.0.2", THERE), at("cart", "10.0.0.3"))
    assert found == Whom(address="10.0.0.2", workloads=("default/web",), machine=THERE)
    assert str(found) == "default/web (10.0.0.2)"


def test_of_several_at_one_address_the_machine_is_named() -> None:
    found = whom("10.0.0.2", at("web", "10.0.0.2", THERE), at("cart", "10.0.0.2", THERE))
    assert (found.name, found.workloads) == (THERE, ("default/cart", "default/web"))


def test_nobody_knows_it() -> None:
    found = whom("10.9.9.9", at("web", "10.0.0.2", THERE))
    assert (found.name, str(found)) == ("", "10.9.9.9")


def test_those_of_documents() -> None:
    assert whom("127.0.0.7").name == "shop/legacy"
    assert whom("10.0.0.9").workloads == ("default/partner-0",)


def test_loopback_is_another_on_each_machine() -> None:
    two = (at("web", "127.0.0.1"), at("cart", "127.0.0.1", THERE))
    assert whom("127.0.0.1", *two).name == "default/web"
    assert whom("127.0.0.1", *two, machine=THERE).name == "default/cart"
    assert whom("127.0.0.7", machine=THERE) == Whom(address="127.0.0.7", machine=THERE), "the document's is on the control plane's machine"
    assert whom("::1").name == HERE


def test_addresses_are_compared_however_they_are_written() -> None:
    assert whom("2001:db8::2", at("web", "2001:DB8:0::2", THERE)).workloads == ("default/web",)
    assert whom("2001:0db8::2").name == THERE
    assert whom("not-an-address", at("web", "web.example")).name == ""


def test_gateways() -> None:
    edge = Node(id="gateway~edge", role=Role.GATEWAY, ip="10.0.0.1")
    assert whom("10.0.0.1", nodes=(edge, Node(id="sidecar~web", role=Role.SIDECAR, ip="10.0.0.1"))).name == "gateway~edge"
