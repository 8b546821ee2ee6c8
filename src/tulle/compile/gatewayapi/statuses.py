"""What became of the Gateway API's documents, in the words of its specification: conditions, listeners, parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

from tulle.compile.findings import Found, warnings
from tulle.compile.gatewayapi import clients, listener_statuses, policy_statuses
from tulle.compile.gatewayapi.attach import GATEWAY, Attachment
from tulle.compile.gatewayapi.documents import CONTROLLER, Route, is_controller
from tulle.compile.gatewayapi.features import FEATURES
from tulle.compile.gatewayapi.index import Index
from tulle.compile.gatewayapi.listeners import FINE, Section, Sections, Verdict, parent_of, refusal, takes_set
from tulle.compile.gatewayapi.references import Ref, connection_refs, judged
from tulle.compile.gatewayapi.rules import Rule, entries
from tulle.compile.gatewayapi.words import as_json, verdict
from tulle.compile.memo import Memo
from tulle.compile.scope import Scope
from tulle.model.frozen import FrozenMap
from tulle.model.resource import Condition, Key, Resource, Source, Status
from tulle.resources import mesh_config
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
from tulle.resources.gatewayapi.gateway import ValidationMode
from tulle.resources.gatewayapi.types import GROUP

_ACCEPTED = Condition(type="Accepted", status=True, reason="Accepted")
_PASSIVE = (ReferenceGrant, Namespace, ConfigMap)
"""Kinds of which nothing more is said than that they are taken."""


def status(scope: Scope, resource: Resource[object]) -> Status | None:
    """Of all but routes; None for documents of other APIs. `scope`: the mesh as the document's namespace knows it."""
    index, spec = scope.structure.rules.gateway_api, resource.spec
    if isinstance(spec, Gateway):
        return _of_gateway(scope, index, cast("Resource[Gateway]", resource))
    if isinstance(spec, ListenerSet):
        return _of_set(scope, index, cast("Resource[ListenerSet]", resource))
    if isinstance(spec, GatewayClass):
        return _of_class(resource, spec)
    if isinstance(spec, BackendTlsPolicy):
        return policy_statuses.of_tls_policy(scope, index, cast("Resource[BackendTlsPolicy]", resource))
    if isinstance(spec, BackendTrafficPolicy):
        return policy_statuses.of_traffic_policy(scope, index, cast("Resource[BackendTrafficPolicy]", resource))
    if isinstance(spec, ConfigMap) and not spec.data.keys() & {ROOTS, mesh_config.KEY}:
        return Status(conditions=(_ACCEPTED,), warnings=warnings([(resource.at("data"), f"nothing makes use of it: it has no {ROOTS}")]))
    return Status(conditions=(_ACCEPTED,)) if isinstance(spec, _PASSIVE) else None


# GatewayClass


def _of_class(resource: Resource[object], spec: GatewayClass) -> Status:
    if not is_controller(spec.controller_name):
        why = f"controller {spec.controller_name} is not this one, {CONTROLLER}"
        return Status(conditions=(Condition(type="Accepted", status=None, reason="Pending", message=why),))
    known = Condition(type="SupportedVersion", status=True, reason="SupportedVersion", message="its kinds need not be installed")
    if spec.parameters_ref is not None:
        why = "parametersRef is not supported"
        refused = Condition(type="Accepted", status=False, reason="InvalidParameters", message=why)
        return Status(conditions=(refused, known), warnings=warnings([(resource.at("spec.parametersRef"), why)]))
    features = FrozenMap({"supportedFeatures": [{"name": name} for name in FEATURES]})
    return Status(conditions=(_ACCEPTED, known), details=features)


# Gateways and ListenerSets


def _of_gateway(scope: Scope, index: Index, resource: Resource[Gateway]) -> Status:
    known = index.sections.get(resource.key)
    if known is None:
        return _not_served(resource)
    own = known.of(resource.key)
    client = clients.resolved(index.clients.get(resource.key), listener_statuses.keyring(scope))
    return Status(
        conditions=(
            _accepted(scope, index, own),
            verdict("ResolvedRefs", client if client[0] else _listeners_resolved(scope, index, own), "ResolvedRefs"),
            *_insecure(resource),
        ),
        warnings=warnings((*_gateway_problems(scope, index, resource, own, client), *_idle_frontends(resource, known))),
        details=FrozenMap(
            {
                "listeners": [listener_statuses.listener(scope, index, s, known) for s in own],
                "attachedListenerSets": sum(_is_accepted(scope, index, known.of(one.key)) for one in known.sets),
            }
        ),
    )


def _not_served(resource: Resource[Gateway]) -> Status:
    refused = refusal(resource)
    if refused[0]:
        place = resource.at("spec.addresses" if refused[0] == "UnsupportedAddress" else "spec.infrastructure.parametersRef")
        said = (place, f"{refused[1]} ({refused[0]})")
        return Status(conditions=(verdict("Accepted", refused, "Accepted"),), warnings=warnings([said]))
    why = f"no GatewayClass {resource.spec.gateway_class_name} with controllerName {CONTROLLER}; class tulle is always there"
    waiting = Condition(type="Accepted", status=None, reason="Pending", message=why)
    return Status(conditions=(waiting,), warnings=warnings([(resource.at("spec.gatewayClassName"), why)]))


def _gateway_problems(
    scope: Scope, index: Index, resource: Resource[Gateway], own: tuple[Section, ...], client: Verdict
) -> Iterator[Found]:
    if client[0]:
        yield resource.at("spec.tls.backend.clientCertificateRef"), f"{client[1]} ({client[0]})"
    yield from listener_statuses.problems(scope, index, own)


def _idle_frontends(resource: Resource[Gateway], known: Sections) -> Iterator[Found]:
    """What is asked of callers where nobody can call."""
    frontend = resource.spec.tls.frontend if resource.spec.tls else None
    ports = {s.spec.port for s in known.all if s.spec.protocol == "HTTPS"}
    for index, one in enumerate(frontend.per_port if frontend else ()):
        if one.port not in ports:
            yield resource.at(f"spec.tls.frontend.perPort[{index}]"), f"not in force: no HTTPS listener has port {one.port}"
    if frontend and frontend.default.validation and not ports:
        yield resource.at("spec.tls.frontend.default"), "not in force: there is no HTTPS listener"


def _listeners_resolved(scope: Scope, index: Index, own: tuple[Section, ...]) -> Verdict:
    bad = [s.spec.name for s in own if listener_statuses.references(scope, index, s)[0]]
    return ("ListenersNotResolved", f"see listeners {', '.join(bad)}") if bad else FINE


def _insecure(resource: Resource[Gateway]) -> Iterator[Condition]:
    """Told as long as callers may show any certificate, or none."""
    frontend = resource.spec.tls.frontend if resource.spec.tls else None
    if frontend is None:
        return
    rules = (frontend.default.validation, *(one.tls.validation for one in frontend.per_port))
    if any(rule and rule.mode is ValidationMode.ALLOW_INSECURE_FALLBACK for rule in rules):
        why = "callers without a valid certificate are let in: AllowInsecureFallback"
        yield Condition(type="InsecureFrontendValidationMode", status=True, reason="ConfigurationChanged", message=why)


def _accepted(scope: Scope, index: Index, own: tuple[Section, ...]) -> Condition:
    """Accepted as long as one listener is."""
    bad = [(s, verdict_) for s in own if (verdict_ := listener_statuses.accepted(scope, index, s))[0]]
    if not bad:
        return _ACCEPTED
    said = "; ".join(f"listener {s.spec.name}: {why}" for s, (_, why) in bad)
    return Condition(type="Accepted", status=len(bad) < len(own), reason="ListenersNotValid", message=said)


def _is_accepted(scope: Scope, index: Index, own: tuple[Section, ...]) -> bool:
    return _accepted(scope, index, own).status is True


def _of_set(scope: Scope, index: Index, resource: Resource[ListenerSet]) -> Status:
    namespace, name = parent_of(resource)
    gateway = index.sections.get(Key(kind=GATEWAY, namespace=namespace, name=name))
    refused = _set_refused(index, gateway, resource)
    if gateway is None or refused[0]:
        return Status(
            conditions=(verdict("Accepted", refused, "Accepted"),),
            warnings=warnings([(resource.at("spec.parentRef"), refused[1])]),
        )
    own = gateway.of(resource.key)
    return Status(
        conditions=(_accepted(scope, index, own),),
        warnings=warnings(listener_statuses.problems(scope, index, own)),
        details=FrozenMap({"listeners": [listener_statuses.listener(scope, index, s, gateway) for s in own]}),
    )


def _set_refused(index: Index, gateway: Sections | None, resource: Resource[ListenerSet]) -> Verdict:
    parent = resource.spec.parent_ref
    namespace, name = parent_of(resource)
    if (parent.group, parent.kind) != (GROUP, "Gateway"):
        return "ParentNotAccepted", f"listeners are added to Gateways, not to {parent.kind}.{parent.group}"
    if gateway is None:
        return "ParentNotAccepted", f"Gateway {namespace}/{name} does not exist, or is not served here"
    if not takes_set(gateway.gateway, resource, index.documents):
        return "NotAllowed", f"Gateway {namespace}/{name} takes no ListenerSets from namespace {resource.key.namespace} (allowedListeners)"
    return FINE


# Routes


def of_route(scope: Scope, index: Index, route: Resource[Route], attached: tuple[Attachment, ...], memo: Memo) -> Status:
    documents, domain = index.documents, scope.domain
    found = tuple(_to_known(a, scope) for a in attached)
    rules = tuple(dict.fromkeys(e.rule for e in entries(route, documents, domain, memo)))
    refs = tuple(ref for rule in rules for ref in rule.refs()) or tuple(r for _, r, _ in connection_refs(route, documents, domain))
    seen = tuple(scope.backends.get(ref.host) for ref in refs)
    return memo.get(("status", route.key), (found, rules, refs, seen, route), partial(_route_status, scope, route, found, rules, refs))


def _to_known(found: Attachment, scope: Scope) -> Attachment:
    """A service is looked for only now, as services come and go without documents."""
    if not found.service:
        return found
    backend, parent = scope.backends.get(found.service), found.parent
    if backend is None:
        return replace(found, reason="NoMatchingParent", message=f"service {found.service} is not known in namespace {scope.namespace}")
    ports = backend.served(udp=found.route.key.kind == "UDPRoute")
    if any(parent.port in (None, p.number) and parent.section_name in (None, p.name) for p in ports):
        return found
    has = ", ".join(f"{p.name} {p.number}" for p in ports) or "none"
    return replace(found, reason="NoMatchingParent", message=f"service {found.service} has no such port (its ports: {has})")


def _route_status(
    scope: Scope, route: Resource[Route], found: tuple[Attachment, ...], rules: tuple[Rule, ...], refs: tuple[Ref, ...]
) -> Status:
    problems: list[Found] = [(a.source, f"{a.message} ({a.reason})") for a in found if not a.accepted]
    problems += ((a.source, f"not in force there: {elder}") for a in found for elder in a.elders)
    resolved = FINE
    for ref in refs:
        wrong = judged(ref, scope, udp=isinstance(route.spec, UdpRoute))
        if wrong[0]:
            resolved = resolved if resolved[0] else wrong
            problems.append((ref.source, f"{wrong[1]} ({wrong[0]})"))
    for rule in rules:
        if rule.unresolved[0]:
            resolved = resolved if resolved[0] else rule.unresolved
        problems += ((rule.source, v[1]) for v in (rule.unresolved, rule.unsupported) if v[0])
        if rule.session and not rule.keeps_sessions:
            why = "sessionPersistence is not in force: a header keeps no session among several backends; let it be a cookie"
            problems.append((rule.source, why))
    broken = [rule for rule in rules if rule.unsupported[0]]
    invalid = broken[0].unsupported if broken and len(broken) == len(rules) else FINE
    partly = (
        Condition(type="PartiallyInvalid", status=True, reason=broken[0].unsupported[0], message=broken[0].unsupported[1])
        if broken
        else None
    )
    parents = [_parent(a, invalid, resolved, partly) for a in _by_reference(found)]
    return Status(
        conditions=(_route_accepted(found, invalid), verdict("ResolvedRefs", resolved, "ResolvedRefs")),
        warnings=warnings(problems or _unbound(route, found)),
        details=FrozenMap({"parents": parents}),
    )


def _by_reference(found: tuple[Attachment, ...]) -> Iterable[Attachment]:
    """One for each of the route's references: of those to the hosts of a ServiceEntry one that is accepted speaks for all."""
    said: dict[Source, Attachment] = {}
    for attachment in found:
        known = said.get(attachment.source)
        if known is None or (attachment.accepted and not known.accepted):
            said[attachment.source] = attachment
    return said.values()


def _unbound(route: Resource[Route], found: tuple[Attachment, ...]) -> Iterator[Found]:
    if not found:
        yield route.at("spec"), "names no parent in parentRefs, so it is in force nowhere"


def _route_accepted(found: tuple[Attachment, ...], invalid: Verdict) -> Condition:
    """A route is accepted as a whole where one of its parents accepts it."""
    if invalid[0]:
        return verdict("Accepted", invalid, "Accepted")
    if not found:
        return verdict("Accepted", ("NoMatchingParent", "it names no parent"), "Accepted")
    if any(a.accepted for a in found):
        return _ACCEPTED
    return verdict("Accepted", (found[0].reason, found[0].message), "Accepted")


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
        "conditions": as_json(
            verdict("Accepted", accepted, "Accepted"),
            verdict("ResolvedRefs", resolved, "ResolvedRefs"),
            partly if found.accepted and not invalid[0] else None,
        ),
    }
