"""The Gateway API's part of the mesh's rules: its Gateways as servers, its routes as rules bound to them and to services."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from tulle.compile import names, tables
from tulle.compile.gatewayapi.attach import Attachment, Parents, attachments, one_kind_per_host, told_apart
from tulle.compile.gatewayapi.backend_tls import Claims, claims
from tulle.compile.gatewayapi.backend_traffic import Budgets, budgets
from tulle.compile.gatewayapi.clients import Clients, clients
from tulle.compile.gatewayapi.documents import Documents, collect
from tulle.compile.gatewayapi.elders import with_elders
from tulle.compile.gatewayapi.listeners import Section, Sections, parent_of, refusal, sections
from tulle.compile.gatewayapi.servers import as_gateway
from tulle.compile.gatewayapi.steerings import Maker
from tulle.compile.kinds import Kinds
from tulle.compile.memo import Memo
from tulle.compile.steering import Steering
from tulle.model.resource import Key, Resource
from tulle.resources.gatewayapi import ListenerSet
from tulle.resources.networking.gateway import Gateway as Servers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Index:
    """Equal by identity."""

    documents: Documents
    sections: Mapping[Key, Sections]
    """By Gateway, those that are served here."""
    attachments: Mapping[Key, tuple[Attachment, ...]]
    """By route."""
    by_section: Mapping[str, Mapping[Key, Attachment]]
    """By the id of a listener, the routes that it takes."""
    gateways: tuple[Resource[Servers], ...]
    """The Gateways, in the words of Istio's."""
    by_gateway: Mapping[str, Mapping[Hashable, Steering]]
    """By the id of a listener, each under a name that no other has."""
    by_service: Mapping[str, Mapping[str, Steering]] = field(default_factory=dict)
    """By the full name of a service, and by audience: empty for all."""
    calls: Mapping[str, frozenset[int]] = field(default_factory=dict)
    """The ports of services that GRPCRoutes send to."""
    tls_claims: Claims = field(default_factory=dict)
    """What BackendTLSPolicies say of services."""
    clients: Clients = field(default_factory=dict)
    """The Gateways that show a certificate of their own to backends."""
    budgets: Budgets = field(default_factory=dict)
    """What XBackendTrafficPolicies say of retries."""

    def steerings(self, section: Section) -> Iterator[Steering]:
        """All that is bound to a listener, or to one of its hosts where each is a server of its own."""
        found = self.by_section.get(section.id, {}).values()
        ids = map(section.bound, told_apart(section, found)) if section.ends_connections else (section.id,)
        return (steering for id_ in ids for steering in self.by_gateway.get(id_, {}).values())

    def for_service(self, host: str, namespace: str) -> Steering | None:
        """The rules for callers of a namespace: its own, else those of the service's namespace."""
        found = self.by_service.get(host)
        return (found.get(namespace) or found.get("")) if found else None


def arrange(kinds: Kinds, domain: str, memo: Memo) -> Index:
    """The same object as before, if no document of the Gateway API changed."""
    documents = collect(kinds, memo)
    return memo.get(("gateway api",), (documents, domain), lambda: _arranged(documents, domain, memo))


def _arranged(documents: Documents, domain: str, memo: Memo) -> Index:
    served = _served(documents, memo)
    by_set = {listeners.key: known for known in served.values() for listeners in known.sets}
    parents = Parents(documents=documents, by_gateway=served, by_set=by_set, domain=domain)
    each = tables.each(memo, "attached", documents.routes, lambda _, route: tuple(attachments(route, parents)), (documents.beside,))
    found = with_elders(one_kind_per_host(each))
    by_section = _by_section(found, memo)
    shown = clients(documents)
    maker = Maker(documents, shown, domain, memo)
    return Index(
        documents=documents,
        sections=served,
        attachments=found,
        by_section=by_section,
        gateways=tuple(as_gateway(s, by_section, documents, memo) for s in served.values()),
        by_gateway={id_: made for known in served.values() for s in known.all for id_, made in _bound(maker, s, known, by_section)},
        by_service=_by_service(maker, found, memo),
        calls=_calls(found, maker, memo),
        tls_claims=_claims(documents, domain, memo),
        clients=shown,
        budgets=budgets(documents, domain),
    )


def _claims(documents: Documents, domain: str, memo: Memo) -> Claims:
    made_from = (*documents.tls_policies, documents.entries, domain)
    return memo.get(("gateway api tls claims",), made_from, partial(claims, documents, domain))


def _served(documents: Documents, memo: Memo) -> dict[Key, Sections]:
    wanted: dict[tuple[str, str], list[Resource[ListenerSet]]] = {}
    for listeners in documents.sets:
        wanted.setdefault(parent_of(listeners), []).append(listeners)
    ours = (g for g in documents.gateways if documents.is_ours(g.spec.gateway_class_name) and not refusal(g)[0])
    return {g.key: sections(g, wanted.get((g.key.namespace, g.key.name), ()), documents, memo) for g in ours}


def _by_section(found: Mapping[Key, tuple[Attachment, ...]], memo: Memo) -> Mapping[str, Mapping[Key, Attachment]]:
    """A route counts once for a listener, however often it refers to it."""
    firsts = tables.each(memo, "firsts", found, lambda _, group: {s.id: a for a in reversed(group) for s, _ in a.sections})
    groups = tables.grouped(memo, "by section", firsts, lambda own: own)
    return tables.each(memo, "by section", groups, lambda id_, group: {key: own[id_] for key, own in group.items()})


def _calls(found: Mapping[Key, tuple[Attachment, ...]], maker: Maker, memo: Memo) -> Mapping[str, frozenset[int]]:
    routes = {key: group[0].route for key, group in found.items() if group and key.kind == "GRPCRoute"}
    calls = tables.each(memo, "calls", routes, lambda _, route: tuple(maker.backends(route)), maker.world)
    ports: dict[str, set[int]] = {}
    for host, port in (call for own in calls.values() for call in own):
        ports.setdefault(host, set()).add(port)
    return {host: frozenset(numbers) for host, numbers in ports.items()}


def _bound(
    maker: Maker, section: Section, known: Sections, by_section: Mapping[str, Mapping[Key, Attachment]]
) -> Iterator[tuple[str, Mapping[Hashable, Steering]]]:
    """The rules of a listener, by the id of the server that they are bound to."""
    if not section.usable:
        return
    found = by_section.get(section.id, {})
    if section.ends_connections:
        for host, own in told_apart(section, found.values()).items():
            yield section.bound(host), {steering.key: steering for steering in maker.of_host(section, host, own)}
        return
    siblings = [s for s in known.all if s is not section and s.usable and s.spec.port == section.spec.port]
    narrower = tuple(s.hostname for s in siblings if s.hostname != section.hostname and names.covers(section.hostname, s.hostname))
    yield section.id, maker.of_section(section, found, narrower, shared=bool(siblings))


Audience = tuple[str, str]
"""A service, and the only namespace whose callers are meant; empty for all."""


def _by_service(maker: Maker, found: Mapping[Key, tuple[Attachment, ...]], memo: Memo) -> Mapping[str, Mapping[str, Steering]]:
    groups = tables.grouped(memo, "audiences", found, lambda group: dict.fromkeys(_audiences(group)))

    def make(place: Audience, group: Mapping[Key, tuple[Attachment, ...]]) -> Steering:
        return maker.of_service(*place, tuple(a for own in group.values() for a in own if place in _audiences((a,))))

    made = tables.each(memo, "audiences", groups, make, maker.world)
    by_host = tables.grouped(memo, "by service", made, lambda steering: steering.hosts)
    return tables.each(memo, "by service", by_host, lambda _, group: {audience: s for (_, audience), s in group.items()})


def _audiences(found: Iterable[Attachment]) -> Iterator[Audience]:
    return ((a.service, a.audience) for a in found if a.service and a.accepted)
