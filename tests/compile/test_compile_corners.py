"""The rarer ways through the rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from support.compiled import built, endpoints, gateway, hosts, inputs, instance, listener, routes, short, sidecar, table, tcp, warnings
from tulle import compile as compiler
from tulle.compile import gateway_addresses, view
from tulle.compile.delegation import ConflictError, conditions
from tulle.model.mesh import Inputs
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol
from tulle.resources.networking.virtual_service import HttpMatch

ENTRY = """
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm}
spec: {address: 5.5.5.5, labels: {app: x}, ports: {web: 77}}
"""
SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {name: x}
spec: {selector: {app: x}, ports: [{port: 80, name: http, targetPort: web}]}
"""


def addresses(given: compiler.Built) -> list[tuple[str, int]]:
    return [(e.address, e.port) for e in endpoints(view(given.mesh, sidecar()), "x:80")]


def test_a_selected_instance_comes_and_goes() -> None:
    start = inputs(ENTRY + SERVICE)
    first = compiler.build(start)
    assert addresses(first) == [("5.5.5.5", 77)]
    one = instance("other", app="x", number=80, target=9)
    second = compiler.build(replace(start, registrations={one.id: one}), first)
    assert addresses(second) == [("127.0.0.1", 9), ("5.5.5.5", 77)]
    elsewhere = replace(one, labels=type(one.labels)({"app": "y"}))
    third = compiler.build(replace(start, registrations={one.id: elsewhere}), second)
    assert addresses(third) == [("5.5.5.5", 77)]
    assert addresses(compiler.build(start, third)) == [("5.5.5.5", 77)]


def test_a_workload_entry_comes_and_goes() -> None:
    without, both = inputs(SERVICE), inputs(SERVICE + ENTRY)
    first = compiler.build(without)
    assert addresses(first) == []
    second = compiler.build(Inputs(resources={**without.resources, **both.resources}), first)
    assert addresses(second) == [("5.5.5.5", 77)]
    assert addresses(compiler.build(without, second)) == []


def test_the_mesh_tells_its_services_and_endpoints() -> None:
    mesh = built(SERVICE + ENTRY).mesh
    (service,) = mesh.services
    assert (service.host, mesh.settings.domain) == ("x.default.svc.cluster.local", "cluster.local")
    assert [e.address for e in mesh.endpoints(service)[80]] == ["5.5.5.5"]
    assert mesh.endpoints(replace(service, host="y")) == {}


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ({"uri": {"prefix": "/a"}}, {"uri": {"regex": "/a.*"}}),
        ({"uri": {"exact": "/a"}}, {"uri": {"prefix": "/a"}}),
        ({"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/a/b"}, "ignoreUriCase": True}),
        ({"gateways": ["edge"]}, {"gateways": ["mesh"]}),
        ({"headers": {"x": {"exact": "1"}}}, {"headers": {"x": {"exact": "2"}}}),
        ({"port": 80}, {"port": 81}),
    ],
)
def test_conditions_that_nothing_meets_together(outer: dict[str, object], inner: dict[str, object]) -> None:
    with pytest.raises(ConflictError):
        conditions(HttpMatch.model_validate(outer), HttpMatch.model_validate(inner))


def test_conditions_together() -> None:
    outer = {"name": "o", "uri": {"prefix": "/a"}, "headers": {"x": {"exact": "1"}}, "port": 80, "gateways": ["mesh", "edge"]}
    inner = {"name": "i", "uri": {"prefix": "/a"}, "headers": {"y": {}}, "gateways": ["edge"], "sourceLabels": {"a": "b"}}
    both = conditions(HttpMatch.model_validate(outer), HttpMatch.model_validate(inner))
    assert both is not None
    assert (both.name, both.port, both.gateways, dict(both.source_labels)) == ("o-i", 80, ("edge",), {"a": "b"})
    assert sorted(both.headers) == ["x", "y"]


def test_a_delegate_does_not_delegate_again() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root}
spec: {hosts: [a], http: [{delegate: {name: middle}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: middle}
spec: {http: [{delegate: {name: last}}, {name: own, route: [{destination: {host: a}}]}]}
"""
    result = built(text, instance("a"))
    assert [r.name for r in routes(view(result.mesh, sidecar()), "a:9080")] == ["own"]
    assert "cannot delegate again" in warnings(result, "VirtualService/root")[0]


def test_a_prefix_of_a_header() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{match: [{headers: {x: {prefix: ab}}}], route: [{destination: {host: a}}]}]}
"""
    (route,) = routes(view(built(text, instance("a")).mesh, sidecar()), "a:9080")
    assert str(route.match.headers[0].match) == "prefix 'ab'"


def test_servers_that_are_not_served_say_why() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"], bind: "unix:///run/x"}
"""
    mesh = built(text).mesh
    assert [s.dropped for s in gateway_addresses(mesh, gateway())] == [
        "a gateway does not listen on Unix sockets",
    ]
    assert view(mesh, gateway()).listeners == ()


TCP_RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db]
  tcp: [{match: [%s], route: [{destination: {host: other}}]}]
"""


@pytest.mark.parametrize(
    ("match", "cluster"),
    [
        ("{port: 5432}", "other:9080"),
        ("{port: 1}", "db:5432"),
        ("{sourceSubnet: 10.0.0.0/8}", "db:5432"),
        ("{gateways: [edge]}", "db:5432"),
    ],
)
def test_which_tcp_rule_holds(match: str, cluster: str) -> None:
    db = instance("db", number=5432, protocol=Protocol.TCP, name="tcp")
    node = sidecar(upstreams=(Upstream(host="db", port=5432, bind_port=1),))
    found = view(built(TCP_RULE.replace("%s", match), db, instance("other")).mesh, node)
    assert [short(c.cluster) for c in tcp(listener(found, "127.0.0.1_1")).clusters] == [cluster]


def test_a_wildcard_rule_is_seen_where_one_of_its_names_is() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: wild}
spec: {hosts: ["*.default.svc.cluster.local"], http: [{name: wild, route: [{destination: {host: a}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s}
spec: {egress: [{hosts: ["%s"]}]}
"""

    def found(shown: str) -> list[str]:
        seen = view(built(text.replace("%s", shown), instance("a")).mesh, sidecar())
        return [r.name for h in table(seen).virtual_hosts if h.name.startswith("a.") for r in h.routes if r.name != "connect"]

    assert found("*/a.default.svc.cluster.local") == ["wild"]
    assert found("other/a.default.svc.cluster.local") == []


def test_a_sidecar_resource_that_only_sets_the_policy_hides_nothing() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: s}
spec: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
"""
    assert sorted(hosts(view(built(text, instance("a")).mesh, sidecar()))) == ["a.default.svc.cluster.local:9080", "block_all"]


def test_a_second_policy_of_a_port_may_pass_through_too() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a
  trafficPolicy: {portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: PASSTHROUGH}}]}
  subsets: [{name: v1, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}]
"""
    told = warnings(built(text, instance("a")), "DestinationRule/a")
    assert [w.split(": ")[2] for w in told] == [
        "spec.trafficPolicy.portLevelSettings[0].loadBalancer.simple",
        "spec.subsets[0].trafficPolicy.loadBalancer.simple",
    ]


@pytest.mark.parametrize(("kind", "match"), [("tcp", "{port: 80}"), ("tls", "{sniHosts: [a.example]}")])
def test_connections_that_are_sent_nowhere_are_told(kind: str, match: str) -> None:
    text = f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: nowhere}}
spec: {{hosts: [a.example], {kind}: [{{match: [{match}], route: [{{destination: {{host: nowhere}}}}]}}]}}
"""
    (said,) = warnings(built(text), "VirtualService/nowhere")
    assert f"spec.{kind}[0].route[0].destination: host nowhere.default.svc.cluster.local is not known" in said
    assert said.endswith("its connections are closed")
