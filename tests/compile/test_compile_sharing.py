"""What meshes and proxies share by identity, and that sharing never shows stale things."""

from __future__ import annotations

from dataclasses import replace

from support.certificates import Ca, tls_secret
from support.compiled import documents, endpoints, gateway, inputs, instance, plain, routes, shares, sidecar, warnings
from tulle import compile as compiler
from tulle.compile import Built, view
from tulle.compile.memo import Memo
from tulle.model.frozen import FrozenMap
from tulle.model.logins import Provider
from tulle.model.mesh import Inputs, MeshSettings
from tulle.model.proxy import Layer, Node
from tulle.model.service import Health, RegisteredPort, Registration

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{name: one, route: [{destination: {host: a, subset: v1}}]}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: scoped, namespace: narrow}
spec: {egress: [{hosts: ["*/a.default.svc.cluster.local"]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec: {hosts: ["*"], gateways: [edge], http: [{route: [{destination: {host: a}}]}]}
"""
INSTANCES = (instance("a", "v1"), instance("a", "v2"), instance("b"), instance("c"))
START = inputs(RULES, *INSTANCES)
WIDE, NARROW = sidecar(), sidecar("narrow")


def registered(before: Inputs, *changed: Registration) -> Inputs:
    return replace(before, registrations={**before.registrations, **{r.id: r for r in changed}})


def documented(before: Inputs, text: str) -> Inputs:
    return replace(before, resources={**before.resources, **documents(text)})


def changed(before: Built, after: Built, node: Node) -> list[Layer]:
    """The layers of a node that are not those of the mesh before."""
    known = view(before.mesh, node).layers
    return [layer for layer in view(after.mesh, node).layers if not any(layer is k for k in known)]


def test_proxies_of_one_scope_share_all_but_their_own() -> None:
    mesh = compiler.build(START).mesh
    one, two = view(mesh, sidecar(app="x")).layers, view(mesh, sidecar(app="y")).layers
    assert [x is y for x, y in zip(one, two, strict=True)] == [False, True, True, True]


def test_nothing_changes_when_nothing_changed() -> None:
    before = compiler.build(START)
    views = [view(before.mesh, node) for node in (WIDE, NARROW, gateway())]
    after = compiler.build(replace(START, resources=dict(START.resources), registrations=dict(START.registrations)), before)
    assert after.statuses is before.statuses
    for node, known in zip((WIDE, NARROW, gateway()), views, strict=True):
        assert all(x is y for x, y in zip(view(after.mesh, node).layers, known.layers, strict=True))


def test_a_changed_endpoint_makes_one_new_layer_where_it_can_be_seen() -> None:
    before = compiler.build(START)
    for node in (WIDE, NARROW, gateway()):
        view(before.mesh, node)
    after = compiler.build(registered(START, replace(instance("b"), address="9.9.9.9")), before)
    (layer,) = changed(before, after, WIDE)
    assert not (layer.clusters or layer.listeners or layer.route_tables)
    groups = {g.name: g for g in view(before.mesh, WIDE).endpoints}
    assert [g.name for g in layer.endpoints if groups[g.name] is not g] == ["outbound|9080||b.default.svc.cluster.local"]
    assert changed(before, after, NARROW) == []
    assert changed(before, after, gateway()) == []
    assert after.statuses is before.statuses
    assert after.mesh.structure is before.mesh.structure


def test_what_does_not_concern_endpoints_changes_nothing() -> None:
    before = compiler.build(START)
    view(before.mesh, WIDE)
    after = compiler.build(registered(START, replace(instance("b"), meta=FrozenMap({"a": "b"}))), before)
    assert changed(before, after, WIDE) == []


def test_a_changed_rule_makes_new_layers_only_where_it_is_in_force() -> None:
    before = compiler.build(START)
    for node in (WIDE, NARROW, gateway()):
        view(before.mesh, node)
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b}
spec: {hosts: [b], http: [{name: two, route: [{destination: {host: b}}]}]}
"""
    after = compiler.build(documented(START, text), before)
    (layer,) = changed(before, after, WIDE)
    assert [t.name for t in layer.route_tables] == ["http_proxy"]
    old = {h.name: h for t in view(before.mesh, WIDE).route_tables for h in t.virtual_hosts}
    fresh = [h.name for h in layer.route_tables[0].virtual_hosts if old[h.name] is not h]
    assert fresh == ["b.default.svc.cluster.local:9080"]
    assert changed(before, after, NARROW) == []
    assert changed(before, after, gateway()) == []


EDGE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec: {hosts: ["*"], gateways: [edge], http: [{timeout: %ds, route: [{destination: {host: a}}]}]}
"""


def test_a_changed_route_of_a_gateway_leaves_all_but_its_tables_alone() -> None:
    before = compiler.build(documented(START, EDGE % 3))
    view(before.mesh, gateway())
    after = compiler.build(documented(START, EDGE % 4), before)
    (layer,) = changed(before, after, gateway())
    assert [t.name for t in layer.route_tables] == ["http.80"]
    assert not (layer.clusters or layer.endpoints or layer.secrets)


def test_a_gateway_that_comes_to_need_a_secret_gets_it() -> None:
    ca = Ca()
    mesh = documented(START, tls_secret("web", ca.issue("web"), ca))
    before = compiler.build(mesh)
    assert [layer.secrets for layer in view(before.mesh, gateway()).layers if layer.secrets] == []
    tls = RULES.replace("protocol: HTTP}", "protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: web}")
    after = compiler.build(documented(mesh, tls), before)
    (held,) = (layer.secrets for layer in changed(before, after, gateway()) if layer.secrets)
    assert [secret.name for secret in held] == ["kubernetes-gateway://default/web"]
    again = compiler.build(documented(documented(mesh, tls), EDGE % 3), after)
    assert not any(layer.secrets for layer in changed(after, again, gateway()))


def test_a_rule_about_what_another_rule_sends_to_is_felt_there() -> None:
    before = compiler.build(START)
    assert shares(routes(view(before.mesh, WIDE), "a:9080")[0]) == {"a:9080/v1": 1}
    gone = replace(START, resources={k: r for k, r in START.resources.items() if k.kind != "DestinationRule"})
    after = compiler.build(gone, before)
    assert shares(routes(view(after.mesh, WIDE), "a:9080")[0]) == {}
    back = compiler.build(START, after)
    assert shares(routes(view(back.mesh, WIDE), "a:9080")[0]) == {"a:9080/v1": 1}


def test_every_way_to_an_input_gives_the_same_mesh() -> None:
    steps = [
        START,
        registered(START, replace(instance("a", "v1"), health=Health.CRITICAL)),
        registered(START, instance("d"), instance("a", "v3")),
        replace(START, registrations={}),
        replace(START, resources={}),
        registered(START, replace(instance("b"), ports=(RegisteredPort(number=80, target=1),))),
        replace(START, settings=MeshSettings(domain="example.org")),
        replace(START, settings=MeshSettings(allow_any=False)),
        START,
    ]
    built: Built | None = None
    for step in steps:
        built = compiler.build(step, built)
        alone = compiler.build(step)
        for node in (WIDE, NARROW, gateway()):
            assert plain(view(built.mesh, node)) == plain(view(alone.mesh, node))
        assert built.statuses == alone.statuses


def test_an_older_mesh_still_shows_what_it_held() -> None:
    before = compiler.build(START)
    old = plain(view(before.mesh, WIDE))
    after = compiler.build(registered(START, instance("a", "v3")), before)
    new = plain(view(after.mesh, WIDE))
    assert old != new
    assert plain(view(before.mesh, WIDE)) == old
    assert plain(view(after.mesh, WIDE)) == new
    assert len(endpoints(view(after.mesh, WIDE), "a:9080")) == 3


def test_the_memo_makes_a_result_again_when_what_it_was_made_from_differs() -> None:
    memo, made = Memo(), []

    def ask(name: str, made_from: int) -> int:
        return memo.get(name, (made_from,), lambda: made.append((name, made_from)) or made_from)

    assert [ask("a", 1), ask("a", 1), ask("a", 2), ask("b", 2)] == [1, 1, 2, 2]
    assert made == [("a", 1), ("a", 2), ("b", 2)]


def test_the_memo_forgets_what_was_not_asked_for_between_two_ages() -> None:
    memo, made = Memo(), []

    def ask(name: str) -> None:
        memo.get(name, (), lambda: made.append(name))

    ask("kept")
    ask("lost")
    memo.age(1)
    ask("kept")
    ask("more")
    memo.age(1)
    ask("kept")
    ask("lost")
    assert made == ["kept", "lost", "more", "lost"]
    memo.age(100)
    ask("more")
    assert made[4:] == []


SIGN_IN = """
apiVersion: tulle.dev/v1
kind: Authentication
metadata: {name: people}
spec: {selector: {matchLabels: {istio: ingressgateway}}, oidc: {issuer: "https://id.example", clientId: web, secret: id}}
---
apiVersion: v1
kind: Secret
metadata: {name: id}
stringData: {client-secret: s}
"""


def test_people_can_sign_in_as_soon_as_their_provider_told_of_itself() -> None:
    asked = replace(inputs(SIGN_IN), providers={})
    before = compiler.build(asked)
    assert "nobody is let in until it does" in str(warnings(before, "Authentication/people"))
    told = Provider(authorization_endpoint="https://id.example/a", token_endpoint="https://id.example/t")
    after = compiler.build(replace(asked, providers={"https://id.example/.well-known/openid-configuration": told}), before)
    assert warnings(after, "Authentication/people") == []


ONE_OF_EACH = """
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: kept}
spec: {targetRefs: [{group: "", kind: Service, name: a}], retryConstraint: {budget: {percent: 10}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: a}}]}]}
"""
MORE = """---
apiVersion: v1
kind: Secret
metadata: {name: more}
stringData: {a: b}
"""


def test_a_document_that_is_given_once_more_is_no_rival_of_its_own() -> None:
    before = compiler.build(inputs(ONE_OF_EACH, instance("a")))
    after = compiler.build(inputs(ONE_OF_EACH + MORE, instance("a")), before)
    assert [str(w) for status in after.statuses.values() for w in status.warnings] == []
