"""Which of several routes has the connections of one place, since nothing tells those apart: the oldest (GEP-1901, AllowedRoutes)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace

from tulle.compile.gatewayapi.attach import Attachment
from tulle.compile.gatewayapi.documents import seniority
from tulle.compile.gatewayapi.listeners import Section
from tulle.model.resource import Key
from tulle.resources.gatewayapi import TlsRoute

_WHOLE = ("TLSRoute", "TCPRoute", "UDPRoute")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where connections come to, as one route speaks of it."""

    said: str
    itself: tuple[Hashable, ...]
    whole: tuple[Hashable, ...]
    """A wider place that it is part of, or itself."""
    gateway: Key | None = None
    age: tuple[int, str, str] = (0, "", "")
    """Of the Gateway: of several on one port, the oldest goes first."""


def with_elders(found: Mapping[Key, tuple[Attachment, ...]]) -> Mapping[Key, tuple[Attachment, ...]]:
    """`found` is by route, from the oldest. One that comes too late is attached all the same, as the specification has it, and told."""
    groups = {key: group for key, group in found.items() if key.kind in _WHOLE}
    wanted = [(place, key, n) for key, group in groups.items() for n, a in enumerate(group) for place in _places(a)]
    taken: dict[tuple[Hashable, ...], tuple[Place, Key]] = {}
    late: dict[tuple[Key, int], tuple[str, ...]] = {}
    for place, key, number in sorted(wanted, key=lambda one: one[0].age):
        first, elder = taken.get(place.whole) or taken.setdefault(place.itself, (place, key))
        if elder != key:
            late[key, number] = (*late.get((key, number), ()), _said(place, first, elder))
    told = {key: tuple(replace(a, elders=late.get((key, n), ())) for n, a in enumerate(groups[key])) for key, _ in late}
    return {**found, **told} if told else found


def _said(place: Place, first: Place, elder: Key) -> str:
    who = f"{elder.kind} {elder.namespace}/{elder.name}"
    if first.gateway is None or first.gateway == place.gateway:
        return f"{who} is older and has what comes to {place.said}"
    gateway = f"{first.gateway.namespace}/{first.gateway.name}"
    return f"where a proxy serves both, {who} of the older Gateway {gateway} has what comes to {place.said}"


def _places(attachment: Attachment) -> Iterator[Place]:
    if not attachment.accepted:
        return
    for section, hosts in attachment.sections:
        yield from (_at_listener(section, host) for host in hosts if section.usable)
    if attachment.service:
        parent, route = attachment.parent, attachment.route
        for host in (route.spec.hostnames if isinstance(route.spec, TlsRoute) else ()) or ("*",):
            whole = (attachment.service, attachment.audience, route.key.kind, host)
            itself = (*whole, parent.port, parent.section_name)
            yield Place(said=f"service {attachment.service}", itself=itself, whole=(*whole, None, None))


def _at_listener(section: Section, host: str) -> Place:
    spec, gateway = section.spec, section.gateway
    addresses = frozenset(a.value for a in gateway.spec.addresses if a.value)
    place = (addresses, spec.port, spec.protocol == "UDP", host)
    said = f"listener {spec.name}{'' if host == '*' else f' for {host}'}"
    return Place(said=said, itself=place, whole=place, gateway=gateway.key, age=seniority(gateway))
