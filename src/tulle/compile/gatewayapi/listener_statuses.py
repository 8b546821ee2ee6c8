"""What became of single listeners, in the words of the specification."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tulle.compile.credentials import Keyring
from tulle.compile.findings import Found
from tulle.compile.gatewayapi import listener_tls
from tulle.compile.gatewayapi.index import Index
from tulle.compile.gatewayapi.listeners import FINE, Section, Sections, Verdict, overlapping
from tulle.compile.gatewayapi.words import as_json, verdict
from tulle.compile.scope import Scope
from tulle.model.resource import Condition
from tulle.resources.gatewayapi.types import GROUP


def keyring(scope: Scope) -> Keyring:
    """All credentials: each is named with its namespace."""
    return Keyring(credentials=scope.structure.credentials, namespace=scope.structure.rules.root_namespace)


def references(scope: Scope, index: Index, section: Section) -> Verdict:
    """What is wrong with the things that a listener refers to."""
    if section.foreign_kinds:
        return "InvalidRouteKinds", f"{section.spec.protocol} listeners take no {', '.join(section.foreign_kinds)}"
    tls = listener_tls.ended(section, index.documents)
    return listener_tls.resolved(tls, keyring(scope)) if tls else FINE


def _conflict(section: Section) -> Verdict:
    """A conflict, as the other conditions tell of it: listeners of sets have the words for what it is, those of Gateways have not."""
    reason, why = section.conflict
    return (reason if section.owner is not section.gateway else "Invalid", why) if reason else FINE


def accepted(scope: Scope, index: Index, section: Section) -> Verdict:
    """Why a listener is not accepted."""
    own = section.refused if section.refused[0] else _conflict(section)
    tls = listener_tls.ended(section, index.documents)
    if own[0] or tls is None or not listener_tls.lets_nobody_in(tls, keyring(scope)):
        return own
    return "NoValidCACertificate", f"no authority for callers' certificates is there: {listener_tls.resolved(tls, keyring(scope))[1]}"


def _is_served(scope: Scope, index: Index, section: Section) -> bool:
    """Routes of kinds that it cannot take do not keep a listener from the others."""
    tls = listener_tls.ended(section, index.documents)
    return section.usable and (tls is None or listener_tls.is_served(tls, keyring(scope)))


def listener(scope: Scope, index: Index, section: Section, known: Sections) -> dict[str, Any]:
    """The status of one listener, as JSON has it."""
    resolved, taken = references(scope, index, section), accepted(scope, index, section)
    lost = _conflict(section) if section.conflict[0] else ("Invalid", taken[1] or resolved[1])
    clash, others = section.conflict, overlapping(section, known)
    conflict = Condition(type="Conflicted", status=bool(clash[0]), reason=clash[0] or "NoConflicts", message=clash[1])
    overlap = Condition(
        type="OverlappingTLSConfig",
        status=True,
        reason="OverlappingHostnames",
        message=f"callers that use one connection for several hosts are sent away (421) where the host is for listener {others}",
    )
    return {
        "name": section.spec.name,
        "supportedKinds": [{"group": GROUP, "kind": kind} for kind in section.kinds],
        "attachedRoutes": sum(a.valid for a in index.by_section.get(section.id, {}).values()),
        "conditions": as_json(
            verdict("Accepted", taken, "Accepted"),
            conflict,
            verdict("ResolvedRefs", resolved, "ResolvedRefs"),
            verdict("Programmed", FINE if _is_served(scope, index, section) else lost, "Programmed"),
            overlap if others else None,
        ),
    }


def problems(scope: Scope, index: Index, own: tuple[Section, ...]) -> Iterator[Found]:
    """What is wrong with listeners, each with its place."""
    for section in own:
        for found in dict.fromkeys((accepted(scope, index, section), references(scope, index, section))):
            if found[0]:
                yield section.source, f"{found[1]} ({found[0]})"
