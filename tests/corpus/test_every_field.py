"""Every field of Istio's networking kinds does something, or is said to do nothing: none is ignored in silence.

The documents in `fields/` use each field at least once. A field is in force if the resources that proxies are sent change without it.
"""

from __future__ import annotations

import pytest

from support.every_field import Trial, at, documents, schema_fields, shown, written
from tulle.resources.read import read

KINDS = (
    "VirtualService",
    "DestinationRule",
    "Gateway",
    "ServiceEntry",
    "WorkloadEntry",
    "WorkloadGroup",
    "Sidecar",
    "ProxyConfig",
    "EnvoyFilter",
)

ELSEWHERE = {
    ("Gateway", "servers[].name"): "a name for people: two servers of one name are an error",
    ("Sidecar", "ingress[].port.name"): "a name for people",
    ("ProxyConfig", "selector.matchLabels.*"): "chooses for whom the other fields are",
    ("ProxyConfig", "concurrency"): "how proxies are started: tests/control/test_proxy_config.py",
    ("ProxyConfig", "environmentVariables.*"): "how proxies are started: tests/control/test_proxy_config.py",
    **{
        ("DestinationRule", f"{prefix}loadBalancer.consistentHash.useSourceIp"): "as without: golden consistent-hash"
        for policy in ("", "subsets[].")
        for prefix in (f"{policy}trafficPolicy.", f"{policy}trafficPolicy.portLevelSettings[].")
    },
}
"""What changes nothing that a proxy is sent, and why that is right."""

SIDECAR_TLS = "ingress: [{port: {number: 80, protocol: HTTPS, name: a}, tls: {mode: SIMPLE, serverCertificate: /a, privateKey: /b, %s}}]"
UNFIT = "is not supported in a Sidecar"
NEVER = {
    ("WorkloadGroup", "template.address"): ("template: {address: 10.0.0.1}", "must not be set: each instance has its own"),
    ("Sidecar", "ingress[].tls.credentialName"): (SIDECAR_TLS % "credentialName: a", UNFIT),
    ("Sidecar", "ingress[].tls.credentialNames[]"): (SIDECAR_TLS % "credentialNames: [a]", UNFIT),
    ("Sidecar", "ingress[].tls.caCertCredentialName"): (SIDECAR_TLS % "caCertCredentialName: a", UNFIT),
    ("Sidecar", "ingress[].tls.subjectAltNames[]"): (SIDECAR_TLS % "subjectAltNames: [a]", UNFIT),
    ("Sidecar", "ingress[].tls.httpsRedirect"): (SIDECAR_TLS % "httpsRedirect: true", UNFIT),
}
"""What is always an error."""


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_tried(kind: str) -> None:
    assert schema_fields(kind) - written(kind).keys() == {path for known, path in NEVER if known == kind}


@pytest.mark.parametrize(("where", "what"), NEVER.items(), ids=lambda value: str(value[1]) if isinstance(value, tuple) else "")
def test_fields_that_are_errors(where: tuple[str, str], what: tuple[str, str]) -> None:
    kind, path = where
    spec, message = what
    text = f"apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {{{spec}}}\n"
    said = {(v.field.replace("[0]", "[]"), v.message) for v in read(text, "a.yaml").violations}
    assert (f"spec.{path.removesuffix('[]')}", message) in said


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_acts_or_is_reported(kind: str) -> None:
    written_by, used = documents(kind), written(kind)
    trials = [Trial(document) for document in written_by]

    def in_order(path: str) -> bool:
        places = used[path]
        values = {repr(value): value for number, place in places if (value := at(written_by[number], place)) is not None}
        return any(trials[n].reported(place) or trials[n].acts(place, values.values()) for n, place in places)

    silent = {path: shown(used[path][0][1]) for path in sorted(used) if not in_order(path)}
    assert {path: place for path, place in silent.items() if (kind, path) not in ELSEWHERE} == {}
