"""Which of several routes has the connections of one place, since nothing tells those apart: the oldest (GEP-1901, AllowedRoutes)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import replace

from tulle.compile.gatewayapi.attach import Attachment
from tulle.model.resource import Key
from tulle.resources.gatewayapi import TlsRoute

_WHOLE = ("TLSRoute", "TCPRoute", "UDPRoute")

Place = tuple[Hashable, ...]


def with_elders(found: Mapping[Key, tuple[Attachment, ...]]) -> Mapping[Key, tuple[Attachment, ...]]:
    """`found` is by route, from the oldest. One that comes too late is attached all the same, as the specification has it, and told."""
    taken: dict[Place, Key] = {}
    told = {key: tuple(_told(a, taken) for a in group) for key, group in found.items() if key.kind in _WHOLE}
    late = {key: group for key, group in told.items() if any(a.elders for a in group)}
    return {**found, **late} if late else found


def _told(attachment: Attachment, taken: dict[Place, Key]) -> Attachment:
    own, elders = attachment.route.key, []
    for where, place, wider in _places(attachment):
        elder = taken.get(wider) or taken.setdefault(place, own)
        if elder != own:
            elders.append(f"{elder.kind} {elder.namespace}/{elder.name} is older and has what comes to {where}")
    return replace(attachment, elders=tuple(elders)) if elders else attachment


def _places(attachment: Attachment) -> Iterator[tuple[str, Place, Place]]:
    """What each is called, and a wider place that it is part of, or itself."""
    if not attachment.accepted:
        return
    for section, hosts in attachment.sections:
        for host in hosts:
            place = (section.id, host)
            yield f"listener {section.spec.name}{'' if host == '*' else f' for {host}'}", place, place
    if attachment.service:
        parent, route = attachment.parent, attachment.route
        for host in (route.spec.hostnames if isinstance(route.spec, TlsRoute) else ()) or ("*",):
            whole = (attachment.service, attachment.audience, route.key.kind, host)
            yield f"service {attachment.service}", (*whole, parent.port, parent.section_name), (*whole, None, None)
