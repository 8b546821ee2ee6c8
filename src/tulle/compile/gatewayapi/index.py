"""The Gateway API's part of the mesh's rules: its Gateways as servers, its routes as rules bound to them and to services."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from tulle.compile import names
from tulle.compile.gatewayapi.attach import Attachment, Parents, attachments, one_kind_per_host, told_apart
from tulle.compile.gatewayapi.backend_tls import Claims, claims
from tulle.compile.gatewayapi.backend_traffic import Budgets, budgets
from tulle.compile.gatewayapi.clients import Clients, clients
from tulle.compile.gatewayapi.documents import Documents, Route, collect
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
    by_section: Mapping[str, tuple[Attachment, ...]]
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
    # What routes can be attached to changes seldom, and routes often.
    footing = (*served.values(), *documents.gateways, *documents.sets, *documents.namespaces.items(), domain)
    token = memo.get(("gateway api parents",), footing, object)
    every = (memo.get(("attached", r.key), (r, token), partial(_attached, r, parents)) for r in documents.routes.values())
    found = one_kind_per_host(tuple(a for group in every for a in group))
    by_section = _by_section(found)
    shown = clients(documents)
    maker = Maker(documents, shown, domain, memo)
    return Index(
        documents=documents,
        sections=served,
        attachments=_by_route(found),
        by_section=by_section,
        gateways=tuple(as_gateway(s, by_section, documents, memo) for s in served.values()),
        by_gateway={id_: made for known in served.values() for s in known.all for id_, made in _bound(maker, s, known, by_section)},
        by_service=_by_service(maker, found),
        calls=_calls(found, maker),
        tls_claims=memo.get(("gateway api tls claims",), (*documents.tls_policies, domain), partial(claims, documents, domain)),
        clients=shown,
        budgets=budgets(documents, domain),
    )


def _attached(route: Resource[Route], parents: Parents) -> tuple[Attachment, ...]:
    return tuple(attachments(route, parents))


def _served(documents: Documents, memo: Memo) -> dict[Key, Sections]:
    wanted: dict[tuple[str, str], list[Resource[ListenerSet]]] = {}
    for listeners in documents.sets:
        wanted.setdefault(parent_of(listeners), []).append(listeners)
    ours = (g for g in documents.gateways if documents.is_ours(g.spec.gateway_class_name) and not refusal(g)[0])
    return {g.key: sections(g, wanted.get((g.key.namespace, g.key.name), ()), documents, memo) for g in ours}


def _by_route(found: Iterable[Attachment]) -> Mapping[Key, tuple[Attachment, ...]]:
    grouped: dict[Key, list[Attachment]] = {}
    for attachment in found:
        grouped.setdefault(attachment.route.key, []).append(attachment)
    return {key: tuple(group) for key, group in grouped.items()}


def _by_section(found: Iterable[Attachment]) -> Mapping[str, tuple[Attachment, ...]]:
    """A route counts once for a listener, however often it refers to it."""
    grouped: dict[str, dict[Key, Attachment]] = {}
    for attachment in found:
        for section, _ in attachment.sections:
            grouped.setdefault(section.id, {}).setdefault(attachment.route.key, attachment)
    return {id_: tuple(group.values()) for id_, group in grouped.items()}


def _calls(found: Iterable[Attachment], maker: Maker) -> Mapping[str, frozenset[int]]:
    ports: dict[str, set[int]] = {}
    routes = {a.route.key: a.route for a in found if a.route.key.kind == "GRPCRoute"}
    for route in routes.values():
        for host, port in maker.backends(route):
            ports.setdefault(host, set()).add(port)
    return {host: frozenset(numbers) for host, numbers in ports.items()}


def _bound(
    maker: Maker, section: Section, known: Sections, by_section: Mapping[str, tuple[Attachment, ...]]
) -> Iterator[tuple[str, Mapping[Hashable, Steering]]]:
    """The rules of a listener, by the id of the server that they are bound to."""
    if not section.usable:
        return
    found = by_section.get(section.id, ())
    if section.ends_connections:
        for host, own in told_apart(section, found).items():
            yield section.bound(host), _named(maker.of_host(section, host, own))
        return
    siblings = [s for s in known.all if s is not section and s.usable and s.spec.port == section.spec.port]
    narrower = tuple(s.hostname for s in siblings if s.hostname != section.hostname and names.covers(section.hostname, s.hostname))
    yield section.id, _named(maker.of_section(section, found, narrower, shared=bool(siblings)))


def _named(made: Iterable[Steering]) -> Mapping[Hashable, Steering]:
    return {(steering.key, steering.hosts): steering for steering in made}


def _by_service(maker: Maker, found: Iterable[Attachment]) -> Mapping[str, Mapping[str, Steering]]:
    grouped: dict[str, dict[str, list[Attachment]]] = {}
    for attachment in found:
        if attachment.service and attachment.accepted:
            grouped.setdefault(attachment.service, {}).setdefault(attachment.audience, []).append(attachment)
    return {
        host: {audience: maker.of_service(host, audience, tuple(group)) for audience, group in by_audience.items()}
        for host, by_audience in grouped.items()
    }
