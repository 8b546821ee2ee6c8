"""TLS that is ended at a listener: which certificates are shown, and which ones callers must show."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tulle.compile.credentials import Keyring, config_map
from tulle.compile.gatewayapi import tls_options
from tulle.compile.gatewayapi.documents import Documents, reference
from tulle.compile.gatewayapi.listeners import FINE, Section, Verdict
from tulle.compile.tls import HTTP, Missing
from tulle.model.frozen import FrozenMap
from tulle.model.tls import DownstreamTls, Trust
from tulle.resources.gatewayapi.gateway import FrontendValidation, ValidationMode
from tulle.resources.gatewayapi.listeners import TlsMode
from tulle.resources.gatewayapi.types import ObjectReference, SecretReference

Place = tuple[str, str]
"""Namespace and name of a Secret, or what stands for a ConfigMap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """As far as documents tell; whether the Secrets are there is found when a proxy is looked at."""

    certificates: tuple[Place, ...] = ()
    authorities: tuple[Place, ...] = ()
    """Of callers' certificates: those that may be referred to."""
    asks: bool = False
    """Callers must show certificates, so that without any authority nobody can be let in."""
    lenient: bool = False
    """Callers with another certificate, or with none, are taken too."""
    optional: bool = False
    """Callers without a certificate are taken too."""
    problem: Verdict = FINE
    """What is wrong with the references to certificates."""
    callers_problem: Verdict = FINE
    """What is wrong with one of those to authorities."""
    options: FrozenMap[str, str] = FrozenMap()
    """The options of the listener."""


def ended(section: Section, documents: Documents) -> Ended | None:
    """None where no TLS is ended."""
    tls = section.spec.tls
    if section.spec.protocol not in ("HTTPS", "TLS") or (tls and tls.mode is TlsMode.PASSTHROUGH):
        return None
    refs = tls.certificate_refs if tls else ()
    options = FrozenMap(tls.options) if tls else FrozenMap[str, str]()
    wrong = next((v for ref in refs if (v := _judge(section, ref, documents))[0]), FINE)
    if not refs:
        wrong = ("InvalidCertificateRef", "it names no certificate")
    callers = _callers(section)
    roots = callers.ca_certificate_refs if callers else ()
    verdicts = [(ref, _judge(section, ref, documents, ca=True)) for ref in roots]
    home = section.owner.key.namespace
    certificates = () if wrong[0] else tuple((ref.namespace or home, ref.name) for ref in refs)
    asked = tls_options.asks_callers(options) and not callers
    return Ended(
        certificates=certificates,
        authorities=certificates[:1] if asked else tuple(_authority(section, ref) for ref, verdict in verdicts if not verdict[0]),
        asks=bool(callers) or asked,
        lenient=bool(callers and callers.mode is ValidationMode.ALLOW_INSECURE_FALLBACK),
        optional=tls_options.takes_without(options) and not callers,
        problem=wrong,
        callers_problem=next((verdict for _, verdict in verdicts if verdict[0]), FINE),
        options=options,
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


def resolved(found: Ended, keyring: Keyring) -> Verdict:
    """What is wrong with all that the listener refers to."""
    if found.problem[0]:
        return found.problem
    for namespace, name in _lacking(found, keyring):
        return "InvalidCertificateRef", f"there is no certificate and key in a Secret {name} in namespace {namespace}"
    if found.callers_problem[0]:
        return found.callers_problem
    for namespace, name in found.authorities:
        if not keyring.authority_at(namespace, name):
            return "InvalidCACertificateRef", f"there is no authority (ca.crt) in {_said(name)} in namespace {namespace}"
    return FINE


def _lacking(found: Ended, keyring: Keyring) -> Iterator[Place]:
    return (place for place in found.certificates if not keyring.certificate_at(*place))


def lets_nobody_in(found: Ended, keyring: Keyring) -> bool:
    """Callers must show certificates, and there is no authority to check one."""
    return found.asks and not keyring.authorities_at(found.authorities)


def is_served(found: Ended, keyring: Keyring) -> bool:
    """With its certificates, and one of its authorities, a listener is served."""
    return not found.problem[0] and not any(_lacking(found, keyring)) and not lets_nobody_in(found, keyring)


def _said(name: str) -> str:
    kind, _, plain = name.rpartition("/")
    return f"a ConfigMap {plain}" if kind else f"a Secret {plain}"


def downstream(found: Ended, keyring: Keyring, *, http: bool) -> DownstreamTls | Missing:
    """Settings for the proxy. A listener that lacks something is not served, in no way."""
    if not is_served(found, keyring):
        return Missing(why=resolved(found, keyring)[1])
    authority = keyring.authorities_at(found.authorities)
    shown = tls_options.settings(found.options)
    return DownstreamTls(
        certificates=tuple(keyring.certificate_at(*place) for place in found.certificates),
        trust=Trust(authority=authority, lenient=found.lenient) if authority else None,
        require_certificate=bool(authority) and not found.lenient and not found.optional,
        minimum=shown.minimum,
        maximum=shown.maximum,
        cipher_suites=shown.cipher_suites,
        curves=shown.curves,
        protocols=HTTP if http else (),
    )
