"""Conditions of routes, ListenerSets and classes, in the words of the specification."""

from __future__ import annotations

from typing import Any

import pytest

from support.certificates import Ca, tls_secret
from support.compiled import built, instance
from support.gateway_statuses import (
    API,
    FINE,
    GRANT,
    NAMESPACE,
    ONE,
    OPEN,
    PLAIN,
    SELECTED,
    a_class,
    allowing,
    condition,
    gateway,
    listener_set,
    listeners,
    of,
    parents,
    route,
    top,
)

CA = Ca()
SHOP = CA.issue("shop.example")
BY_NAME = "from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: team}}"
ABROAD = "[{name: edge, namespace: default}]"


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (PLAIN + route("[{name: edge}]"), [FINE]),
        (PLAIN + route("[{name: edge, sectionName: web}]"), [FINE]),
        (PLAIN + route("[{name: edge, port: 81}]", "hostnames: [a.example]"), [FINE]),
        (PLAIN + route("[{name: edge, sectionName: web, port: 81}]"), ["False NoMatchingParent"]),
        (PLAIN + route("[{name: edge, sectionName: nope}]"), ["False NoMatchingParent"]),
        (PLAIN + route("[{name: edge, sectionName: nope}, {name: edge, sectionName: web}]"), ["False NoMatchingParent", FINE]),
        (PLAIN + route("[{name: nope}]"), ["False NoMatchingParent"]),
        (PLAIN + route("[{name: edge, namespace: other}]"), ["False NoMatchingParent"]),
        (PLAIN + route("[{name: a, kind: Service, group: ''}]"), [FINE]),
        (PLAIN + route("[{name: b, kind: Service, group: ''}]"), ["False NoMatchingParent"]),
        (PLAIN + route("[{name: a, kind: Bucket, group: x.example}]"), ["False NoMatchingParent"]),
        (PLAIN + route("[{name: edge, sectionName: more}]", "hostnames: [elsewhere.test]"), ["False NoMatchingListenerHostname"]),
        (PLAIN + route("[{name: edge, sectionName: more}]", "hostnames: [elsewhere.test, a.example]"), [FINE]),
        (PLAIN + route(ABROAD, namespace="team"), ["False NotAllowedByListeners"]),
        (allowing("from: All") + route(ABROAD, namespace="team"), [FINE]),
        (allowing(SELECTED) + route(ABROAD, namespace="team"), ["False NotAllowedByListeners"]),
        (allowing(SELECTED) + NAMESPACE + route(ABROAD, namespace="team"), [FINE]),
        (allowing(BY_NAME) + route(ABROAD, namespace="team"), [FINE]),
        (allowing(BY_NAME) + NAMESPACE + route("[{name: edge}]"), ["False NotAllowedByListeners"]),
        (PLAIN + route("[{name: edge}]", kind="TCPRoute"), ["False NotAllowedByListeners"]),
        (gateway("[{name: t, port: 1, protocol: TCP}]") + route("[{name: edge}]", kind="TCPRoute"), [FINE]),
        (
            gateway("[{name: w, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}]") + route("[{name: edge}]"),
            ["False NotAllowedByListeners"],
        ),
        (gateway("[{name: w, port: 80, protocol: HTTP}]", of="nginx") + route("[{name: edge}]"), ["False NoMatchingParent"]),
    ],
)
def test_attachment(text: str, accepted: list[str]) -> None:
    assert [said for said, _ in parents(text)] == accepted


def grant(*, kind: str = "HTTPRoute", namespace: str = "default", name: str = "") -> str:
    return GRANT.format(kind=kind, namespace=namespace, name=f", name: {name}" if name else "")


ELSEWHERE = PLAIN + route("[{name: edge, sectionName: web}]", "rules: [{backendRefs: [{name: b, namespace: other, port: 80}]}]")


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        (PLAIN + route("[{name: edge}]"), "True ResolvedRefs"),
        (PLAIN + route("[{name: edge}]", "rules: [{backendRefs: [{name: zebra, port: 80}]}]"), "False BackendNotFound"),
        (PLAIN + route("[{name: edge}]", "rules: [{backendRefs: [{name: a, port: 81}]}]"), "False BackendNotFound"),
        (PLAIN + route("[{name: edge}]", "rules: [{backendRefs: [{name: a, kind: Bucket, group: x.y}]}]"), "False InvalidKind"),
        (
            PLAIN
            + route(
                "[{name: edge}]",
                "rules: [{backendRefs: [{name: a, port: 80}],"
                " filters: [{type: RequestMirror, requestMirror: {backendRef: {name: zebra, port: 80}}}]}]",
            ),
            "False BackendNotFound",
        ),
        (ELSEWHERE, "False RefNotPermitted"),
        (ELSEWHERE + grant(kind="TLSRoute"), "False RefNotPermitted"),
        (ELSEWHERE + grant(namespace="team"), "False RefNotPermitted"),
        (ELSEWHERE + grant(name="zebra"), "False RefNotPermitted"),
        (ELSEWHERE + grant(name="b"), "False BackendNotFound"),
        (ELSEWHERE + grant(), "False BackendNotFound"),
    ],
)
def test_references(text: str, resolved: str) -> None:
    assert parents(text) == [(FINE, resolved)]


def test_a_rule_that_cannot_be_applied_makes_a_route_partially_invalid() -> None:
    rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /}}}"
    odd = f"{{backendRefs: [{{name: a, port: 80, filters: [{rewrite}]}}, {{name: a, port: 80}}]}}"
    text = PLAIN + route("[{name: edge}]", f"rules: [{odd}, {{backendRefs: [{{name: a, port: 80}}]}}]")
    status = next(s for key, s in built(text, instance("a", number=80)).statuses.items() if key.kind == "HTTPRoute")
    (parent,) = status.details["parents"]  # type: ignore[misc,attr-defined]
    assert condition(parent["conditions"], "PartiallyInvalid") == "True UnsupportedValue"
    assert condition(parent["conditions"], "Accepted") == FINE
    assert parents(PLAIN + route("[{name: edge}]", f"rules: [{odd}]"))[0][0] == "False UnsupportedValue"


def test_http_and_grpc_never_share_a_host() -> None:
    one = route("[{name: edge, sectionName: web}]", "hostnames: ['*.x.example']", name="older")
    two = route("[{name: edge, sectionName: web}]", "hostnames: [a.x.example]", kind="GRPCRoute", name="newer")
    three = route("[{name: edge, sectionName: web}]", "hostnames: [b.example]", kind="GRPCRoute", name="apart")
    assert parents(PLAIN + one + two + three, "older")[0][0] == FINE
    assert parents(PLAIN + one + two + three, "newer")[0][0] == "False HostnameConflict"
    assert parents(PLAIN + one + two + three, "apart")[0][0] == FINE
    assert parents(PLAIN + two + one, "older")[0][0] == "False HostnameConflict"


def test_routes_are_counted_by_listener() -> None:
    text = (
        PLAIN
        + route("[{name: edge}]", name="both")
        + route("[{name: edge, sectionName: web}, {name: edge, sectionName: more}]", name="too")
    )
    text += route("[{name: edge, sectionName: web}]", name="web")
    assert {name: one["attachedRoutes"] for name, one in listeners(text).items()} == {"web": 3, "more": 2}


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        (OPEN + listener_set(), "True Accepted"),
        (PLAIN + listener_set(), "False NotAllowed"),
        (OPEN + listener_set(parent="{name: nope}"), "False ParentNotAccepted"),
        (OPEN + listener_set(parent="{name: a, kind: Service, group: ''}"), "False ParentNotAccepted"),
        (OPEN.replace("from: All", SELECTED) + listener_set(), "False NotAllowed"),
        (OPEN.replace("from: All", SELECTED) + NAMESPACE + listener_set(), "True Accepted"),
        (OPEN + listener_set("w.test"), "False ListenersNotValid"),
    ],
)
def test_listener_sets(text: str, accepted: str) -> None:
    assert top(text, "more") == accepted


def test_of_sets_the_older_keeps_a_listener() -> None:
    text = OPEN + listener_set(name="older") + listener_set(name="newer") + route("[{name: older, kind: ListenerSet}]", namespace="team")
    assert condition(listeners(text, "older")["own"]["conditions"], "Conflicted") == "False NoConflicts"
    assert condition(listeners(text, "newer")["own"]["conditions"], "Conflicted") == "True HostnameConflict"
    assert listeners(text, "older")["own"]["attachedRoutes"] == 1
    status = next(s for key, s in built(text).statuses.items() if key.name == "edge")
    assert status.details["attachedListenerSets"] == 1
    assert parents(text)[0][0] == FINE


CLASHES = (
    OPEN
    + listener_set("w.test", name="host")
    + listener_set(name="proto").replace("protocol: HTTP,", "protocol: TLS, tls: {mode: Passthrough},")
)


CLASHES += gateway("[{name: t, port: 1, protocol: TCP}]", "allowedListeners: {namespaces: {from: All}}", name="bytes")
CLASHES += listener_set(name="same", parent="{name: bytes, namespace: default}").replace(
    "80, protocol: HTTP, hostname: a.test", "1, protocol: TCP"
)


@pytest.mark.parametrize(("name", "reason"), [("host", "HostnameConflict"), ("proto", "ProtocolConflict"), ("same", "ProtocolConflict")])
def test_a_conflict_of_a_set_is_told_in_all_conditions(name: str, reason: str) -> None:
    """Of Gateways, it is told by one of them."""
    found = listeners(CLASHES, name)["own"]["conditions"]
    said = {kind: condition(found, kind) for kind in ("Accepted", "Programmed", "Conflicted")}
    assert said == {"Accepted": f"False {reason}", "Programmed": f"False {reason}", "Conflicted": f"True {reason}"}


@pytest.mark.parametrize(
    ("controller", "of_class", "of_gateway"),
    [
        ("tulle.dev/gateway-controller", "True Accepted", "True Accepted"),
        ("istio.io/gateway-controller", "True Accepted", "True Accepted"),
        ("example.com/other", "None Pending", "None Pending"),
    ],
)
def test_classes(controller: str, of_class: str, of_gateway: str) -> None:
    text = a_class(controller) + gateway("[{name: w, port: 80, protocol: HTTP}]", of="mine")
    assert (top(text, "mine"), top(text, "edge")) == (of_class, of_gateway)


def test_classes_take_no_parameters() -> None:
    text = a_class("tulle.dev/gateway-controller", ', parametersRef: {group: "", kind: ConfigMap, name: x}')
    assert top(text, "mine") == "False InvalidParameters"
    assert top(gateway("[{name: w, port: 80, protocol: HTTP}]", of="unknown"), "edge") == "None Pending"


def test_what_is_wrong_is_told_with_its_place() -> None:
    text = PLAIN + route("[{name: edge, sectionName: nope}]", "rules: [{backendRefs: [{name: zebra, port: 80}]}]")
    status = next(s for key, s in built(text).statuses.items() if key.kind == "HTTPRoute")
    assert [str(w) for w in status.warnings] == [
        "rules.yaml:13: HTTPRoute/r: spec.parentRefs[0]: Gateway default/edge has no listener nope (NoMatchingParent)",
        (
            "rules.yaml:14: HTTPRoute/r: spec.rules[0].backendRefs[0]: "
            "service zebra.default.svc.cluster.local is not known in namespace default (BackendNotFound)"
        ),
    ]


def test_classes_tell_their_features() -> None:
    text = a_class("tulle.dev/gateway-controller")
    assert of(text, "mine") == {"Accepted": FINE, "SupportedVersion": "True SupportedVersion"}
    features: Any = next(s for key, s in built(text).statuses.items() if key.name == "mine").details["supportedFeatures"]
    names = [one["name"] for one in features]
    assert names == sorted(set(names))
    assert {"Gateway", "HTTPRoute", "GRPCRoute", "Mesh", "ReferenceGrant", "TLSRoute", "UDPRoute"} <= set(names)
    assert "GatewayInfrastructurePropagation" not in names


def test_routes_that_cannot_be_applied_are_not_counted() -> None:
    rewrite = "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /}}}"
    odd = f"rules: [{{backendRefs: [{{name: a, port: 80, filters: [{rewrite}]}}, {{name: a, port: 80}}]}}]"
    missing = "rules: [{backendRefs: [{name: zebra, port: 80}]}]"
    text = gateway(ONE) + route("[{name: edge}]", odd) + route("[{name: edge}]", name="s") + route("[{name: edge}]", missing, name="t")
    assert listeners(text)["w"]["attachedRoutes"] == 2, "one whose backend is not there is attached"


def test_parents_are_judged_one_by_one() -> None:
    both = "[{name: edge}, {name: more, kind: ListenerSet, namespace: team}]"
    text = OPEN + listener_set() + route(both)
    assert [accepted for accepted, _ in parents(text)] == [FINE, "False NotAllowedByListeners"]


SECURE_SET = f"""
{API}
kind: ListenerSet
metadata: {{name: more, namespace: team}}
spec:
  parentRef: {{name: edge, namespace: default}}
  listeners: [{{name: own, port: 443, protocol: HTTPS, tls: {{certificateRefs: [{{name: shop, namespace: other}}]}}}}]
---
"""


@pytest.mark.parametrize(("kind", "resolved"), [("ListenerSet", "True ResolvedRefs"), ("Gateway", "False RefNotPermitted")])
def test_grants_for_listener_sets(kind: str, resolved: str) -> None:
    grants = GRANT.format(kind=kind, namespace="team", name="").replace("Service", "Secret")
    found = listeners(OPEN + SECURE_SET + grants + tls_secret("shop", SHOP, namespace="other"), "more")
    assert condition(found["own"]["conditions"], "ResolvedRefs") == resolved


def traffic_policy(target: str, *, name: str = "p") -> str:
    head = f"apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackendTrafficPolicy\nmetadata: {{name: {name}}}"
    return f"{head}\nspec: {{targetRefs: [{{group: '', kind: Service, name: {target}}}], retryConstraint: {{}}}}\n---\n"


def test_policies_for_traffic() -> None:
    text = gateway(ONE) + route("[{name: edge}]") + traffic_policy("a") + traffic_policy("a", name="q") + traffic_policy("gone", name="g")
    assert [of(text, name)["Accepted"] for name in "pqg"] == [FINE, "False Conflicted", "False TargetNotFound"]
    ancestors: Any = next(s for key, s in built(text, instance("a", number=80)).statuses.items() if key.name == "p").details["ancestors"]
    assert [one["ancestorRef"]["name"] for one in ancestors] == ["edge"]
    assert condition(ancestors[0]["conditions"], "Accepted") == FINE


WHOLE = gateway(
    "[{name: t, port: 1, protocol: TCP}, {name: s, port: 2, protocol: TCP}, {name: u, port: 1, protocol: UDP},"
    " {name: p, port: 3, protocol: TLS, tls: {mode: Passthrough}}]"
)
WHOLE += route("[{name: edge}, {name: a, kind: Service, group: ''}]", kind="TCPRoute", name="old")
WHOLE += route("[{name: edge}]", kind="UDPRoute", name="old") + route(
    "[{name: edge}]", "hostnames: [a.example]", kind="TLSRoute", name="old"
)
ELDER = "{} default/old is older and has what comes to {}"


@pytest.mark.parametrize(
    ("kind", "parent", "more", "elders"),
    [
        ("TCPRoute", "{name: edge, sectionName: t}", "", ["listener t"]),
        ("TCPRoute", "{name: edge}", "", ["listener t", "listener s"]),
        ("UDPRoute", "{name: edge}", "", ["listener u"]),
        ("TLSRoute", "{name: edge}", "hostnames: [b.example, a.example]", ["listener p for a.example"]),
        ("TLSRoute", "{name: edge}", "hostnames: [b.example]", []),
        ("TCPRoute", "{name: edge, sectionName: u}", "", []),
        ("HTTPRoute", "{name: edge}", "", []),
        ("TCPRoute", "{name: a, kind: Service, group: ''}", "", ["service a.default.svc.cluster.local"]),
        ("TCPRoute", "{name: a, kind: Service, group: '', port: 80}", "", ["service a.default.svc.cluster.local"]),
        ("TLSRoute", "{name: a, kind: Service, group: ''}", "hostnames: [a.example]", []),
    ],
)
def test_of_connections_that_nothing_tells_apart_the_oldest_route_has_all(kind: str, parent: str, more: str, elders: list[str]) -> None:
    """All are accepted, as the specification has it."""
    made = built(WHOLE + route(f"[{parent}]", more, kind=kind, name="new"), instance("a", number=80))
    status = next(s for key, s in made.statuses.items() if key.name == "new")
    said = [w.message.partition(": ")[2] for w in status.warnings if "older" in w.message]
    assert said == [ELDER.format(kind, where) for where in elders]
    assert not elders or condition(status.details["parents"][0]["conditions"], "Accepted") == FINE  # type: ignore[index]


def test_of_two_gateways_on_one_port_the_older_has_its_connections() -> None:
    """However old the routes are; one on another address takes nothing from it."""
    port = "[{name: t, port: 1, protocol: TCP}]"
    text = gateway(port, name="old") + gateway(port, name="new") + gateway(port, "addresses: [{value: 127.0.0.9}]", name="apart")
    text += "".join(route(f"[{{name: {name}}}]", kind="TCPRoute", name=name) for name in ("new", "old", "apart"))
    made = built(text, instance("a", number=80))
    said = {key.name: [w.message for w in s.warnings if "older" in w.message] for key, s in made.statuses.items() if key.kind == "TCPRoute"}
    why = "where a proxy serves both, TCPRoute default/old of the older Gateway default/old has what comes to listener t"
    assert said == {"new": [f"not in force there: {why}"], "old": [], "apart": []}


def test_a_changed_listener_changes_what_is_said_of_routes() -> None:
    before = gateway("[{name: w, port: 80, protocol: HTTP, hostname: a.example}]")
    text = route("[{name: edge}]", "hostnames: [b.example]")
    assert parents(before + text)[0][0] == "False NoMatchingListenerHostname"
    assert parents(before.replace("a.example", "'*.example'") + text)[0][0] == FINE
