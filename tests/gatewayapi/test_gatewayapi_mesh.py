"""Services as parents: rules for what callers in the mesh send, by request, by connection and by datagram."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.carried import at, carried
from support.compiled import built, instance, listener, sidecar, table
from support.dns_server import dns_server, query
from support.running import free_port
from tulle.compile import Built, view
from tulle.model.proxy import HttpConnections, Listener, TcpConnections, Upstream
from tulle.model.service import Protocol

API = "apiVersion: gateway.networking.k8s.io/v1"


def route(kind: str, parent: str, backends: str, *, name: str = "r", namespace: str = "default", more: str = "") -> str:
    spec = f'parentRefs: [{{group: "", kind: Service, {parent}}}], {more} rules: [{{backendRefs: [{backends}]}}]'
    return f"{API}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n---\n"


@pytest.mark.envoy
def test_datagrams_follow_rules(tmp_path: Path) -> None:
    """Some callers are sent elsewhere, each always to the same."""
    port = free_port()
    text = route("UDPRoute", "name: dns, port: 53", "{name: one, port: 53, weight: 1}, {name: two, port: 53, weight: 1}")
    with dns_server("192.0.2.1") as one, dns_server("192.0.2.2") as two:
        registered = [at(name, 53, target, id=name, protocol=Protocol.UDP) for name, target in (("dns", one), ("one", one), ("two", two))]
        node = sidecar(app="caller", upstreams=(Upstream(host="dns", port=53, bind_port=port, udp=True),))
        with carried(text, node, tmp_path, *registered):
            assert {query(port) for _ in range(40)} == {"192.0.2.1", "192.0.2.2"}


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  selector: {app: db}
  ports:
  - {name: main, port: 5432, protocol: TCP}
  - {name: spare, port: 5433, protocol: TCP}
  - {name: main-udp, port: 5432, protocol: UDP}
---
"""
PORTS = ((5432, False), (5433, False), (5432, True))


def leads(text: str, namespace: str = "default") -> list[str]:
    """Where connections to each port of the database go, and datagrams."""
    upstreams = tuple(Upstream(host="db.default", port=p, bind_port=9000 + n, udp=udp) for n, (p, udp) in enumerate(PORTS))
    made = built(SERVICE + text, instance("db", number=5432, protocol=Protocol.TCP, name="main"), *_other())
    found = view(made.mesh, sidecar(namespace, app="caller", upstreams=upstreams))
    names = (f"127.0.0.1_{9000 + n}{'_udp' if udp else ''}" for n, (_, udp) in enumerate(PORTS))
    return [_connections(listener(found, name)).clusters[0].cluster.split("|")[3].split(".")[0] for name in names]


def _connections(found: Listener) -> TcpConnections:
    """What becomes of bytes that are no HTTP, on ports of which nobody says what is spoken."""
    return next(chain.serve for chain in found.chains if isinstance(chain.serve, TcpConnections))


def _other() -> list[Any]:
    return [
        instance("tcp", number=1, protocol=Protocol.TCP, name="tcp"),
        instance("udp", number=1, protocol=Protocol.UDP, name="udp"),
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ["db", "db", "db"]),
        (route("TCPRoute", "name: db", "{name: tcp, port: 1}"), ["tcp", "tcp", "db"]),
        (route("TCPRoute", "name: db, port: 5433", "{name: tcp, port: 1}"), ["db", "tcp", "db"]),
        (route("TCPRoute", "name: db, sectionName: spare", "{name: tcp, port: 1}"), ["db", "tcp", "db"]),
        (route("TCPRoute", "name: db, sectionName: main", "{name: tcp, port: 1}"), ["tcp", "db", "db"]),
        (route("UDPRoute", "name: db", "{name: udp, port: 1}"), ["db", "db", "udp"]),
        (route("UDPRoute", "name: db, sectionName: main-udp", "{name: udp, port: 1}"), ["db", "db", "udp"]),
        (route("UDPRoute", "name: db, sectionName: main", "{name: udp, port: 1}"), ["db", "db", "db"]),
    ],
)
def test_ports_are_named_by_number_or_by_name(text: str, wanted: list[str]) -> None:
    assert leads(text) == wanted


@pytest.mark.parametrize(("text", "told_apart"), [("", True), (route("TCPRoute", "name: db", "{name: tcp, port: 1}"), False)])
def test_requests_are_told_from_bytes_where_no_rule_is_for_all_connections(text: str, told_apart: bool) -> None:
    made = built(SERVICE + text, instance("db", number=5432, protocol=Protocol.TCP, name="main"), *_other())
    found = view(made.mesh, sidecar(app="caller", upstreams=(Upstream(host="db.default", port=5432, bind_port=9000),)))
    serving = [type(chain.serve) for chain in listener(found, "127.0.0.1_9000").chains]
    assert (HttpConnections in serving) is told_apart


def test_a_route_of_another_namespace_is_for_its_own_callers() -> None:
    text = route("UDPRoute", "name: db, namespace: default", "{name: udp, namespace: default, port: 1}", namespace="team")
    grant = f"""{API}
kind: ReferenceGrant
metadata: {{name: g}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: UDPRoute, namespace: team}}]
  to: [{{group: "", kind: Service}}]
"""
    assert leads(text + grant, "team") == ["db", "db", "udp"]
    assert leads(text + grant, "default") == ["db", "db", "db"]


def said(made: Built, name: str = "r") -> tuple[str, str]:
    """Status and reason of `Accepted` and `ResolvedRefs`."""
    status = next(s for key, s in made.statuses.items() if key.name == name and key.kind.endswith("Route"))
    parent: Any = status.details["parents"][0]  # type: ignore[index]
    accepted, resolved = (f"{c['status']} {c['reason']}" for c in parent["conditions"][:2])
    return accepted, resolved


@pytest.mark.parametrize(
    ("parent", "accepted"),
    [
        ("name: db", "True Accepted"),
        ("name: db, port: 5433", "True Accepted"),
        ("name: db, sectionName: main", "True Accepted"),
        ("name: db, sectionName: spare, port: 5433", "True Accepted"),
        ("name: db, sectionName: main, port: 5433", "False NoMatchingParent"),
        ("name: db, sectionName: nope", "False NoMatchingParent"),
        ("name: db, port: 1", "False NoMatchingParent"),
        ("name: nope", "False NoMatchingParent"),
    ],
)
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"])
def test_parents_must_be_there(kind: str, parent: str, accepted: str) -> None:
    made = built(SERVICE + route(kind, parent, "{name: tcp, port: 1}"), *_other())
    assert said(made) == (accepted, "True ResolvedRefs")


OUTSIDE = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec: {hosts: [one.example, two.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS, location: MESH_EXTERNAL}
---
"""


def test_a_service_entry_as_parent() -> None:
    """A route is for callers of all its hosts, and says so once."""
    routed = route("HTTPRoute", "name: outside", "{name: tcp, port: 1}").replace(
        'group: "", kind: Service', "group: networking.istio.io, kind: ServiceEntry"
    )
    made = built(SERVICE + OUTSIDE + routed, *_other())
    hosts = {h.name: h for h in table(view(made.mesh, sidecar())).virtual_hosts}
    assert [hosts[f"{name}.example:80"].routes[-1].name for name in ("one", "two")] == ["r.0", "r.0"]
    assert said(made) == ("True Accepted", "True ResolvedRefs")
    assert len(next(s for k, s in made.statuses.items() if k.name == "r").details["parents"]) == 1  # type: ignore[arg-type]
    lost = built(SERVICE + routed, *_other())
    assert said(lost) == ("False NoMatchingParent", "True ResolvedRefs")


@pytest.mark.parametrize(
    "parent", ["networking.istio.io, kind: ServiceEntry, name: theirs", '"", kind: Service, name: web.shop.svc.cluster.local']
)
def test_a_name_of_another_namespace_stays_its_own_whoever_declares_it(parent: str) -> None:
    name = "web.shop.svc.cluster.local"
    entry = OUTSIDE.replace("outside", "theirs").replace("one.example, two.example", name)
    routed = route("HTTPRoute", "PARENT", "{name: other, port: 1}").replace('"", kind: Service, PARENT', parent)
    made = built(entry + routed, instance("web", namespace="shop", number=80), *_other())
    led = {}
    for namespace in ("default", "shop", "third"):
        hosts = {h.name: h for h in table(view(made.mesh, sidecar(namespace))).virtual_hosts}
        led[namespace] = hosts[f"{name}:80"].routes[-1].name
    assert led == {"default": "r.0", "shop": "default", "third": "default"}
