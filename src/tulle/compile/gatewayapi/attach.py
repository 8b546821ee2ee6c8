"""Which routes are attached to which listeners and services, and why others are not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from tulle.compile import names
from tulle.compile.gatewayapi.documents import Documents, Route
from tulle.compile.gatewayapi.listeners import Section, Sections, refusal
from tulle.compile.gatewayapi.references import hosts_meant
from tulle.compile.gatewayapi.rules import unsupported
from tulle.model.resource import Key, Resource, Source
from tulle.resources.gatewayapi import GrpcRoute, HttpRoute, TlsRoute
from tulle.resources.gatewayapi.types import GROUP, ParentReference

GATEWAY = f"Gateway.{GROUP}"
"""The kind of this API's Gateways in keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """What became of one of a route's references to a parent."""

    route: Resource[Route]
    parent: ParentReference
    source: Source
    sections: tuple[tuple[Section, tuple[str, ...]], ...] = ()
    """The listeners that take the route, each with the hosts that both speak of."""
    service: str = ""
    """Full name of the service that the route is for, in the mesh."""
    audience: str = ""
    """The only namespace whose callers the route is for; empty for all."""
    reason: str = ""
    """Why it is not accepted; empty where it is."""
    message: str = ""
    valid: bool = True
    """Whether one of the route's rules at least can be applied, so that it counts."""
    elders: tuple[str, ...] = ()
    """What older routes keep from it, each as a sentence."""

    @property
    def accepted(self) -> bool:
        return not self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """All that routes can be attached to."""

    documents: Documents
    by_gateway: Mapping[Key, Sections]
    by_set: Mapping[Key, Sections]
    """ListenerSets that a Gateway of ours takes."""
    domain: str


def attachments(route: Resource[Route], parents: Parents) -> Iterator[Attachment]:
    valid = not route.spec.rules or not all(unsupported(rule)[0] for rule in route.spec.rules)
    for index, parent in enumerate(route.spec.parent_refs):
        blank = Attachment(route=route, parent=parent, source=route.at(f"spec.parentRefs[{index}]"), valid=valid)
        namespace = parent.namespace or route.key.namespace
        if parent.group == GROUP and parent.kind in ("Gateway", "ListenerSet"):
            yield _to_gateway(blank, namespace, parents)
        else:
            yield from _to_hosts(blank, namespace, parents)


def _to_gateway(blank: Attachment, namespace: str, parents: Parents) -> Attachment:
    parent = blank.parent
    of_gateway = parent.kind == "Gateway"
    key = Key(kind=GATEWAY if of_gateway else "ListenerSet", namespace=namespace, name=parent.name)
    known = (parents.by_gateway if of_gateway else parents.by_set).get(key)
    if known is None:
        return replace(blank, reason="NoMatchingParent", message=_missing(key, parents.documents))
    named = [s for s in known.of(key) if parent.section_name in (None, s.spec.name) and parent.port in (None, s.spec.port)]
    if not named:
        return replace(blank, reason="NoMatchingParent", message=f"{parent.kind} {namespace}/{parent.name} has no {_part(parent)}")
    return _among(blank, named, parents.documents)


def _missing(key: Key, documents: Documents) -> str:
    plain = f"{key.kind.partition('.')[0]} {key.namespace}/{key.name}"
    gateway = next((g for g in documents.gateways if g.key == key), None)
    if gateway is not None:
        return f"{plain} is not accepted" if refusal(gateway)[0] else f"{plain} is of a class that is not served here"
    if any(s.key == key for s in documents.sets):
        return f"{plain} is attached to no Gateway that is served here"
    return f"{plain} does not exist"


def _part(parent: ParentReference) -> str:
    parts = (f"listener {parent.section_name}" if parent.section_name else "", f"port {parent.port}" if parent.port else "")
    return " with ".join(part for part in parts if part)


def _among(blank: Attachment, named: Iterable[Section], documents: Documents) -> Attachment:
    route = blank.route
    kind = route.key.kind
    verdicts = [(s, s.takes(kind, route.key.namespace, documents)) for s in named]
    willing = [s for s, why in verdicts if not why]
    if not willing:
        why = "; ".join(dict.fromkeys(why for _, why in verdicts))
        return replace(blank, reason="NotAllowedByListeners", message=why)
    common = tuple((s, hosts) for s in willing if (hosts := common_hosts(s, route)))
    if not common:
        wanted = ", ".join(dict.fromkeys(s.hostname for s in willing))
        return replace(blank, reason="NoMatchingListenerHostname", message=f"none of its hostnames is one of {wanted}")
    return replace(blank, sections=common)


def common_hosts(section: Section, route: Resource[Route]) -> tuple[str, ...]:
    """The hosts that both a listener and a route speak of."""
    spec = route.spec
    if not isinstance(spec, HttpRoute | GrpcRoute | TlsRoute) or not spec.hostnames:
        return (section.hostname,)
    return tuple(dict.fromkeys(c for host in spec.hostnames if (c := names.overlap(section.hostname, host))))


def told_apart(section: Section, found: Iterable[Attachment]) -> dict[str, tuple[Attachment, ...]]:
    """The routes of a listener by host, each list from the oldest."""
    by_host: dict[str, list[Attachment]] = {}
    for attachment in found:
        for host in next(hosts for own, hosts in attachment.sections if own is section):
            by_host.setdefault(host, []).append(attachment)
    return {host: tuple(group) for host, group in by_host.items()}


def _to_hosts(blank: Attachment, namespace: str, parents: Parents) -> Iterator[Attachment]:
    """A route of the service's own namespace is for all callers; another one for the callers of its own.

    A name that is another namespace's stays so, whoever declares it.
    """
    parent, own = blank.parent, blank.route.key.namespace
    meant = hosts_meant(parent.group, parent.kind, parent.name, namespace, parents.documents, parents.domain)
    if meant is None:
        kind = f"{parent.kind}.{parent.group}" if parent.group else parent.kind
        why = f"routes are attached to Gateways, ListenerSets, Services and ServiceEntries, not to {kind}"
        yield replace(blank, reason="NoMatchingParent", message=why)
    elif not meant:
        yield replace(blank, reason="NoMatchingParent", message=f"{parent.kind} {namespace}/{parent.name} does not exist")
    for host in meant or ():
        yield replace(blank, service=host, audience="" if own == (names.home(host) or namespace) else own)


def one_kind_per_host(found: Mapping[Key, tuple[Attachment, ...]]) -> Mapping[Key, tuple[Attachment, ...]]:
    """HTTPRoutes and GRPCRoutes never share a host of a listener: the older one keeps it. `found` is by route, from the oldest."""
    if not {key.kind for key in found} >= _BY_REQUEST:
        return found
    kept: dict[Key, tuple[Attachment, ...]] = dict.fromkeys(found, ())
    for attachment in _one_kind(a for group in found.values() for a in group):
        kept[attachment.route.key] += (attachment,)
    return kept


_BY_REQUEST = {"HTTPRoute", "GRPCRoute"}


def _one_kind(found: Iterable[Attachment]) -> Iterator[Attachment]:
    taken: dict[Section, dict[str, list[tuple[str, str]]]] = {}
    for attachment in found:
        kind = attachment.route.key.kind
        if kind not in _BY_REQUEST or not attachment.sections:
            yield attachment
            continue
        kept, lost = [], ""
        for section, hosts in attachment.sections:
            rivals = [pair for other, pairs in taken.get(section, {}).items() if other != kind for pair in pairs]
            rival = next((who for host in hosts for other, who in rivals if names.overlap(host, other)), "")
            if rival:
                lost = f"{rival} is older and has its hostname on listener {section.spec.name}"
                continue
            kept.append((section, hosts))
            who = f"{kind} {attachment.route.key.namespace}/{attachment.route.key.name}"
            taken.setdefault(section, {}).setdefault(kind, []).extend((host, who) for host in hosts)
        if kept:
            yield replace(attachment, sections=tuple(kept))
        else:
            yield replace(attachment, sections=(), reason="HostnameConflict", message=lost)
