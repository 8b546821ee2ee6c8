"""Whatever documents of the Gateway API there are: a mesh comes of them, every name resolves, and what was there before leaves no trace."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.compiled import documents, gateway, instance, plain, problems, sidecar
from support.steps import check, on_the_way
from tulle import compile as compiler
from tulle.compile import view
from tulle.model.mesh import Inputs
from tulle.model.service import Protocol

API = "gateway.networking.k8s.io/v1"
NODES = (gateway(), gateway(privileged=True, namespace="other"), sidecar("default", app="a"), sidecar("other"))
names = st.sampled_from(["a", "b"])
spaces = st.sampled_from(["default", "other"])
hosts = st.sampled_from(["a.example", "*.example", "b.a.example", "*.a.example", "c.test"])
run = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def some(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with some of the fields."""
    return st.fixed_dictionaries({}, optional=fields)


def listener(number: int) -> st.SearchStrategy[dict[str, Any]]:
    shapes = st.sampled_from(
        [
            {"protocol": "HTTP"},
            {"protocol": "TCP"},
            {"protocol": "UDP"},
            {"protocol": "odd.example/x"},
            {"protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "missing"}]}},
            {"protocol": "TLS", "tls": {"mode": "Passthrough"}},
        ]
    )
    allowed = some(namespaces=st.fixed_dictionaries({"from": st.sampled_from(["All", "Same"])}))
    more = some(hostname=hosts, allowedRoutes=allowed)
    port = st.sampled_from([80, 81, 443])
    return st.tuples(shapes, port, more).map(lambda t: _listener(number, *t))


def _listener(number: int, shape: dict[str, Any], port: int, more: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in more.items() if k != "hostname" or shape["protocol"] not in ("TCP", "UDP")}
    return {"name": f"l{number}", "port": port, **shape, **kept}


def _distinct(listeners: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    found = {(one["port"], one["protocol"], one.get("hostname")): one for one in listeners}
    return list(found.values())


listeners = st.tuples(listener(0), listener(1), listener(2)).map(_distinct)
gateways = st.fixed_dictionaries({"gatewayClassName": st.sampled_from(["tulle", "istio", "nginx"]), "listeners": listeners}).flatmap(
    lambda spec: some(allowedListeners=st.just({"namespaces": {"from": "All"}})).map(lambda more: spec | more)
)
sets = st.fixed_dictionaries({"parentRef": st.fixed_dictionaries({"name": names, "namespace": spaces}), "listeners": listeners})
parents = st.one_of(
    st.fixed_dictionaries({"name": names}, optional={"namespace": spaces, "sectionName": st.sampled_from(["l0", "l1"])}),
    st.fixed_dictionaries({"name": names, "kind": st.just("ListenerSet")}),
    st.fixed_dictionaries({"name": names, "kind": st.just("Service"), "group": st.just("")}, optional={"namespace": spaces}),
).map(lambda one: [one])
backend = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b", "gone"]), "port": st.just(9080)}, optional={"namespace": spaces, "weight": st.sampled_from([0, 3])}
)
backends = st.lists(backend, max_size=2)
matches = st.lists(
    some(
        path=st.sampled_from(
            [{"value": "/"}, {"value": "/a"}, {"type": "Exact", "value": "/a"}, {"type": "RegularExpression", "value": "/.+"}]
        ),
        headers=st.just([{"name": "x", "value": "1"}]),
        method=st.just("GET"),
    ),
    max_size=2,
)
filters = st.sampled_from(
    [
        [],
        [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b", "port": 9080}, "percent": 10}}],
        [{"type": "URLRewrite", "urlRewrite": {"hostname": "x.test", "path": {"type": "ReplaceFullPath", "replaceFullPath": "/"}}}],
        [{"type": "CORS", "cors": {"allowOrigins": ["https://*.example"]}}],
    ]
)
http_rules = st.lists(st.fixed_dictionaries({"matches": matches, "backendRefs": backends, "filters": filters}), min_size=1, max_size=2)
grpc_rules = st.lists(st.fixed_dictionaries({"backendRefs": backends}), min_size=1, max_size=1)
connection_rules = st.lists(backend, min_size=1, max_size=2).map(lambda found: [{"backendRefs": found}])
grants = st.just(
    {
        "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "default"}],
        "to": [{"group": "", "kind": "Service"}],
    }
)
wanted = some(hostnames=st.lists(hosts, max_size=2))


def route(rules: st.SearchStrategy[Any], *, named: bool = True) -> st.SearchStrategy[dict[str, Any]]:
    base = st.fixed_dictionaries({"parentRefs": parents, "rules": rules})
    return st.tuples(base, wanted).map(lambda t: t[0] | t[1]) if named else base


KINDS = {
    "Gateway": gateways,
    "ListenerSet": sets,
    "HTTPRoute": route(http_rules),
    "GRPCRoute": route(grpc_rules),
    "TLSRoute": route(connection_rules),
    "TCPRoute": route(connection_rules, named=False),
    "UDPRoute": route(connection_rules, named=False),
    "ReferenceGrant": grants,
}


def document(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    metadata = st.fixed_dictionaries({"name": names, "namespace": spaces})
    return st.tuples(metadata, KINDS[kind]).map(lambda t: {"apiVersion": API, "kind": kind, "metadata": t[0], "spec": t[1]})


some_documents = st.lists(st.sampled_from(["Gateway", "HTTPRoute", *KINDS]).flatmap(document), min_size=1, max_size=9)
INSTANCES = {
    r.id: r
    for r in (
        instance("a"),
        instance("b", namespace="other"),
        instance("b", protocol=Protocol.UDP, name="udp"),
        instance("a", namespace="other", protocol=Protocol.TCP, name="tcp"),
    )
}


def inputs(found: list[dict[str, Any]]) -> Inputs:
    return Inputs(resources=documents(yaml.safe_dump_all(found)), registrations=INSTANCES)


@run
@given(some_documents)
def test_a_mesh_comes_of_it(found: list[dict[str, Any]]) -> None:
    given_ = inputs(found)
    made = compiler.build(given_)
    assert made.statuses.keys() == given_.resources.keys()
    for node in NODES:
        assert problems(view(made.mesh, node)) == []


@run
@given(some_documents, some_documents)
def test_what_was_there_before_leaves_no_trace(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> None:
    old, new = inputs(before), inputs(after)
    first = compiler.build(old)
    for node in NODES:
        view(first.mesh, node)
    mixed = replace(new, resources={**dict(list(old.resources.items())[::2]), **new.resources})
    second, alone = compiler.build(mixed, first), compiler.build(mixed)
    assert second.statuses == alone.statuses
    for node in NODES:
        assert plain(view(second.mesh, node)) == plain(view(alone.mesh, node))


BESIDE = [
    {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": host[:1], "namespace": "default"},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": {"host": "b.other.svc.cluster.local"}}]}]},
    }
    for host in ("a", "b.other.svc.cluster.local", "c.test")
]


@settings(run, max_examples=25)
@given(st.lists(st.tuples(some_documents, st.sampled_from(BESIDE)), min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_every_step_is_what_a_fresh_start_gives(pictures: list[tuple[list[dict[str, Any]], dict[str, Any]]], random: Any) -> None:
    check(on_the_way([inputs([*found, beside]) for found, beside in pictures], random), NODES)


@run
@given(some_documents, st.randoms(use_true_random=False))
def test_the_order_of_documents_does_not_matter(found: list[dict[str, Any]], random: Any) -> None:
    given_ = inputs(found)
    shuffled = list(given_.resources.items())
    random.shuffle(shuffled)
    one, two = compiler.build(given_), compiler.build(replace(given_, resources=dict(shuffled)))
    assert one.statuses == two.statuses
    for node in NODES:
        assert plain(view(one.mesh, node)) == plain(view(two.mesh, node))
