"""What became of BackendTLSPolicies and XBackendTrafficPolicies, in the words of the specification."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tulle.compile.catalog import ServiceKey
from tulle.compile.findings import Found, warnings
from tulle.compile.gatewayapi.backend_tls import Claim, judged, refused
from tulle.compile.gatewayapi.backend_traffic import services
from tulle.compile.gatewayapi.documents import CONTROLLER
from tulle.compile.gatewayapi.index import Index
from tulle.compile.gatewayapi.listener_statuses import keyring
from tulle.compile.gatewayapi.listeners import FINE, Verdict
from tulle.compile.gatewayapi.references import hosts_meant
from tulle.compile.gatewayapi.words import as_json, verdict
from tulle.compile.scope import Scope
from tulle.model.frozen import FrozenMap
from tulle.model.resource import Condition, Resource, Status
from tulle.resources.gatewayapi import BackendTlsPolicy, BackendTrafficPolicy
from tulle.resources.gatewayapi.types import GROUP


def of_tls_policy(scope: Scope, index: Index, policy: Resource[BackendTlsPolicy]) -> Status:
    own = [(key.host, claim) for key, group in index.tls_claims.items() for claim in group if claim.policy.key == policy.key]
    credentials = keyring(scope)
    resolved, lost = judged(policy, credentials), refused(policy, credentials)
    place = policy.at("spec.validation")
    problems: list[Found] = [(place, found[1]) for found in dict.fromkeys((lost, resolved)) if found[0]]
    problems += ((c.source, f"{c.rival} is older and speaks for it (Conflicted)") for _, c in own if c.rival)
    problems += ((c.source, f"{why} (TargetNotFound)") for host, c in own if (why := _not_there(scope, host, c)))
    problems += _lacking(scope, index, policy)
    accepted = lost if lost[0] else _accepted(own, scope)
    return _said(index, {host for host, _ in own}, problems, accepted, resolved)


def _lacking(scope: Scope, index: Index, policy: Resource[BackendTlsPolicy] | Resource[BackendTrafficPolicy]) -> Iterator[Found]:
    """Targets that stand for no host, as their document is not there."""
    namespace = policy.key.namespace
    for i, target in enumerate(policy.spec.target_refs):
        if hosts_meant(target.group, target.kind, target.name, namespace, index.documents, scope.domain) == ():
            yield policy.at(f"spec.targetRefs[{i}]"), f"{target.kind} {namespace}/{target.name} does not exist (TargetNotFound)"


def _not_there(scope: Scope, host: str, claim: Claim) -> str:
    """Why a target is not there; empty where it is."""
    backend, port = scope.backends.get(host), claim.target.section_name
    if backend is None:
        return f"service {host} is not known"
    if port is None or any(p.name == port for p in backend.ports):
        return ""
    return f"service {host} has no port of the name {port} (its ports: {', '.join(p.name for p in backend.ports) or 'none'})"


def _accepted(own: list[tuple[str, Claim]], scope: Scope) -> Verdict:
    """In force as long as it is so for one of its targets."""
    if own and all(claim.rival for _, claim in own):
        return "Conflicted", f"{own[0][1].rival} is older"
    if all(_not_there(scope, host, claim) for host, claim in own):
        return "TargetNotFound", "none of its targets is there"
    return FINE


def of_traffic_policy(scope: Scope, index: Index, policy: Resource[BackendTrafficPolicy]) -> Status:
    own = tuple(services(policy, index.documents, scope.domain))
    first = {host: index.budgets.get(ServiceKey(host, policy.key.namespace), policy) for host, _ in own}
    rivals = {host: other for host, other in first.items() if other.key != policy.key}
    problems: list[Found] = [
        (policy.at(field), f"{_name(rivals[host])} is older and speaks for it (Conflicted)") for host, field in own if host in rivals
    ]
    problems += ((policy.at(field), f"service {host} is not known (TargetNotFound)") for host, field in own if host not in scope.backends)
    problems += _lacking(scope, index, policy)
    accepted = FINE
    if own and all(host in rivals for host, _ in own):
        accepted = ("Conflicted", f"{_name(next(iter(rivals.values())))} is older")
    elif not any(host in scope.backends for host, _ in own):
        accepted = ("TargetNotFound", "none of its targets is there")
    return _said(index, {host for host, _ in own}, problems, accepted, None)


def _name(policy: Resource[BackendTrafficPolicy]) -> str:
    return f"XBackendTrafficPolicy {policy.key.namespace}/{policy.key.name}"


def _said(index: Index, reached: set[str], problems: Iterable[Found], accepted: Verdict, resolved: Verdict | None) -> Status:
    """`resolved`: None where the kind refers to nothing but its targets."""
    conditions: tuple[Condition, ...] = (verdict("Accepted", accepted, "Accepted"),)
    if resolved is not None:
        conditions = (*conditions, verdict("ResolvedRefs", resolved, "ResolvedRefs"))
    ancestors = [
        {
            "ancestorRef": {"group": GROUP, "kind": "Gateway", "namespace": key.namespace, "name": key.name},
            "controllerName": CONTROLLER,
            "conditions": as_json(*conditions),
        }
        for key, known in index.sections.items()
        if any(reached & set(s.targets) for section in known.all for s in index.steerings(section))
    ]
    return Status(conditions=conditions, warnings=warnings(problems), details=FrozenMap({"ancestors": ancestors[:_MOST]}))


_MOST = 16
"""Ancestors in a status."""
