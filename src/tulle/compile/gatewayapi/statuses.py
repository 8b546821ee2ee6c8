"""What became of the Gateway API's documents, in the words of its specification: conditions, listeners, parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from tulle.compile.credentials import Keyring
from tulle.compile.gatewayapi.attach import GATEWAY, Attachment
from tulle.compile.gatewayapi.backend_tls import Claim
from tulle.compile.gatewayapi.backend_tls import judged as judged_policy
from tulle.compile.gatewayapi.documents import CONTROLLER, ROUTES, Route, is_controller
from tulle.compile.gatewayapi.index import Index
from tulle.compile.gatewayapi.listener_tls import ended, missing
from tulle.compile.gatewayapi.listeners import FINE, Section, Sections, Verdict, parent_of, takes_set
from tulle.compile.gatewayapi.references import Ref, connection_refs, judged
from tulle.compile.gatewayapi.rules import Rule, entries
from tulle.compile.memo import Memo
from tulle.compile.scope import Scope
from tulle.model.frozen import FrozenMap
from tulle.model.resource import Condition, Key, Resource, Source, Status, Violation
from tulle.resources.core import Namespace
from tulle.resources.core_config_map import ROOTS, ConfigMap
from tulle.resources.gatewayapi import (
    BackendTlsPolicy,
    BackendTrafficPolicy,
    Gateway,
    GatewayClass,
    ListenerSet,
    ReferenceGrant,
    UdpRoute,
)
from tulle.resources.gatewayapi.types import GROUP

Found = tuple[Source, str]
_ACCEPTED = Condition(type="Accepted", status=True, reason="Accepted")
_PASSIVE = (ReferenceGrant, BackendTrafficPolicy, Namespace, ConfigMap)
"""Kinds of which nothing more is said than that they are taken."""


def status(scope: Scope, resource: Resource[object], memo: Memo) -> Status | None:
    """None for documents of other APIs. `scope`: the mesh as the document's namespace knows it."""
    index, spec = scope.structure.rules.gateway_api, resource.spec
    if type(spec) in ROUTES:
        return _of_route(scope, index, cast("Resource[Route]", resource), memo)
    if isinstance(spec, Gateway):
        return _of_gateway(scope, index, cast("Resource[Gateway]", resource))
    if isinstance(spec, ListenerSet):
        return _of_set(scope, index, cast("Resource[ListenerSet]", resource))
    if isinstance(spec, GatewayClass):
        return _of_class(resource, spec)
    if isinstance(spec, BackendTlsPolicy):
        return _of_tls_policy(scope, index, cast("Resource[BackendTlsPolicy]", resource))
    if isinstance(spec, ConfigMap) and ROOTS not in spec.data:
        return Status(
            conditions=(_ACCEPTED,), warnings=_warnings(resource, [(resource.at("data"), f"nothing makes use of it: it has no {ROOTS}")])
        )
    return Status(conditions=(_ACCEPTED,)) if isinstance(spec, _PASSIVE) else None


def as_json(condition: Condition) -> dict[str, str]:
    said = "Unknown" if condition.status is None else str(condition.status)
    return {"type": condition.type, "status": said, "reason": condition.reason, "message": condition.message}


def _json(*conditions: Condition | None) -> list[dict[str, str]]:
    return [as_json(c) for c in conditions if c]


def _verdict(kind: str, verdict: Verdict, good: str) -> Condition:
    """True, or False for a reason."""
    reason, message = verdict
    return Condition(type=kind, status=not reason, reason=reason or good, message=message)


def _warnings(resource: Resource[object], found: Iterable[Found]) -> tuple[Violation, ...]:
    name = f"{resource.key.kind}/{resource.key.name}"
    return tuple(
        Violation(origin=source.origin, resource=name, field=source.field, message=why, namespace=resource.key.namespace)
        for source, why in dict.fromkeys(found)
    )


# GatewayClass


def _of_class(resource: Resource[object], spec: GatewayClass) -> Status:
    if not is_controller(spec.controller_name):
        why = f"controller {spec.controller_name} is not this one, {CONTROLLER}"
        return Status(conditions=(Condition(type="Accepted", status=None, reason="Pending", message=why),))
    if spec.parameters_ref is not None:
        why = "parametersRef is not supported"
        refused = Condition(type="Accepted", status=False, reason="InvalidParameters", message=why)
        return Status(conditions=(refused,), warnings=_warnings(resource, [(resource.at("spec.parametersRef"), why)]))
    return Status(conditions=(_ACCEPTED,))


# Gateways and ListenerSets


def _of_gateway(scope: Scope, index: Index, resource: Resource[Gateway]) -> Status:
    known = index.sections.get(resource.key)
    if known is None:
        why = f"no GatewayClass {resource.spec.gateway_class_name} with controllerName {CONTROLLER}; class tulle is always there"
        waiting = Condition(type="Accepted", status=None, reason="Pending", message=why)
        return Status(conditions=(waiting,), warnings=_warnings(resource, [(resource.at("spec.gatewayClassName"), why)]))
    own = known.of(resource.key)
    return Status(
        conditions=(_accepted(own),),
        warnings=_warnings(resource, _listener_problems(scope, index, own)),
        details=FrozenMap(
            {
                "listeners": [_listener(scope, index, s) for s in own],
                "attachedListenerSets": sum(any(s.usable for s in known.of(one.key)) for one in known.sets),
            }
        ),
    )


def _accepted(own: tuple[Section, ...]) -> Condition:
    """Accepted as long as one listener is."""
    bad = [s for s in own if not s.usable]
    if not bad:
        return _ACCEPTED
    said = "; ".join(f"listener {s.spec.name}: {(s.conflict[1] or s.refused[1])}" for s in bad)
    return Condition(type="Accepted", status=len(bad) < len(own), reason="ListenersNotValid", message=said)


def _of_set(scope: Scope, index: Index, resource: Resource[ListenerSet]) -> Status:
    namespace, name = parent_of(resource)
    gateway = index.sections.get(Key(kind=GATEWAY, namespace=namespace, name=name))
    refused = _set_refused(index, gateway, resource)
    if gateway is None or refused[0]:
        return Status(
            conditions=(_verdict("Accepted", refused, "Accepted"),),
            warnings=_warnings(resource, [(resource.at("spec.parentRef"), refused[1])]),
        )
    own = gateway.of(resource.key)
    return Status(
        conditions=(_accepted(own),),
        warnings=_warnings(resource, _listener_problems(scope, index, own)),
        details=FrozenMap({"listeners": [_listener(scope, index, s) for s in own]}),
    )


def _set_refused(index: Index, gateway: Sections | None, resource: Resource[ListenerSet]) -> Verdict:
    parent = resource.spec.parent_ref
    namespace, name = parent_of(resource)
    if (parent.group, parent.kind) != (GROUP, "Gateway"):
        return "ParentNotAccepted", f"listeners are added to Gateways, not to {parent.kind}.{parent.group}"
    if gateway is None:
        return "ParentNotAccepted", f"Gateway {namespace}/{name} does not exist, or is of a class that is not served here"
    if not takes_set(gateway.gateway, resource, index.documents):
        return "NotAllowed", f"Gateway {namespace}/{name} takes no ListenerSets from namespace {resource.key.namespace} (allowedListeners)"
    return FINE


def _references(scope: Scope, index: Index, section: Section) -> Verdict:
    """What is wrong with the things that a listener refers to."""
    if section.foreign_kinds:
        return "InvalidRouteKinds", f"{section.spec.protocol} listeners take no {', '.join(section.foreign_kinds)}"
    tls = ended(section, index.documents)
    if tls is None:
        return FINE
    for problem in (tls.problem, tls.callers_problem):
        if problem[0]:
            return problem
    keyring = Keyring(credentials=scope.structure.credentials, namespace=scope.structure.rules.root_namespace)
    for of_callers, why in missing(tls, keyring):
        return "InvalidCACertificateRef" if of_callers else "InvalidCertificateRef", why
    return FINE


def _is_served(section: Section, references: Verdict) -> bool:
    """Routes of kinds that it cannot take do not keep a listener from the others."""
    return section.usable and references[0] in ("", "InvalidRouteKinds")


def _listener(scope: Scope, index: Index, section: Section) -> dict[str, Any]:
    references = _references(scope, index, section)
    served = _is_served(section, references)
    why = section.conflict[1] or section.refused[1] or references[1]
    conflict = Condition(
        type="Conflicted", status=bool(section.conflict[0]), reason=section.conflict[0] or "NoConflicts", message=section.conflict[1]
    )
    return {
        "name": section.spec.name,
        "supportedKinds": [{"group": GROUP, "kind": kind} for kind in section.kinds],
        "attachedRoutes": len(index.by_section.get(section.id, ())),
        "conditions": _json(
            _verdict("Accepted", section.refused if section.refused[0] else section.conflict, "Accepted"),
            conflict,
            _verdict("ResolvedRefs", references, "ResolvedRefs"),
            _verdict("Programmed", FINE if served else ("Invalid", why), "Programmed"),
        ),
    }


def _listener_problems(scope: Scope, index: Index, own: tuple[Section, ...]) -> Iterator[Found]:
    for section in own:
        for verdict in (section.conflict, section.refused, _references(scope, index, section)):
            if verdict[0]:
                yield section.source, f"{verdict[1]} ({verdict[0]})"


# BackendTLSPolicies


def _of_tls_policy(scope: Scope, index: Index, policy: Resource[BackendTlsPolicy]) -> Status:
    own = [(host, claim) for host, group in index.tls_claims.items() for claim in group if claim.policy.key == policy.key]
    keyring = Keyring(credentials=scope.structure.credentials, namespace=scope.structure.rules.root_namespace)
    resolved = judged_policy(policy, keyring)
    problems: list[Found] = [(policy.at("spec.validation"), resolved[1])] if resolved[0] else []
    problems += ((c.source, f"{c.rival} is older and speaks for it (Conflicted)") for _, c in own if c.rival)
    problems += ((c.source, f"service {host} is not known (TargetNotFound)") for host, c in own if host not in scope.backends)
    accepted = _policy_accepted(own, resolved, scope)
    reached = {host for host, _ in own}
    ancestors = [
        {
            "ancestorRef": {"group": GROUP, "kind": "Gateway", "namespace": key.namespace, "name": key.name},
            "controllerName": CONTROLLER,
            "conditions": _json(_verdict("Accepted", accepted, "Accepted"), _verdict("ResolvedRefs", resolved, "ResolvedRefs")),
        }
        for key, known in index.sections.items()
        if any(reached & set(s.targets) for section in known.all for s in index.by_gateway.get(section.id, ()))
    ]
    conditions = (_verdict("Accepted", accepted, "Accepted"), _verdict("ResolvedRefs", resolved, "ResolvedRefs"))
    return Status(conditions=conditions, warnings=_warnings(policy, problems), details=FrozenMap({"ancestors": ancestors}))


def _policy_accepted(own: list[tuple[str, Claim]], resolved: Verdict, scope: Scope) -> Verdict:
    """In force as long as it is so for one of its targets."""
    if resolved[0]:
        return "NoValidCACertificate", resolved[1]
    if own and all(claim.rival for _, claim in own):
        return "Conflicted", f"{own[0][1].rival} is older"
    if not any(host in scope.backends for host, _ in own):
        return "TargetNotFound", "none of its targets is there"
    return FINE


# Routes


def _of_route(scope: Scope, index: Index, route: Resource[Route], memo: Memo) -> Status:
    found = index.attachments.get(route.key, ())
    documents, domain = index.documents, scope.domain
    found = tuple(_to_known(a, scope) for a in found)
    rules = tuple(dict.fromkeys(e.rule for e in entries(route, documents, domain, memo)))
    refs = tuple(ref for rule in rules for ref in rule.refs()) or tuple(r for _, r, _ in connection_refs(route, documents, domain))
    seen = tuple(scope.backends.get(ref.host) for ref in refs)
    return memo.get(("status", route.key), (found, rules, refs, seen, route), partial(_route_status, scope, route, found, rules, refs))


def _to_known(found: Attachment, scope: Scope) -> Attachment:
    """A service is looked for only now, as services come and go without documents."""
    if not found.service or found.service in scope.backends:
        return found
    return replace(found, reason="NoMatchingParent", message=f"service {found.service} is not known in namespace {scope.namespace}")


def _route_status(
    scope: Scope, route: Resource[Route], found: tuple[Attachment, ...], rules: tuple[Rule, ...], refs: tuple[Ref, ...]
) -> Status:
    problems: list[Found] = [(a.source, f"{a.message} ({a.reason})") for a in found if not a.accepted]
    resolved = FINE
    for ref in refs:
        verdict = judged(ref, scope, udp=isinstance(route.spec, UdpRoute))
        if verdict[0]:
            resolved = resolved if resolved[0] else verdict
            problems.append((ref.source, f"{verdict[1]} ({verdict[0]})"))
    for rule in rules:
        if rule.unresolved[0]:
            resolved = resolved if resolved[0] else rule.unresolved
        problems += ((rule.source, v[1]) for v in (rule.unresolved, rule.unsupported) if v[0])
        if rule.session and not rule.keeps_sessions:
            why = "sessionPersistence is not in force: among several backends the weights decide for each request"
            problems.append((rule.source, why))
    broken = [rule for rule in rules if rule.unsupported[0]]
    invalid = broken[0].unsupported if broken and len(broken) == len(rules) else FINE
    partly = (
        Condition(type="PartiallyInvalid", status=True, reason=broken[0].unsupported[0], message=broken[0].unsupported[1])
        if broken
        else None
    )
    parents = [_parent(a, invalid, resolved, partly) for a in found]
    return Status(
        conditions=(_route_accepted(found, invalid), _verdict("ResolvedRefs", resolved, "ResolvedRefs")),
        warnings=_warnings(route, problems or _unbound(route, found)),
        details=FrozenMap({"parents": parents}),
    )


def _unbound(route: Resource[Route], found: tuple[Attachment, ...]) -> Iterator[Found]:
    if not found:
        yield route.at("spec"), "names no parent in parentRefs, so it is in force nowhere"


def _route_accepted(found: tuple[Attachment, ...], invalid: Verdict) -> Condition:
    """A route is accepted as a whole where one of its parents accepts it."""
    if invalid[0]:
        return _verdict("Accepted", invalid, "Accepted")
    if not found:
        return _verdict("Accepted", ("NoMatchingParent", "it names no parent"), "Accepted")
    if any(a.accepted for a in found):
        return _ACCEPTED
    return _verdict("Accepted", (found[0].reason, found[0].message), "Accepted")


def _parent(found: Attachment, invalid: Verdict, resolved: Verdict, partly: Condition | None) -> dict[str, Any]:
    parent = found.parent
    reference: Mapping[str, Any] = {
        "group": parent.group,
        "kind": parent.kind,
        "namespace": parent.namespace,
        "name": parent.name,
        "sectionName": parent.section_name,
        "port": parent.port,
    }
    accepted = invalid if found.accepted else (found.reason, found.message)
    return {
        "parentRef": {name: value for name, value in reference.items() if value is not None},
        "controllerName": CONTROLLER,
        "conditions": _json(
            _verdict("Accepted", accepted, "Accepted"),
            _verdict("ResolvedRefs", resolved, "ResolvedRefs"),
            partly if found.accepted and not invalid[0] else None,
        ),
    }
