"""Conditions of Gateways, ListenerSets, classes and routes, in the words of the specification."""

from __future__ import annotations

from typing import Any

import pytest

from support.certificates import Ca, secret, tls_secret
from support.compiled import built, instance

API = "apiVersion: gateway.networking.k8s.io/v1"
CA = Ca()
SHOP = CA.issue("shop.example")


def gateway(listeners: str, more: str = "", *, name: str = "edge", namespace: str = "default", of: str = "tulle") -> str:
    head = f"{API}\nkind: Gateway\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"{head}\nspec:\n  gatewayClassName: {of}\n  listeners: {listeners}\n  {more}\n---\n"


def route(parents: str, more: str = "", *, kind: str = "HTTPRoute", name: str = "r", namespace: str = "default") -> str:
    backends = "rules: [{backendRefs: [{name: a, port: 80}]}]"
    head = f"{API}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"{head}\nspec:\n  parentRefs: {parents}\n  {more}\n  {'' if 'rules:' in more else backends}\n---\n"


def condition(found: list[dict[str, Any]], kind: str) -> str:
    """Status and reason."""
    return next((f"{c['status']} {c['reason']}" for c in found if c["type"] == kind), "absent")


def parents(text: str, name: str = "r") -> list[tuple[str, str]]:
    """Of each parent of a route, what became of `Accepted` and `ResolvedRefs`."""
    statuses = built(text, instance("a", number=80)).statuses
    status = next(s for key, s in statuses.items() if key.name == name and key.kind.endswith("Route"))
    found: Any = status.details["parents"]
    return [(condition(p["conditions"], "Accepted"), condition(p["conditions"], "ResolvedRefs")) for p in found]


def listeners(text: str, name: str = "edge") -> dict[str, dict[str, Any]]:
    status = next(s for key, s in built(text).statuses.items() if key.name == name and key.kind.startswith(("Gateway.", "ListenerSet")))
    found: Any = status.details["listeners"]
    return {one["name"]: one for one in found}


def top(text: str, name: str) -> str:
    status = next(s for key, s in built(text).statuses.items() if key.name == name)
    found = status.condition("Accepted")
    assert found
    return f"{found.status} {found.reason}"


PLAIN = gateway("[{name: web, port: 80, protocol: HTTP}, {name: more, port: 81, protocol: HTTP, hostname: '*.example'}]")
FINE = "True Accepted"
NAMESPACE = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team, labels: {access: yes-please}}\n---\n"


def allowing(namespaces: str) -> str:
    return gateway(f"[{{name: web, port: 80, protocol: HTTP, allowedRoutes: {{namespaces: {{{namespaces}}}}}}}]")


SELECTED = "from: Selector, selector: {matchExpressions: [{key: access, operator: In, values: [yes-please]}]}"
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


GRANT = """
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: g, namespace: other}}
spec: {{from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {namespace}}}], to: [{{group: "", kind: Service{name}}}]}}
---
"""


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


HTTPS = "{name: w, port: 443, protocol: HTTPS, tls: {certificateRefs: [%s]}}"
TLS_GRANT = GRANT.format(kind="Gateway", namespace="default", name="").replace("Service", "Secret")


@pytest.mark.parametrize(
    ("text", "accepted", "resolved", "programmed", "kinds"),
    [
        (gateway("[{name: w, port: 80, protocol: HTTP}]"), FINE, "True ResolvedRefs", "True Programmed", ["HTTPRoute", "GRPCRoute"]),
        (gateway("[{name: w, port: 80, protocol: TCP}]"), FINE, "True ResolvedRefs", "True Programmed", ["TCPRoute"]),
        (gateway("[{name: w, port: 80, protocol: UDP}]"), FINE, "True ResolvedRefs", "True Programmed", ["UDPRoute"]),
        (
            gateway("[{name: w, port: 80, protocol: TLS, tls: {mode: Passthrough}}]"),
            FINE,
            "True ResolvedRefs",
            "True Programmed",
            ["TLSRoute"],
        ),
        (
            gateway("[{name: w, port: 80, protocol: example.com/odd}]"),
            "False UnsupportedProtocol",
            "True ResolvedRefs",
            "False Invalid",
            [],
        ),
        (
            gateway("[{name: w, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: HTTPRoute}, {kind: TCPRoute}]}}]"),
            FINE,
            "False InvalidRouteKinds",
            "True Programmed",
            ["HTTPRoute"],
        ),
        (
            gateway("[{name: w, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: Zebra, group: x.y}]}}]"),
            FINE,
            "False InvalidRouteKinds",
            "True Programmed",
            [],
        ),
        (
            gateway(f"[{HTTPS % '{name: shop}'}]") + tls_secret("shop", SHOP),
            FINE,
            "True ResolvedRefs",
            "True Programmed",
            ["HTTPRoute", "GRPCRoute"],
        ),
        (gateway(f"[{HTTPS % '{name: shop}'}]"), FINE, "False InvalidCertificateRef", "False Invalid", ["HTTPRoute", "GRPCRoute"]),
        (
            gateway(f"[{HTTPS % '{name: shop}'}]") + secret("shop", other=b"text"),
            FINE,
            "False InvalidCertificateRef",
            "False Invalid",
            ["HTTPRoute", "GRPCRoute"],
        ),
        (
            gateway(f"[{HTTPS % '{name: shop, kind: Bucket}'}]") + tls_secret("shop", SHOP),
            FINE,
            "False InvalidCertificateRef",
            "False Invalid",
            ["HTTPRoute", "GRPCRoute"],
        ),
        (
            gateway(f"[{HTTPS % '{name: shop, namespace: other}'}]") + tls_secret("shop", SHOP, namespace="other"),
            FINE,
            "False RefNotPermitted",
            "False Invalid",
            ["HTTPRoute", "GRPCRoute"],
        ),
        (
            gateway(f"[{HTTPS % '{name: shop, namespace: other}'}]") + tls_secret("shop", SHOP, namespace="other") + "---" + TLS_GRANT,
            FINE,
            "True ResolvedRefs",
            "True Programmed",
            ["HTTPRoute", "GRPCRoute"],
        ),
        (
            gateway(
                f"[{HTTPS % '{name: shop}'}]",
                'tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: Secret, name: nope}]}}}}',
            )
            + tls_secret("shop", SHOP),
            "False NoValidCACertificate",
            "False InvalidCACertificateRef",
            "False Invalid",
            ["HTTPRoute", "GRPCRoute"],
        ),
    ],
)
def test_listeners(text: str, accepted: str, resolved: str, programmed: str, kinds: list[str]) -> None:
    (one,) = listeners(text).values()
    found = [condition(one["conditions"], kind) for kind in ("Accepted", "ResolvedRefs", "Programmed")]
    assert found == [accepted, resolved, programmed]
    assert [kind["kind"] for kind in one["supportedKinds"]] == kinds


CONFLICTS = gateway(
    "[{name: good, port: 80, protocol: HTTP}, {name: h, port: 81, protocol: HTTP}, {name: t, port: 81, protocol: TCP},"
    " {name: u, port: 81, protocol: UDP}, {name: p, port: 82, protocol: TLS, hostname: a.b, tls: {mode: Passthrough}},"
    " {name: s, port: 82, protocol: HTTPS, hostname: a.b, tls: {certificateRefs: [{name: x}]}},"
    " {name: o, port: 82, protocol: TLS, hostname: c.b, tls: {mode: Passthrough}}]"
)


def test_listeners_that_cannot_be_told_apart_are_all_left_out() -> None:
    found = {name: condition(one["conditions"], "Conflicted") for name, one in listeners(CONFLICTS).items()}
    assert found == {
        "good": "False NoConflicts",
        "h": "True ProtocolConflict",
        "t": "True ProtocolConflict",
        "u": "False NoConflicts",
        "p": "True ProtocolConflict",
        "s": "True ProtocolConflict",
        "o": "False NoConflicts",
    }
    assert condition(listeners(CONFLICTS)["h"]["conditions"], "Accepted") == "False Invalid"
    assert top(CONFLICTS, "edge") == "True ListenersNotValid"
    assert top(gateway("[{name: w, port: 80, protocol: x/y}]"), "edge") == "False ListenersNotValid"


def listener_set(more: str = "", *, name: str = "more", namespace: str = "team", parent: str = "{name: edge, namespace: default}") -> str:
    head = f"{API}\nkind: ListenerSet\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return (
        f"{head}\nspec:\n  parentRef: {parent}\n  listeners: [{{name: own, port: 80, protocol: HTTP, hostname: {more or 'a.test'}}}]\n---\n"
    )


OPEN = gateway("[{name: web, port: 80, protocol: HTTP, hostname: w.test}]", "allowedListeners: {namespaces: {from: All}}")


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


def a_class(controller: str, more: str = "") -> str:
    return f"{API}\nkind: GatewayClass\nmetadata: {{name: mine}}\nspec: {{controllerName: {controller}{more}}}\n---\n"


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


def of(text: str, name: str, *kinds: str) -> dict[str, str]:
    """The conditions of a document itself."""
    statuses = built(text, instance("a", number=80)).statuses
    status = next(s for key, s in statuses.items() if key.name == name and (not kinds or key.kind.startswith(kinds)))
    return {c.type: f"{'Unknown' if c.status is None else c.status} {c.reason}" for c in status.conditions}


ONE = "[{name: w, port: 80, protocol: HTTP}]"


@pytest.mark.parametrize(
    ("more", "accepted", "of_route"),
    [
        ("addresses: [{value: 127.0.0.1}]", FINE, FINE),
        ("addresses: [{type: IPAddress}]", FINE, FINE),
        ("addresses: [{type: Hostname, value: a.example}]", "False UnsupportedAddress", "False NoMatchingParent"),
        ("addresses: [{value: 127.0.0.1}, {type: x.example/fake, value: y}]", "False UnsupportedAddress", "False NoMatchingParent"),
        ("infrastructure: {labels: {a: b}, annotations: {c: d}}", FINE, FINE),
        ('infrastructure: {parametersRef: {group: "", kind: ConfigMap, name: x}}', "False InvalidParameters", "False NoMatchingParent"),
    ],
)
def test_what_gateways_ask_for(more: str, accepted: str, of_route: str) -> None:
    text = gateway(ONE, more) + route("[{name: edge}]")
    assert top(text, "edge") == accepted
    assert parents(text)[0][0] == of_route


GRANTED = GRANT.format(kind="Gateway", namespace="default", name="").replace("Service", "Secret")


def showing(ref: str) -> str:
    return gateway(ONE, f"tls: {{backend: {{clientCertificateRef: {{{ref}}}}}}}") + tls_secret("own", SHOP) + "---\n"


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        (gateway(ONE), "True ResolvedRefs"),
        (showing("name: own"), "True ResolvedRefs"),
        (showing("name: gone"), "False InvalidClientCertificateRef"),
        (showing("name: own, kind: Bucket"), "False InvalidClientCertificateRef"),
        (showing("name: own, group: x.y"), "False InvalidClientCertificateRef"),
        (showing("name: bad") + secret("bad", tls_crt=b"x") + "---\n", "False InvalidClientCertificateRef"),
        (showing("name: own, namespace: other") + tls_secret("own", SHOP, namespace="other") + "---\n", "False RefNotPermitted"),
        (showing("name: own, namespace: other") + tls_secret("own", SHOP, namespace="other") + "---\n" + GRANTED, "True ResolvedRefs"),
        (gateway(f"[{HTTPS % '{name: gone}'}]"), "False ListenersNotResolved"),
    ],
)
def test_what_gateways_refer_to(text: str, resolved: str) -> None:
    assert of(text, "edge", "Gateway.")["ResolvedRefs"] == resolved
    assert of(text, "edge", "Gateway.")["Accepted"] == FINE, "a reference that is not valid does not keep a Gateway from being accepted"


def frontend(*refs: str, mode: str = "") -> str:
    listed = ", ".join(f"{{group: '', kind: {ref}}}" for ref in refs)
    validation = f"{{caCertificateRefs: [{listed}]{mode and f', mode: {mode}'}}}"
    more = f"tls: {{frontend: {{default: {{validation: {validation}}}}}}}"
    return gateway(f"[{HTTPS % '{name: shop}'}]", more) + tls_secret("shop", SHOP, CA) + "---\n" + secret("ca", ca_crt=CA.pem) + "---\n"


@pytest.mark.parametrize(
    ("text", "accepted", "resolved", "programmed"),
    [
        (frontend("Secret, name: ca"), FINE, "True ResolvedRefs", "True Programmed"),
        (frontend("ConfigMap, name: ca"), "False NoValidCACertificate", "False InvalidCACertificateRef", "False Invalid"),
        (frontend("Bucket, name: ca"), "False NoValidCACertificate", "False InvalidCACertificateKind", "False Invalid"),
        (frontend("Secret, name: ca, namespace: other"), "False NoValidCACertificate", "False RefNotPermitted", "False Invalid"),
        (frontend("Secret, name: ca", "Secret, name: gone"), FINE, "False InvalidCACertificateRef", "True Programmed"),
        (frontend("Bucket, name: x", "Secret, name: ca"), FINE, "False InvalidCACertificateKind", "True Programmed"),
    ],
)
def test_authorities_of_callers(text: str, accepted: str, resolved: str, programmed: str) -> None:
    (one,) = listeners(text).values()
    assert [condition(one["conditions"], kind) for kind in ("Accepted", "ResolvedRefs", "Programmed")] == [accepted, resolved, programmed]


def test_doors_that_stand_open_are_told() -> None:
    assert "InsecureFrontendValidationMode" not in of(frontend("Secret, name: ca"), "edge", "Gateway.")
    found = of(frontend("Secret, name: ca", mode="AllowInsecureFallback"), "edge", "Gateway.")
    assert found["InsecureFrontendValidationMode"] == "True ConfigurationChanged"


def test_listeners_with_common_names_on_one_port_are_told() -> None:
    listed = ", ".join(
        (HTTPS % "{name: shop}").replace("name: w, port: 443", f"name: {name}, port: {port}, hostname: '{host}'")
        for name, port, host in (("a", 443, "a.example"), ("w", 443, "*.example"), ("o", 443, "o.test"), ("p", 444, "p.example"))
    )
    found = listeners(gateway(f"[{listed}, {{name: h, port: 80, protocol: HTTP}}]") + tls_secret("shop", SHOP))
    overlaps = {name: condition(one["conditions"], "OverlappingTLSConfig") for name, one in found.items()}
    fine = "True OverlappingHostnames"
    assert overlaps == {"a": fine, "w": fine, "o": "absent", "p": "absent", "h": "absent"}


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


def test_a_changed_listener_changes_what_is_said_of_routes() -> None:
    before = gateway("[{name: w, port: 80, protocol: HTTP, hostname: a.example}]")
    text = route("[{name: edge}]", "hostnames: [b.example]")
    assert parents(before + text)[0][0] == "False NoMatchingListenerHostname"
    assert parents(before.replace("a.example", "'*.example'") + text)[0][0] == FINE
