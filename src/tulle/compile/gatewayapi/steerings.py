"""What routes mean for the proxies: for each listener and host, and for each service of the mesh, the rules in their order."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, cast

from tulle.compile import names, tables
from tulle.compile.gatewayapi.attach import Attachment
from tulle.compile.gatewayapi.clients import Clients
from tulle.compile.gatewayapi.documents import Documents, Route
from tulle.compile.gatewayapi.listeners import Section
from tulle.compile.gatewayapi.references import Ref, Refs, connection_refs
from tulle.compile.gatewayapi.routes import routes
from tulle.compile.gatewayapi.rules import Entry, Rule, entries
from tulle.compile.memo import Memo
from tulle.compile.steering import Parts, Steering, TcpRule, TlsRule
from tulle.model.resource import Key, Resource
from tulle.model.routing import RouteMatch
from tulle.resources.gatewayapi import GrpcRoute, HttpRoute, TlsRoute, UdpRoute
from tulle.resources.gatewayapi.connection_routes import ConnectionRoute
from tulle.resources.gatewayapi.types import ParentReference
from tulle.resources.networking.common import Destination, PortSelector
from tulle.resources.networking.virtual_service import TcpDestination, TcpMatch, TcpRoute, TlsMatch, VirtualService
from tulle.resources.networking.virtual_service import TlsRoute as TlsRules

if TYPE_CHECKING:
    from tulle.compile.routes import Place

Layers = tuple[tuple[Entry, ...], ...]
"""Rules that are tried one layer after the other."""
UNKNOWN = "unknown.invalid"
"""A host that no service can have: stands for a reference that is not valid, so that its share of connections is closed."""


class Maker:
    """Makes steerings of attachments; those of which nothing changed are the same objects as before."""

    def __init__(self, documents: Documents, found: Clients, domain: str, memo: Memo) -> None:
        self._documents = documents
        self._clients = found
        self._domain = domain
        self._memo = memo
        self.world = (documents.beside, domain)
        """All that steerings depend on besides the routes."""

    # Gateways

    def of_section(
        self, section: Section, found: Mapping[Key, Attachment], narrower: tuple[str, ...], *, shared: bool
    ) -> Mapping[Hashable, Steering]:
        """One for each host of a listener. `narrower`: hosts that other listeners of the port have to themselves.

        `shared`: other listeners serve the port, too, so that this one's hosts are its own even where no rule is for them.
        """
        if not section.is_http:
            return {steering.key: steering for steering in self._connections(section, found.values())}
        memo, world = self._memo, (section, *self.world)

        def hosts(attachment: Attachment) -> Iterator[str]:
            own = next(hosts for own, hosts in attachment.sections if own is section)
            return (host for host in own if not any(names.covers(other, host) for other in narrower))

        groups = tables.grouped(memo, ("hosts of", section.id), found, hosts, (section, narrower))
        if shared and section.hostname not in groups:
            groups = {**groups, section.hostname: {}}
        made = tables.each(memo, ("entries of", section.id), groups, lambda host, group: self._layered(host, group.values()), world)
        wild = {host: entries_ for host, entries_ in made.items() if names.is_wildcard(host)}

        def make(host: str, own: Layers) -> Steering:
            layers = tuple(_until_all((*own, *(layer for h in _wider(host) for layer in wild.get(h, ())))))
            return memo.get(("gateway api steering", section.id, host), (section, layers), partial(self._made, section, host, layers))

        steerings = tables.each(memo, ("steerings of", section.id), made, make, (*world, tuple(wild.items())))
        return cast("Mapping[Hashable, Steering]", steerings)

    def _layered(self, host: str, found: Iterable[Attachment]) -> Layers:
        """The rules of routes that name the very host, then of those that name wider ones, then of those that name none."""
        layers: dict[tuple[bool, int, str], list[Entry]] = {}
        for attachment in found:
            layers.setdefault(_named(attachment.route, host), []).extend(self._entries(attachment.route))
        return tuple(tuple(layers[rank]) for rank in sorted(layers))

    def _made(self, section: Section, host: str, layers: Layers) -> Steering:
        """Rules for the very host first, then those for wider ones."""
        ordered = _in_order(layers)
        first = min((e.rule.route for e in ordered), key=lambda r: r.created, default=cast("Resource[Route]", section.gateway))
        tls = section.spec.protocol == "HTTPS"
        make = partial(self._routes, ("gateway api routes", section.id, host), ordered or (_nothing(section),), tls, self._client(section))
        return _steering(first, section, (host,), ordered, make)

    def _client(self, section: Section) -> str:
        found = self._clients.get(section.gateway.key)
        return found.name if found else ""

    def _routes(self, name: tuple[str, ...], ordered: tuple[Entry, ...], tls: bool, client: str, place: Place) -> Parts:
        """The same routes as before, if nothing changed of what they lead to."""
        scope = place.scope
        claims = scope.structure.rules.gateway_api.tls_claims
        policies = scope.structure.rules.gateway_api.budgets
        known = [(b, scope.tuning(host)) for host in _targets(ordered) for b in (scope.backends.get(host),)]
        leads = tuple((b, tuning, b and claims.get(b.key), b and policies.get(b.key)) for b, tuning in known)
        made_from = (ordered, leads, tls, client)
        return self._memo.get((*name, scope.id, place.port), made_from, lambda: routes(ordered, place, tls=tls, client=client))

    def _entries(self, route: Resource[Route]) -> tuple[Entry, ...]:
        return entries(route, self._documents, self._domain, self._memo)

    def of_host(self, section: Section, host: str, found: Iterable[Attachment]) -> Iterator[Steering]:
        """The rules for one host of a listener that ends connections."""
        for attachment in found:
            route = attachment.route
            refs = connection_refs(route, self._documents, self._domain)
            client = self._client(section)
            name, made_from = ("gateway api steering", section.bound(host), route.key), (section, route, refs, client)
            yield self._memo.get(name, made_from, partial(_by_connection, route, section.bound(host), (host,), refs, client))

    def backends(self, route: Resource[Route]) -> Iterator[tuple[str, int]]:
        """The services that a route sends requests to, with their ports."""
        for rule in dict.fromkeys(entry.rule for entry in self._entries(route)):
            yield from ((ref.host, ref.port) for ref in rule.refs() if ref.host)

    def _connections(self, section: Section, attached: Iterable[Attachment]) -> Iterator[Steering]:
        for attachment in attached:
            route = attachment.route
            hosts = next(hosts for own, hosts in attachment.sections if own is section)
            refs = connection_refs(route, self._documents, self._domain)
            name = ("gateway api steering", section.id, route.key)
            client = self._client(section)
            make = partial(_by_connection, route, section.id, hosts, refs, client)
            yield self._memo.get(name, (section, route, hosts, refs, client), make)

    # The mesh

    def of_service(self, host: str, audience: str, found: tuple[Attachment, ...]) -> Steering:
        """The rules for callers of a service."""
        by_request = [a for a in found if isinstance(a.route.spec, HttpRoute | GrpcRoute)]
        whole = [a for a in found if isinstance(a.route.spec, ConnectionRoute)]
        ordered = tuple((self._entries(a.route), a.parent) for a in by_request)
        rules = tuple((a.route, connection_refs(a.route, self._documents, self._domain), a.parent) for a in whole)
        name = ("gateway api mesh", host, audience)
        return self._memo.get(name, (found, ordered, rules), partial(_for_service, host, audience, found, ordered, rules))


def _at_port(host: str, pairs: tuple[tuple[Entry, ParentReference], ...], place: Place) -> Parts:
    """The rules for callers of one port of a service."""
    backend = place.scope.backends.get(host)
    names_ = {p.name for p in backend.ports if p.number == place.port} if backend else set()
    return routes(
        (e for e, parent in pairs if parent.port in (None, place.port) and (not parent.section_name or parent.section_name in names_)),
        place,
    )


def _wider(host: str) -> Iterator[str]:
    """The wildcards that a host is among, from the most specific."""
    labels = host.removeprefix("*.").split(".")
    if host != "*":
        yield from (f"*.{'.'.join(labels[n:])}" for n in range(1, len(labels)))
        yield "*"


def _named(route: Resource[Route], host: str) -> tuple[bool, int, str]:
    """Sorts routes by how closely they name a host, whatever of it a listener leaves to them."""
    hostnames = route.spec.hostnames if isinstance(route.spec, HttpRoute | GrpcRoute) else ()
    return min((names.specificity(h) for h in hostnames if names.covers(h, host)), default=(True, 1, ""))


def _until_all(layers: Iterable[tuple[Entry, ...]]) -> Iterator[tuple[Entry, ...]]:
    """Behind rules that take every request, no others are tried."""
    for layer in layers:
        yield layer
        if any(e.match.catches_all for e in layer):
            return


def _in_order(layers: Layers) -> tuple[Entry, ...]:
    """A rule that is for a host and for a wider one is tried once."""
    ordered = {id(e): e for layer in reversed(layers) for e in layer}
    firsts = [[e for e in layer if ordered.pop(id(e), None)] for layer in layers]
    return tuple(e for layer in firsts for e in sorted(layer, key=lambda e: e.order))


def _nothing(section: Section) -> Entry:
    """Answers for a listener without rules, so that no other listener's rules are tried for its hosts."""
    route = cast("Resource[Route]", section.gateway)
    blank = Rule(route=route, name="", source=section.source, grpc=False, shares=(), answer=404)
    return Entry(rule=blank, match=RouteMatch(), prefix="/", source=section.source, order=((9, 0, 0, 0, 0), (0, "", ""), 0, 0))


def _targets(ordered: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(sorted({ref.host for e in ordered for ref in e.rule.refs() if ref.host}))


def _steering(
    first: Resource[Route], section: Section, hosts: tuple[str, ...], ordered: tuple[Entry, ...], make: Callable[[Place], Parts]
) -> Steering:
    """As old as its Gateway: of several on one port and host, the oldest goes first."""
    gateway = section.gateway
    return Steering(
        key=first.key,
        resource=cast("Resource[VirtualService]", first),
        age=(gateway.created, gateway.key.name, gateway.key.namespace),
        hosts=hosts,
        gateways=frozenset((section.id,)),
        http=(),
        tcp=(),
        targets=_targets(ordered),
        make=make,
    )


def _tcp_rules(route: Resource[Route], refs: Refs, parent: ParentReference | None = None, *, client: str = "") -> tuple[TcpRule, ...]:
    """`parent`: the service that they are for, in the mesh."""
    match = (TcpMatch.model_construct(port=parent.port),) if parent and parent.port is not None else ()
    return tuple(
        TcpRule(
            spec=TcpRoute.model_construct(match=match, route=_destinations(group)),
            source=route.at(f"spec.rules[{index}]"),
            port_name=_port_name(parent),
            udp=isinstance(route.spec, UdpRoute),
            client=client,
        )
        for index, group in _by_rule(refs)
    )


def _tls_rules(
    route: Resource[Route], hosts: tuple[str, ...], refs: Refs, parent: ParentReference | None = None, *, client: str = ""
) -> tuple[TlsRule, ...]:
    match = (TlsMatch.model_construct(sni_hosts=hosts, port=parent.port if parent else None),)
    return tuple(
        TlsRule(
            spec=TlsRules.model_construct(match=match, route=_destinations(group)),
            source=route.at(f"spec.rules[{index}]"),
            port_name=_port_name(parent),
            client=client,
        )
        for index, group in _by_rule(refs)
    )


def _port_name(parent: ParentReference | None) -> str:
    return (parent.section_name or "") if parent else ""


def _names_of(route: Resource[Route], refs: Refs, parent: ParentReference) -> tuple[TlsRule, ...]:
    """The rules of a TLSRoute for a service: by the names that callers ask for."""
    return _tls_rules(route, route.spec.hostnames or ("*",), refs, parent) if isinstance(route.spec, TlsRoute) else ()


def _by_rule(refs: Refs) -> Iterator[tuple[int, Refs]]:
    for index in dict.fromkeys(i for i, _, _ in refs):
        yield index, tuple(part for part in refs if part[0] == index)


def _destinations(refs: Refs) -> tuple[TcpDestination, ...]:
    """A backend of no weight gets nothing, even alone."""
    return tuple(_destination(ref, weight) for _, ref, weight in refs if weight) or (_destination(Ref(source=refs[0][1].source), 1),)


def _destination(ref: Ref, weight: int) -> TcpDestination:
    port = PortSelector.model_construct(number=ref.port)
    return TcpDestination.model_construct(
        destination=Destination.model_construct(host=ref.host or UNKNOWN, subset=None, port=port), weight=weight
    )


def _by_connection(route: Resource[Route], gateway: str, hosts: tuple[str, ...], refs: Refs, client: str) -> Steering:
    return Steering(
        key=route.key,
        resource=cast("Resource[VirtualService]", route),
        age=(route.created, route.key.name, route.key.namespace),
        hosts=hosts,
        gateways=frozenset((gateway,)),
        http=(),
        tcp=_tcp_rules(route, refs, client=client),
        tls=_tls_rules(route, hosts, refs, client=client),
        targets=tuple(sorted({ref.host for _, ref, _ in refs if ref.host})),
    )


def _for_service(
    host: str,
    audience: str,
    found: tuple[Attachment, ...],
    ordered: tuple[tuple[tuple[Entry, ...], ParentReference], ...],
    rules: tuple[tuple[Resource[Route], Refs, ParentReference], ...],
) -> Steering:
    """A route of another namespace than the service's belongs to that namespace alone."""
    first = found[0].route
    pairs = tuple(sorted(((e, parent) for group, parent in ordered for e in group), key=lambda pair: pair[0].order))
    targets = {host, *_targets(e for e, _ in pairs), *(ref.host for _, refs, _ in rules for _, ref, _ in refs if ref.host)}
    return Steering(
        key=Key(kind=first.key.kind, namespace=audience or first.key.namespace, name=first.key.name),
        resource=cast("Resource[VirtualService]", first),
        age=(first.created, first.key.name, first.key.namespace),
        hosts=(host,),
        gateways=frozenset((names.MESH,)),
        http=(),
        tcp=tuple(rule for route, refs, to in rules if not isinstance(route.spec, TlsRoute) for rule in _tcp_rules(route, refs, to)),
        tls=tuple(rule for route, refs, to in rules for rule in _names_of(route, refs, to)),
        targets=tuple(sorted(targets)),
        export_to=(audience,) if audience else (),
        make=partial(_at_port, host, pairs),
    )
