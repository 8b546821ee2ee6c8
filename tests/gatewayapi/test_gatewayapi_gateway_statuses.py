"""Conditions of Gateways and of their listeners, in the words of the specification."""

from __future__ import annotations

import pytest

from support.certificates import Ca, secret, tls_secret
from support.compiled import built
from support.gateway_statuses import FINE, GRANT, HTTPS, ONE, condition, gateway, listeners, of, parents, route, top

CA = Ca()
SHOP = CA.issue("shop.example")
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
        (showing("name: bad") + secret("bad", other=b"x") + "---\n", "False InvalidClientCertificateRef"),
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


PER_PORT = "tls: {frontend: {default: {%s}, perPort: [{port: %d, tls: {}}]}}"


@pytest.mark.parametrize(
    ("listed", "default", "port", "idle"),
    [
        (HTTPS % "{name: shop}", "", 443, []),
        (HTTPS % "{name: shop}", "", 80, ["spec.tls.frontend.perPort[0]: not in force: no HTTPS listener has port 80"]),
        (
            "{name: w, port: 80, protocol: HTTP}",
            "validation: {caCertificateRefs: [{group: '', kind: Secret, name: ca}]}",
            80,
            [
                "spec.tls.frontend.perPort[0]: not in force: no HTTPS listener has port 80",
                "spec.tls.frontend.default: not in force: there is no HTTPS listener",
            ],
        ),
    ],
)
def test_what_is_asked_where_nobody_calls_is_told(listed: str, default: str, port: int, idle: list[str]) -> None:
    made = built(gateway(f"[{listed}]", PER_PORT % (default, port)) + tls_secret("shop", SHOP))
    status = next(s for key, s in made.statuses.items() if key.name == "edge")
    assert [f"{w.field}: {w.message}" for w in status.warnings] == idle


def test_listeners_with_common_names_on_one_port_are_told() -> None:
    listed = ", ".join(
        (HTTPS % "{name: shop}").replace("name: w, port: 443", f"name: {name}, port: {port}, hostname: '{host}'")
        for name, port, host in (("a", 443, "a.example"), ("w", 443, "*.example"), ("o", 443, "o.test"), ("p", 444, "p.example"))
    )
    found = listeners(gateway(f"[{listed}, {{name: h, port: 80, protocol: HTTP}}]") + tls_secret("shop", SHOP))
    overlaps = {name: condition(one["conditions"], "OverlappingTLSConfig") for name, one in found.items()}
    fine = "True OverlappingHostnames"
    assert overlaps == {"a": fine, "w": fine, "o": "absent", "p": "absent", "h": "absent"}
