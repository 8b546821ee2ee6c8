"""BackendTLSPolicy: gateways speak TLS to services, and check whom they speak to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tulle.compile.catalog import ServiceKey
from tulle.compile.credentials import Keyring, config_map
from tulle.compile.gatewayapi.documents import Documents
from tulle.compile.gatewayapi.listeners import FINE, Verdict
from tulle.compile.gatewayapi.references import hosts_meant
from tulle.model.proxy import Cluster, Role
from tulle.model.resource import Resource, Source
from tulle.model.service import Port, Resolution
from tulle.model.tls import SYSTEM_ROOTS, Trust, UpstreamTls
from tulle.resources.gatewayapi import BackendTlsPolicy
from tulle.resources.gatewayapi.policies import PolicyTarget
from tulle.resources.gatewayapi.types import LocalReference

if TYPE_CHECKING:
    from tulle.compile.scope import Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one policy says of one service, or of one of its ports."""

    policy: Resource[BackendTlsPolicy]
    target: PolicyTarget
    source: Source
    rival: str = ""
    """The older policy that speaks for the very same thing, so that this one does not."""


Claims = Mapping[ServiceKey, tuple[Claim, ...]]
"""By the service, those for single ports first, then from the oldest. Policies speak for services of their own namespace."""


def claims(documents: Documents, domain: str) -> Claims:
    found: dict[ServiceKey, list[Claim]] = {}
    owners: dict[tuple[ServiceKey, str | None], str] = {}
    for policy in documents.tls_policies:
        for index, target in enumerate(policy.spec.target_refs):
            who = f"BackendTLSPolicy {policy.key.namespace}/{policy.key.name}"
            source = policy.at(f"spec.targetRefs[{index}]")
            for host in hosts_meant(target.group, target.kind, target.name, policy.key.namespace, documents, domain) or ():
                key = ServiceKey(host, policy.key.namespace)
                rival = owners.setdefault((key, target.section_name), who)
                found.setdefault(key, []).append(Claim(policy=policy, target=target, source=source, rival="" if rival == who else rival))
    return {key: tuple(sorted(group, key=lambda c: c.target.section_name is None)) for key, group in found.items()}


def for_port(found: tuple[Claim, ...], port: Port | None) -> Claim | None:
    """The claim that holds for a port of a service."""
    free = (claim for claim in found if not claim.rival)
    return next((c for c in free if c.target.section_name is None or (port and c.target.section_name == port.name)), None)


def holding(scope: Scope, host: str, number: int) -> Claim | None:
    """The claim that holds for a port of a service at the proxies of a scope. Sidecars call as ever."""
    backend = scope.backends.get(host) if scope.id.role is Role.GATEWAY else None
    claims = scope.structure.rules.gateway_api.tls_claims.get(backend.key, ()) if backend else ()
    return for_port(claims, next((p for p in backend.ports if p.number == number), None)) if backend and claims else None


def secrets(found: tuple[Claim, ...]) -> Iterator[tuple[str, str]]:
    """Namespace and name of all that claims depend on."""
    for claim in found:
        for ref in claim.policy.spec.validation.ca_certificate_refs:
            yield claim.policy.key.namespace, _place(ref)


def _place(ref: LocalReference) -> str:
    return ref.name if ref.kind == "Secret" else config_map(ref.name)


def _is_known(ref: LocalReference) -> bool:
    return not ref.group and ref.kind in ("Secret", "ConfigMap")


def judged(policy: Resource[BackendTlsPolicy], keyring: Keyring) -> Verdict:
    """What is wrong with the authorities that a policy refers to."""
    return next((verdict for verdict in _verdicts(policy, keyring) if verdict[0]), FINE)


def refused(policy: Resource[BackendTlsPolicy], keyring: Keyring) -> Verdict:
    """Why there is no authority at all, so that the policy is not accepted."""
    known = policy.spec.validation.well_known_ca_certificates
    if known not in (None, "", "System"):
        return "Invalid", f"the authorities {known} are not known; write System"
    found = tuple(_verdicts(policy, keyring))
    return ("NoValidCACertificate", found[0][1]) if found and all(reason for reason, _ in found) else FINE


def _verdicts(policy: Resource[BackendTlsPolicy], keyring: Keyring) -> Iterator[Verdict]:
    """One for each reference."""
    namespace = policy.key.namespace
    for ref in policy.spec.validation.ca_certificate_refs:
        if not _is_known(ref):
            yield "InvalidKind", f"authorities come from ConfigMaps and Secrets, not from {ref.kind} {ref.name}"
        elif not keyring.authority_at(namespace, _place(ref)):
            yield "InvalidCACertificateRef", f"there is no ca.crt in a {ref.kind} {ref.name} in namespace {namespace}"
        else:
            yield FINE


def secured(cluster: Cluster, claim: Claim, keyring: Keyring) -> Cluster:
    """A cluster of the service. Nothing goes out in plain text because an authority is missing: there is nowhere to go then."""
    rule = claim.policy.spec.validation
    sources = (*cluster.sources, claim.source)
    if refused(claim.policy, keyring)[0]:
        return replace(cluster, resolution=Resolution.STATIC, endpoints=(), localities=(), tls=None, mesh_tls=None, sources=sources)
    places = [(claim.policy.key.namespace, _place(ref)) for ref in rule.ca_certificate_refs if _is_known(ref)]
    authority = keyring.authorities_at(places) if rule.ca_certificate_refs else SYSTEM_ROOTS
    others = tuple(name.hostname or name.uri or "" for name in rule.subject_alt_names)
    made = UpstreamTls(
        trust=Trust(authority=authority, names=others or (rule.hostname,)),
        sni=rule.hostname,
        protocols=("h2",) if cluster.http2 else (),
    )
    return replace(cluster, tls=made, mesh_tls=None, sources=sources)
