"""Rules by the addresses at both ends of a connection."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from support.compiled import built, cluster, gateway, instance, listener, problems, sidecar, tcp, warnings
from tulle.compile import view
from tulle.compile.subnets import Asked, Cell, cells, lies_in
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol

NETWORKS = ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3", "192.0.2.0/24", "2001:db8::/32")
ADDRESSES = ("10.1.2.3", "10.1.2.4", "10.1.9.9", "10.9.9.9", "192.0.2.1", "203.0.113.1", "2001:db8::1")


def taken(alternatives: list[Asked], destination: str, source: str) -> int | None:
    """As a proxy decides: the longest prefix of the destination, then of the source, and no way back."""

    def longest(texts: set[str], address: str) -> str:
        fitting = [text for text in texts if text and lies_in(address, [text])]
        return max(fitting, key=lambda text: int(text.partition("/")[2] or 128), default="")

    found = list(cells(alternatives))
    spoken = {d for cell in found for d in cell.destinations or ("",)}
    at = longest(spoken, destination)
    there = [cell for cell in found if at in (cell.destinations or ("",))]
    by = longest({cell.source for cell in there}, source)
    return next((cell.number for cell in there if cell.source == by), None)


asked = st.builds(Asked, destinations=st.lists(st.sampled_from(NETWORKS), max_size=2).map(tuple), source=st.sampled_from(("", *NETWORKS)))


@given(st.lists(asked, max_size=4), st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES))
def test_the_first_that_holds_wins(alternatives: list[Asked], destination: str, source: str) -> None:
    def holds(one: Asked) -> bool:
        return (not one.destinations or lies_in(destination, one.destinations)) and (not one.source or lies_in(source, [one.source]))

    first = next((n for n, one in enumerate(alternatives) if holds(one)), None)
    assert taken(alternatives, destination, source) == first


def test_a_rule_for_everything_is_one_cell() -> None:
    assert list(cells([Asked(), Asked(source="10.0.0.0/8")])) == [Cell(), Cell(source="10.0.0.0/8")]


EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bytes}
spec:
  hosts: ["*"]
  gateways: [edge]
  tcp:
  - match: [{sourceSubnet: 10.0.0.0/8, destinationSubnets: [198.51.100.0/24]}]
    route: [{destination: {host: a}}]
  - route: [{destination: {host: b}}]
"""
TWO = (instance("a", number=9000, protocol=Protocol.TCP), instance("b", number=9000, protocol=Protocol.TCP))


def test_gateways_tell_callers_apart_by_address() -> None:
    result = built(EDGE, *TWO)
    seen = view(result.mesh, gateway())
    chains = listener(seen, "0.0.0.0_9000").chains
    assert problems(seen) == []
    assert [(c.name, c.destination_cidrs, c.source_cidrs, c.serve.stat_prefix.split("|")[3][0]) for c in chains] == [
        ("tcp.9000>198.51.100.0/24", ("198.51.100.0/24",), (), "b"),
        ("tcp.9000", (), (), "b"),
        ("tcp.9000<10.0.0.0/8", (), ("10.0.0.0/8",), "b"),
        ("tcp.9000>198.51.100.0/24<10.0.0.0/8", ("198.51.100.0/24",), ("10.0.0.0/8",), "a"),
    ]


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {clusterIP: 10.20.0.1, ports: [{name: tcp, port: 9000}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bytes}
spec:
  hosts: [a]
  tcp:
  - match: [{sourceSubnet: 10.0.0.0/8}]
    route: [{destination: {host: far}}]
  - match: [{destinationSubnets: [%s]}]
    route: [{destination: {host: b}}]
"""


def test_sidecars_take_the_addresses_of_a_service_for_those_that_were_dialled() -> None:
    node = sidecar(upstreams=(Upstream(host="a", port=9000, bind_port=9000),))
    for subnet, wanted in (("10.20.0.0/16", "b"), ("10.21.0.0/16", "a")):
        result = built(SERVICE % subnet, *TWO)
        serve = tcp(listener(view(result.mesh, node), "127.0.0.1_9000"))
        assert serve.stat_prefix == cluster(view(result.mesh, node), f"{wanted}:9000").name
        said = "spec.tcp[0].match[0].sourceSubnet: not in force on sidecars, which leave the match out: gateways honour it"
        assert any(w.endswith(said) for w in warnings(result, "VirtualService/bytes"))


TLS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 9443, name: tls, protocol: TLS}, hosts: ["*"], tls: {mode: PASSTHROUGH}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: named}
spec:
  hosts: ["*"]
  gateways: [edge]
  tls:
  - match: [{sniHosts: [one.example], destinationSubnets: [198.51.100.0/24]}]
    route: [{destination: {host: a}}]
  - match: [{sniHosts: [one.example, two.example]}]
    route: [{destination: {host: b}}]
"""


def test_names_without_a_subnet_are_served_in_every_subnet() -> None:
    """A proxy that found the subnet looks for the name among the chains of that subnet only."""
    seen = view(built(TLS, *TWO).mesh, gateway())
    chains = listener(seen, "0.0.0.0_9443").chains
    assert [(c.destination_cidrs, c.server_names, c.serve.stat_prefix.split("|")[3][0]) for c in chains] == [
        (("198.51.100.0/24",), ("one.example",), "a"),
        ((), ("one.example", "two.example"), "b"),
        (("198.51.100.0/24",), ("two.example",), "b"),
    ]
