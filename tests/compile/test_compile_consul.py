"""Consul's entries: where requests go, and which instances are meant."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from support import generated_consul
from support.compiled import built, cluster, endpoints, forward, inputs, instance, plain, problems, routes, shares, short, sidecar, warnings
from tulle.compile import build, view
from tulle.model.mesh import Inputs
from tulle.model.proxy import InboundPort, ProxyView
from tulle.model.routing import Compare
from tulle.model.service import Health, Protocol
from tulle.model.traffic import Algorithm, HashOn
from tulle.resources.read import read

PORT = InboundPort(service_port=9080, listen=20000, target=8080, protocol=Protocol.HTTP)
WEB = (instance("web", "v1"), instance("web", "v2"), instance("admin"))


def entry(kind: str, name: str, spec: str) -> str:
    return f"---\napiVersion: consul.hashicorp.com/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"


SUBSETS = entry(
    "ServiceResolver",
    "web",
    "{defaultSubset: v1, subsets: {v1: {filter: 'Service.Meta.version == v1'}, v2: {filter: 'Service.Meta.version == v2'}}}",
)


def seen(text: str, *registrations: object) -> ProxyView:
    found = view(built(text, *(registrations or WEB)).mesh, sidecar())  # type: ignore[arg-type]
    assert problems(found) == []
    return found


def test_a_resolver_makes_subsets_by_filter_and_names_the_default() -> None:
    found = seen(SUBSETS)
    (route,) = routes(found, "web:9080")
    assert shares(route) == {"web:9080/v1": 1}
    assert [e.workload for e in endpoints(found, "web:9080/v2")] == ["web-v2-default"]
    assert str(route.source) == "ServiceResolver/web spec"


def test_subsets_by_tag_and_by_health() -> None:
    tagged = replace(instance("web", "v1"), tags=("blue",))
    warned = replace(instance("web", "v2"), tags=("green",), health=Health.WARNING)
    text = entry("ServiceResolver", "web", "{subsets: {blue: {filter: '\"blue\" in Service.Tags'}, well: {onlyPassing: true}, all: {}}}")
    found = seen(text, tagged, warned)
    assert [e.workload for e in endpoints(found, "web:9080/blue")] == ["web-v1-default"]
    assert [e.workload for e in endpoints(found, "web:9080/well")] == ["web-v1-default"]
    assert len(endpoints(found, "web:9080/all")) == 2


def test_a_splitter_shares_requests_to_hundredths_of_a_percent() -> None:
    split = "{splits: [{weight: 99.5, serviceSubset: v1, requestHeaders: {set: {x-leg: one}}}, {weight: 0.5, serviceSubset: v2}]}"
    (route,) = routes(seen(SUBSETS + entry("ServiceSplitter", "web", split)), "web:9080")
    assert shares(route) == {"web:9080/v1": 9950, "web:9080/v2": 50}
    assert forward(route).clusters[0].request_headers.set == (("x-leg", "one"),)


def test_splitters_of_other_services_are_asked_on_the_way() -> None:
    text = SUBSETS + entry("ServiceSplitter", "web", "{splits: [{weight: 50, serviceSubset: v1}, {weight: 50, serviceSubset: v2}]}")
    text += entry("ServiceSplitter", "admin", "{splits: [{weight: 80}, {weight: 20, service: web}]}")
    (route,) = routes(seen(text), "admin:9080")
    assert shares(route) == {"admin:9080": 8000, "web:9080/v1": 1000, "web:9080/v2": 1000}


ROUTES = """{routes: [
 {match: {http: {pathPrefix: /admin, methods: [GET, POST], header: [{name: X-Who, suffix: me, invert: true}]}},
  destination: {service: admin, prefixRewrite: /, requestTimeout: 5s, numRetries: 4, retryOnConnectFailure: true,
                retryOnStatusCodes: [503], responseHeaders: {remove: [server]}}},
 {match: {http: {pathExact: /old, queryParam: [{name: debug, present: true}]}}, destination: {serviceSubset: v2}}]}"""


def test_a_router_chooses_by_request_and_leaves_the_rest_to_the_service() -> None:
    found = seen(SUBSETS + entry("ServiceRouter", "web", ROUTES))
    admin, old, rest = routes(found, "web:9080")
    assert (shares(admin), shares(old), shares(rest)) == ({"admin:9080": 1}, {"web:9080/v2": 1}, {"web:9080/v1": 1})
    assert admin.match.path and (admin.match.path.compare, admin.match.path.value) == (Compare.PREFIX, "/admin")
    method, who = admin.match.headers
    assert (method.name, method.match and method.match.value) == (":method", "GET|POST")
    assert (who.name, who.invert, who.match and who.match.compare) == ("x-who", True, Compare.SUFFIX)
    action = forward(admin)
    assert (action.prefix_rewrite, action.timeout and action.timeout.total_seconds()) == ("/", 5)
    assert action.retry and (action.retry.attempts, action.retry.retriable_status_codes) == (4, (503,))
    assert action.retry.retry_on == ("connect-failure", "retriable-status-codes")
    assert admin.response_headers.remove == ("server",)
    assert old.match.query[0].name == "debug"
    assert [str(r.source) for r in (admin, old, rest)] == [
        "ServiceRouter/web spec.routes[0]", "ServiceRouter/web spec.routes[1]", "ServiceResolver/web spec",
    ]  # fmt: skip


def test_what_stands_behind_a_route_for_all_is_told() -> None:
    text = entry("ServiceRouter", "web", "{routes: [{destination: {service: admin}}, {destination: {}}]}")
    found = seen(text)
    (route,) = routes(found, "web:9080")
    assert shares(route) == {"admin:9080": 1}


def test_a_redirect_leads_to_another_service_on_its_own_port() -> None:
    text = entry("ServiceResolver", "web", "{redirect: {service: admin}}")
    other = instance("admin", number=7000)
    (route,) = routes(seen(text, WEB[0], other), "web:9080")
    assert shares(route) == {"admin:7000": 1}


def test_a_circle_of_redirects_ends() -> None:
    text = entry("ServiceResolver", "web", "{redirect: {service: admin}}") + entry("ServiceResolver", "admin", "{redirect: {service: web}}")
    (route,) = routes(seen(text), "web:9080")
    assert shares(route) == {"web:9080": 1}


def test_others_stand_in_when_nobody_is_left() -> None:
    text = SUBSETS.replace("{defaultSubset", "{failover: {v1: {serviceSubset: v2}, v2: {targets: [{service: admin}]}}, defaultSubset")
    found = seen(text)
    group = next(g for g in found.endpoints if short(g.name) == "web:9080/v1")
    assert [(g.priority, [e.workload for e in g.endpoints]) for g in group.localities] == [(0, ["web-v1-default"]), (1, ["web-v2-default"])]
    gone = seen(text, replace(WEB[0], health=Health.CRITICAL), *WEB[1:])
    group = next(g for g in gone.endpoints if short(g.name) == "web:9080/v1")
    assert [(g.priority, [e.workload for e in g.endpoints]) for g in group.localities] == [(0, ["web-v2-default"])]
    group = next(g for g in found.endpoints if short(g.name) == "web:9080/v2")
    assert [[e.workload for e in g.endpoints] for g in group.localities] == [["web-v2-default"], ["admin-v1-default"]]


def test_who_stands_in_follows_its_own_instances() -> None:
    text = entry("ServiceResolver", "web", "{failover: {'*': {service: admin}}}")
    first = built(text, *WEB)
    more = {r.id: r for r in (*WEB, instance("admin", "v2"))}
    then = build(Inputs(resources=first.inputs.resources, registrations=more), first)
    group = next(g for g in view(then.mesh, sidecar()).endpoints if short(g.name) == "web:9080")
    assert [len(g.endpoints) for g in group.localities] == [2, 2]


@pytest.mark.parametrize(
    ("balancer", "algorithm", "on"),
    [
        ("{policy: round_robin}", Algorithm.ROUND_ROBIN, None),
        ("{policy: random}", Algorithm.RANDOM, None),
        ("{policy: maglev, hashPolicies: [{field: header, fieldValue: x-user}]}", Algorithm.MAGLEV, HashOn.HEADER),
        ("{policy: ring_hash, hashPolicies: [{sourceIP: true}]}", Algorithm.RING_HASH, HashOn.SOURCE_IP),
        (
            "{policy: ring_hash, hashPolicies: [{field: cookie, fieldValue: c, cookieConfig: {ttl: 5s}}]}",
            Algorithm.RING_HASH,
            HashOn.COOKIE,
        ),
        ("{policy: ring_hash, hashPolicies: [{field: query_parameter, fieldValue: q}]}", Algorithm.RING_HASH, HashOn.QUERY),
    ],
)
def test_balancing(balancer: str, algorithm: Algorithm, on: HashOn | None) -> None:
    found = seen(entry("ServiceResolver", "web", f"{{connectTimeout: 2s, loadBalancer: {balancer}}}"))
    policy = cluster(found, "web:9080").policy
    assert policy.load_balancer.algorithm is algorithm
    assert (policy.load_balancer.hash.on if policy.load_balancer.hash else None) is on
    assert policy.connection_pool.connect_timeout.total_seconds() == 2


def test_defaults_say_what_a_service_speaks_and_others_go_before() -> None:
    text = entry("ServiceDefaults", "web", "{protocol: grpc}") + entry("ProxyDefaults", "global", "{config: {protocol: tcp}}")
    before = built("", *WEB)
    after = build(Inputs(resources=inputs(text).resources, registrations=before.inputs.registrations), before)
    spoken = {b.service.name: {p.protocol for p in b.service.ports} for b in after.mesh.structure.backends.values()}
    assert spoken == {"web": {Protocol.GRPC}, "admin": {Protocol.TCP}}
    back = build(before.inputs, after)
    assert all(p.protocol is Protocol.HTTP for b in back.mesh.structure.backends.values() for p in b.service.ports)


def test_what_stands_in_the_way_is_told() -> None:
    rules = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
"""
    result = built(rules + SUBSETS + entry("ServiceRouter", "web", ROUTES), *WEB)
    (told,) = warnings(result, "ServiceRouter/web")
    assert told.startswith("rules.yaml:20: ServiceRouter/web: spec: does not steer requests: VirtualService default/web (rules.yaml:2) is ")
    assert told.endswith("for service web.default.svc.cluster.local, and goes first")
    assert "goes first" in warnings(result, "ServiceResolver/web")[0]


def test_ends_that_lead_nowhere_are_told() -> None:
    text = entry("ServiceSplitter", "web", "{splits: [{weight: 50}, {weight: 50, service: none}]}") + entry(
        "ServiceResolver", "ghost", "{}"
    )
    result = built(text, *WEB)
    assert [w.rpartition("ServiceSplitter/web: ")[2] for w in warnings(result, "ServiceSplitter/web")] == [
        "spec.splits[1]: service none.default.svc.cluster.local is not known: its requests are answered with 503"
    ]
    assert "no service ghost.default.svc.cluster.local is known" in warnings(result, "ServiceResolver/ghost")[0]
    (route,) = routes(view(result.mesh, sidecar()), "web:9080")
    assert shares(route) == {"web:9080": 5000, "InvalidBackend": 5000}


def test_connections_that_are_not_looked_into_follow_the_resolver() -> None:
    pair = tuple(instance(name, protocol=Protocol.TCP, name="tcp") for name in ("web", "admin"))
    text = entry("ServiceResolver", "web", "{redirect: {service: admin}}") + entry("ServiceSplitter", "web", "{splits: [{weight: 100}]}")
    result = built(text, *pair)
    steering = result.mesh.structure.rules.chains["web.default.svc.cluster.local"]
    assert [d.destination.host for rule in steering.tcp for d in rule.spec.route] == ["admin.default.svc.cluster.local"]
    assert "which speaks TCP: requests cannot be told apart" in warnings(result, "ServiceSplitter/web")[0]


def test_a_service_without_instances_can_lead_to_others() -> None:
    found = seen(entry("ServiceResolver", "shop", "{redirect: {service: web}}"))
    (route,) = routes(found, "shop:80")
    assert shares(route) == {"web:9080": 1}


INSTANCES = (instance("a", "v1"), instance("a", "v2", number=8080), instance("b", "v1", protocol=Protocol.TCP, name="tcp"), instance("c"))


@given(before=generated_consul.documents(), after=generated_consul.documents())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_whatever_entries_say_every_name_resolves_and_nothing_of_before_is_left(before: str, after: str) -> None:
    registrations = {r.id: r for r in INSTANCES}

    def of(text: str) -> Inputs:
        return Inputs(resources={r.key: r for r in read(text, "generated.yaml").resources}, registrations=registrations)

    changed, fresh = build(of(after), build(of(before))), build(of(after))
    for node in (sidecar(), replace(sidecar(app="a", inbound=(PORT,)), service="a")):
        assert problems(view(fresh.mesh, node)) == []
        assert plain(view(changed.mesh, node)) == plain(view(fresh.mesh, node))
    assert changed.statuses == fresh.statuses
