"""TLS that is ended at a listener: which certificates are shown, and which ones callers must show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tulle.compile.credentials import Keyring, config_map
from tulle.compile.gatewayapi.documents import Documents, reference
from tulle.compile.gatewayapi.listeners import FINE, Section, Verdict
from tulle.compile.tls import HTTP, Missing
from tulle.model.tls import DownstreamTls, Trust
from tulle.resources.gatewayapi.gateway import FrontendValidation, ValidationMode
from tulle.resources.gatewayapi.listeners import TlsMode
from tulle.resources.gatewayapi.types import ObjectReference, SecretReference

Place = tuple[str, str]
"""Namespace and name of a Secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """As far as documents tell; whether the Secrets are there is found when a proxy is looked at."""

    certificates: tuple[Place, ...] = ()
    authority: Place | None = None
    lenient: bool = False
    """Callers with another certificate, or with none, are taken too."""
    problem: Verdict = FINE
    """What is wrong with the references to certificates."""
    callers_problem: Verdict = FINE
    """What is wrong with those to authorities."""


def ended(section: Section, documents: Documents) -> Ended | None:
    """None where no TLS is ended."""
    tls = section.spec.tls
    if section.spec.protocol not in ("HTTPS", "TLS") or (tls and tls.mode is TlsMode.PASSTHROUGH):
        return None
    refs = tls.certificate_refs if tls else ()
    wrong = next((v for ref in refs if (v := _judge(section, ref, documents))[0]), FINE)
    if not refs:
        wrong = ("InvalidCertificateRef", "it names no certificate")
    callers = _callers(section)
    roots = callers.ca_certificate_refs if callers else ()
    wrong_roots = next((v for ref in roots if (v := _judge(section, ref, documents, ca=True))[0]), FINE)
    home = section.owner.key.namespace
    return Ended(
        certificates=() if wrong[0] else tuple((ref.namespace or home, ref.name) for ref in refs),
        authority=None if wrong_roots[0] or not roots else _authority(section, roots[0]),
        lenient=bool(callers and callers.mode is ValidationMode.ALLOW_INSECURE_FALLBACK),
        problem=wrong,
        callers_problem=wrong_roots,
    )


def _authority(section: Section, ref: ObjectReference) -> Place:
    return (ref.namespace or section.gateway.key.namespace, ref.name if ref.kind == "Secret" else config_map(ref.name))


def _callers(section: Section) -> FrontendValidation | None:
    """What callers must show: the Gateway says so for all HTTPS listeners of a port, those of its ListenerSets included."""
    tls = section.gateway.spec.tls
    if section.spec.protocol != "HTTPS" or tls is None or tls.frontend is None:
        return None
    return tls.frontend.at(section.spec.port)


def _judge(section: Section, ref: SecretReference | ObjectReference, documents: Documents, *, ca: bool = False) -> Verdict:
    owner = section.gateway if ca else section.owner
    namespace = ref.namespace or owner.key.namespace
    kinds = ("Secret", "ConfigMap") if ca else ("Secret",)
    if ref.group or ref.kind not in kinds:
        kind = f"{ref.kind}.{ref.group}" if ref.group else ref.kind
        reason = "InvalidCACertificateKind" if ca else "InvalidCertificateRef"
        return reason, f"certificates come from {' and '.join(f'{k}s' for k in kinds)}, not from {kind} {ref.name}"
    if not documents.permits(reference(owner), ("", ref.kind, namespace), ref.name):
        kind = owner.key.kind.partition(".")[0]
        return (
            "RefNotPermitted",
            f"no ReferenceGrant in namespace {namespace} lets {kind}s of {owner.key.namespace} refer to {ref.kind} {ref.name}",
        )
    return FINE


def missing(found: Ended, keyring: Keyring) -> Iterator[tuple[bool, str]]:
    """The Secrets that are not there, or lack what is wanted of them; True for those of authorities."""
    for namespace, name in found.certificates:
        if not keyring.certificate_at(namespace, name):
            yield False, f"there is no certificate and key in a Secret {name} in namespace {namespace}"
    if found.authority and not keyring.authority_at(*found.authority):
        namespace, name = found.authority
        yield True, f"there is no authority (ca.crt) in {_said(name)} in namespace {namespace}"


def _said(name: str) -> str:
    kind, _, plain = name.rpartition("/")
    return f"a ConfigMap {plain}" if kind else f"a Secret {plain}"


def downstream(found: Ended, keyring: Keyring, *, http: bool) -> DownstreamTls | Missing:
    """Settings for the proxy. A listener that lacks something is not served, in no way."""
    wrong = found.problem[1] or found.callers_problem[1] or next((why for _, why in missing(found, keyring)), "")
    if wrong:
        return Missing(why=wrong)
    authority = keyring.authority_at(*found.authority) if found.authority else ""
    return DownstreamTls(
        certificates=tuple(keyring.certificate_at(*place) for place in found.certificates),
        trust=Trust(authority=authority, lenient=found.lenient) if authority else None,
        require_certificate=bool(authority) and not found.lenient,
        protocols=HTTP if http else (),
    )
