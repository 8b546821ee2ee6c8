"""What holds for every mesh: build is total, order does not matter, and every reference leads somewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.compiled import plain, problems, sidecar
from support.steps import check, on_the_way
from tulle import compile as compiler
from tulle.compile import gateway_addresses, view
from tulle.model.frozen import FrozenMap
from tulle.model.mesh import Inputs, MeshSettings
from tulle.model.proxy import InboundPort, Node, Role, Upstream
from tulle.model.resource import Key, Resource
from tulle.model.service import Health, Protocol, RegisteredPort, Registration
from tulle.resources.read import read

NETWORKING = "networking.istio.io/v1"
VERSIONS = {"Service": "v1", "PeerAuthentication": "security.istio.io/v1"}
names = st.sampled_from(["a", "b", "c"])
namespaces = st.sampled_from(["default", "other", "istio-system"])
hosts = st.sampled_from(["a", "b", "a.default.svc.cluster.local", "b.other.svc.cluster.local", "x.example.com", "a.default", "nowhere"])
wild_hosts = st.one_of(hosts, st.sampled_from(["*.default.svc.cluster.local", "*.example.com", "*.svc.cluster.local"]))
numbers = st.sampled_from([80, 8080, 9080, 443])
protocols = st.sampled_from(["HTTP", "TCP", "GRPC", "HTTP2", "UDP", "HTTPS", "REDIS"])
labels = st.dictionaries(st.sampled_from(["app", "version"]), st.sampled_from(["a", "b", "v1", "v2"]), max_size=2)
exports = st.lists(st.sampled_from(["*"]) | st.sampled_from(["."]) | namespaces, max_size=1)
gateway_names = st.sampled_from(["mesh", "edge", "other/edge", "nowhere"])


def fields(**optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=optional)


def some(strategy: st.SearchStrategy[Any], least: int = 1, most: int = 2) -> st.SearchStrategy[list[Any]]:
    return st.lists(strategy, min_size=least, max_size=most)


destinations = st.builds(
    lambda host, more: {"host": host, **more},
    hosts,
    fields(subset=st.sampled_from(["v1", "v2", "v9"]), port=st.builds(lambda n: {"number": n}, numbers)),
)
strings = st.one_of(
    st.builds(lambda v: {"exact": v}, st.sampled_from(["/a", "x"])),
    st.builds(lambda v: {"prefix": v}, st.sampled_from(["/", "/a", "x"])),
    st.builds(lambda v: {"regex": v}, st.sampled_from([".*", "/a.*"])),
)
matches = fields(
    uri=strings,
    headers=st.dictionaries(st.sampled_from(["x", "y", "@request.auth.claims.a"]), strings, max_size=2),
    withoutHeaders=st.dictionaries(st.just("z"), strings, max_size=1),
    port=numbers,
    sourceLabels=labels,
    sourceNamespace=namespaces,
    gateways=some(gateway_names, 0, 2),
    ignoreUriCase=st.booleans(),
)
shares = st.builds(lambda d, w: [{"destination": x, "weight": w} for x in d], some(destinations), st.integers(1, 3))
actions = st.one_of(
    st.builds(lambda r: {"route": r}, shares),
    st.just({"redirect": {"uri": "/x"}}),
    st.just({"directResponse": {"status": 418}}),
    st.builds(lambda r, m: {"route": r, "mirror": m}, shares, destinations),
    st.builds(lambda n, ns: {"delegate": {"name": n, "namespace": ns}}, names, namespaces),
)
http_rules = st.builds(lambda m, a: {**({"match": m} if m else {}), **a}, some(matches, 0, 2), actions)
tcp_rules = st.builds(
    lambda m, r: {**({"match": m} if m else {}), "route": r},
    some(fields(port=numbers, sourceLabels=labels, gateways=some(gateway_names, 0, 1)), 0, 2),
    shares,
)
policies = st.one_of(
    st.builds(lambda s: {"loadBalancer": {"simple": s}}, st.sampled_from(["RANDOM", "PASSTHROUGH", "ROUND_ROBIN"])),
    st.just({"loadBalancer": {"consistentHash": {"httpHeaderName": "x"}}}),
    st.just({"outlierDetection": {"consecutiveErrors": 3}}),
    st.builds(lambda n: {"portLevelSettings": [{"port": {"number": n}, "connectionPool": {"tcp": {"maxConnections": 1}}}]}, numbers),
    st.builds(lambda m: {"tls": {"mode": m}}, st.sampled_from(["DISABLE", "SIMPLE", "ISTIO_MUTUAL"])),
)
mtls = st.builds(lambda m: {"mode": m}, st.sampled_from(["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]))
subsets = st.lists(
    st.builds(lambda n, ls, p: {"name": n, "labels": ls, **p}, st.sampled_from(["v1", "v2"]), labels, fields(trafficPolicy=policies)),
    max_size=2,
    unique_by=lambda s: s["name"],
)
ports = st.lists(
    st.builds(lambda n, p: {"number": n, "name": f"p{n}", "protocol": p}, numbers, protocols),
    min_size=1,
    max_size=2,
    unique_by=lambda p: p["number"],
)
specs: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "VirtualService": st.one_of(
        st.builds(
            lambda h, r, more: {"hosts": h, "http": r, **more},
            st.lists(wild_hosts, min_size=1, max_size=2, unique=True),
            some(http_rules, 1, 3),
            fields(tcp=some(tcp_rules), gateways=some(gateway_names), exportTo=exports),
        ),
        st.builds(lambda r, more: {"http": r, **more}, some(http_rules, 1, 3), fields(exportTo=exports)),
    ),
    "DestinationRule": st.builds(
        lambda h, more: {"host": h, **more},
        wild_hosts,
        fields(
            trafficPolicy=policies, subsets=subsets, exportTo=exports, workloadSelector=st.builds(lambda ls: {"matchLabels": ls}, labels)
        ),
    ),
    "Gateway": st.builds(
        lambda s, v: {"selector": s, "servers": v},
        st.sampled_from([{}, {"istio": "ingressgateway"}, {"app": "a"}]),
        some(
            st.builds(
                lambda p, h, more: {"port": p, "hosts": h, **more},
                st.builds(lambda n, p: {"number": n, "name": f"{p.lower()}-{n}", "protocol": p}, numbers, protocols),
                some(st.sampled_from(["*", "*.example.com", "x.example.com", "./*", "other/*"])),
                fields(bind=st.just("127.0.0.1"), tls=st.just({"httpsRedirect": True})),
            )
        ),
    ),
    "ServiceEntry": st.builds(
        lambda h, p, r, more: {"hosts": h, "ports": p, "resolution": r, **more},
        some(wild_hosts),
        ports,
        st.sampled_from(["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"]),
        fields(
            endpoints=some(st.builds(lambda a, ls: {"address": a, "labels": ls}, st.sampled_from(["1.1.1.1", "2.2.2.2"]), labels)),
            exportTo=exports,
            addresses=some(st.sampled_from(["10.0.0.1", "10.1.0.0/16"])),
        ),
    ),
    "WorkloadEntry": st.builds(lambda ls: {"address": "3.3.3.3", "labels": ls}, labels),
    "Sidecar": fields(
        egress=some(
            st.builds(
                lambda h: {"hosts": h}, some(st.sampled_from(["*/*", "./*", "~/*", "other/a.default", "*/a.default.svc.cluster.local"]))
            )
        ),
        workloadSelector=st.builds(lambda ls: {"labels": ls}, labels),
        outboundTrafficPolicy=st.sampled_from([{"mode": "ALLOW_ANY"}, {"mode": "REGISTRY_ONLY"}]),
    ),
    "PeerAuthentication": st.one_of(
        fields(mtls=mtls),
        st.builds(
            lambda ls, m, n, more: {"selector": {"matchLabels": ls}, "portLevelMtls": {str(n): m}, **more},
            st.sampled_from([{"app": "a"}, {"app": "b", "version": "v1"}]),
            mtls,
            numbers,
            fields(mtls=mtls),
        ),
    ),
    "Service": st.builds(
        lambda ls, p: {"selector": ls, "ports": p},
        labels,
        st.lists(
            st.builds(lambda n, w: {"port": n, "name": f"{w}-{n}"}, numbers, st.sampled_from(["http", "tcp", "web"])),
            min_size=1,
            max_size=2,
            unique_by=lambda p: p["port"],
        ),
    ),
}


@st.composite
def resources(draw: st.DrawFn) -> Mapping[Key, Resource[Any]]:
    """Documents that the reader takes; what it refuses is not there to be compiled."""
    found: dict[Key, Resource[Any]] = {}
    for place in range(draw(st.integers(0, 7))):
        kind = draw(st.sampled_from(["VirtualService"] * 4 + sorted(specs)))
        document = {
            "apiVersion": VERSIONS.get(kind, NETWORKING),
            "kind": kind,
            "metadata": {"name": draw(names if kind != "Gateway" else st.just("edge")), "namespace": draw(namespaces)},
            "spec": draw(specs[kind]),
        }
        for resource in read(yaml.safe_dump(document), "generated.yaml").resources:
            found[resource.key] = replace(resource, created=draw(st.integers(0, 2)) if place % 2 else 0)
    return found


registrations = st.lists(
    st.builds(
        lambda i, s, ns, n, p, h, v, proxy: Registration(
            id=f"r{i}",
            proxy=proxy,
            service_account=s,
            service=s,
            namespace=ns,
            ports=(RegisteredPort(number=n, target=20000 + i, name=f"p{n}", protocol=p),),
            labels=FrozenMap({"app": s, "version": v}),
            health=h,
        ),
        st.integers(0, 9),
        names,
        namespaces,
        numbers,
        st.sampled_from(Protocol),
        st.sampled_from(Health),
        st.sampled_from(["v1", "v2"]),
        st.sampled_from(["", "sidecar~x"]),
    ),
    max_size=5,
    unique_by=lambda r: r.id,
)
everything = st.builds(
    lambda r, g, a: Inputs(resources=r, registrations={x.id: x for x in g}, settings=MeshSettings(allow_any=a)),
    resources(),
    registrations,
    st.booleans(),
)
NODES = (
    sidecar(app="a", version="v1"),
    sidecar(
        "other",
        upstreams=(Upstream(host="a", port=9080, bind_port=1), Upstream(host="b.other.svc.cluster.local", port=80, bind_port=2)),
        inbound=(InboundPort(service_port=80, listen=3, target=4), InboundPort(service_port=81, listen=5, target=6, protocol=Protocol.TCP)),
    ),
    Node(id="bare", role=Role.SIDECAR, namespace="istio-system"),
    Node(id="edge", role=Role.GATEWAY, namespace="istio-system", labels=FrozenMap({"istio": "ingressgateway"})),
    Node(id="root", role=Role.GATEWAY, namespace="other", labels=FrozenMap({"app": "a"}), privileged_ports=True),
)
run = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])


@run
@given(everything)
def test_every_reference_leads_somewhere_and_no_name_is_given_twice(given_: Inputs) -> None:
    built = compiler.build(given_)
    assert built.statuses.keys() == given_.resources.keys()
    for node in NODES:
        assert problems(view(built.mesh, node)) == []


@run
@given(everything, st.randoms(use_true_random=False))
def test_the_order_of_inputs_does_not_matter(given_: Inputs, random: Any) -> None:
    documents, instances = list(given_.resources.items()), list(given_.registrations.items())
    random.shuffle(documents)
    random.shuffle(instances)
    one, two = compiler.build(given_), compiler.build(replace(given_, resources=dict(documents), registrations=dict(instances)))
    assert one.statuses == two.statuses
    for node in NODES:
        assert plain(view(one.mesh, node)) == plain(view(two.mesh, node))


@run
@given(everything, everything)
def test_what_was_there_before_leaves_no_trace(before: Inputs, after: Inputs) -> None:
    first = compiler.build(before)
    for node in NODES:
        view(first.mesh, node)
    mixed = replace(after, resources={**before.resources, **after.resources})
    second, alone = compiler.build(mixed, first), compiler.build(mixed)
    assert second.statuses == alone.statuses
    for node in NODES:
        assert plain(view(second.mesh, node)) == plain(view(alone.mesh, node))


@settings(run, max_examples=25)
@given(st.lists(everything, min_size=2, max_size=4), st.randoms(use_true_random=False))
def test_every_step_is_what_a_fresh_start_gives(pictures: list[Inputs], random: Any) -> None:
    check(on_the_way(pictures, random), NODES)


@run
@given(everything)
def test_what_a_gateway_serves_is_what_it_says(given_: Inputs) -> None:
    mesh = compiler.build(given_).mesh
    for node in NODES[3:]:
        said = {(s.address, s.port) for s in gateway_addresses(mesh, node) if not s.dropped}
        assert {(x.address, x.port) for x in view(mesh, node).listeners} <= said


@run
@given(everything)
def test_nobody_is_believed_for_any_name_in_mutual_tls(given_: Inputs) -> None:
    """Towards the mesh a proxy shows its certificate, and asks for identities, or at least for one of the trust domain."""
    mesh = compiler.build(given_).mesh
    for node in NODES:
        for cluster in view(mesh, node).clusters:
            for found in (x for x in (cluster.tls, cluster.mesh_tls) if x and x.certificate == "default"):
                assert found.trust
                assert all(name.startswith("spiffe://cluster.local/") for name in found.trust.names)
                assert found.trust.names or found.trust.domains == ("cluster.local",)


def test_a_document_of_no_known_kind_is_told() -> None:
    key = Key(kind="Odd", namespace="default", name="x")
    odd: Resource[Any] = Resource(key=key, api_version="example.org/v1", spec=object())
    condition = compiler.build(Inputs(resources={key: odd})).statuses[key].condition("Accepted")
    assert condition
    assert (condition.status, condition.reason) == (False, "Invalid")
