"""Virtual hosts for the callers of one scope: one for each port of a service, and one for each host that only rules know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain

from tulle.compile import clusters, names, tables
from tulle.compile import tcp as tcp_routes
from tulle.compile.catalog import Backend
from tulle.compile.memo import Memo
from tulle.compile.routes import Place, default_route, http_routes
from tulle.compile.scope import Scope
from tulle.compile.steering import Steering
from tulle.model.routing import Compare, Forward, HeaderMatch, Route, RouteMatch, Skipped, StringMatch, VirtualHost, WeightedCluster
from tulle.model.service import Port, Protocol

CONNECT = RouteMatch(headers=(HeaderMatch(name=":method", match=StringMatch(compare=Compare.EXACT, value="CONNECT")),))
_INSIDE = Route(name="connect", match=CONNECT, action=Forward(clusters=(WeightedCluster(cluster=clusters.CONNECT),), connect=True))
"""HTTP inside of CONNECT is routed like HTTP outside of it."""
Steered = Mapping[str, Steering | None]
"""By host, what has it to itself."""


def steered(scope: Scope, listed: Iterable[Backend], memo: Memo) -> Steered:
    """The rules for each of the services listed; None where there are none."""
    rules = scope.structure.rules
    exact, routed = rules.mesh.exact.get, rules.gateway_api.by_service.get
    spoken = {host: (exact(host), routed(host)) for host in (b.key.host for b in listed)}
    world = (scope.structure.ground, rules.mesh.wild)
    return tables.each(memo, ("steered", scope.id), spoken, lambda host, _: scope.steering(host), world)


def without_service(scope: Scope, memo: Memo) -> Mapping[str, Steering]:
    """Hosts of VirtualServices that stand for no service: they are served on port 80 (BEHAVIOURS 15). So are those of Consul's entries."""
    rules, backends = scope.structure.rules, scope.backends
    ground = (scope.structure.ground,)
    known = tables.each(
        memo, ("known", scope.id), dict(rules.mesh.wild), lambda host, _: any(names.covers(host, h) for h in backends), ground
    )
    spoken = {host: found for host, found in rules.mesh.exact.items() if host not in backends}
    spoken.update((host, found) for host, found in rules.mesh.wild if not known[host])
    first = tables.each(memo, ("bare", scope.id), spoken, lambda _, found: next((s for s in found if scope.sees(s)), None), ground)
    made = {host: steering for host, steering in first.items() if steering is not None}
    alone = (host for host in rules.chains if host not in backends)
    made.update((host, rules.chains[host]) for host in alone if not any(scope.sees(s) for _, s in rules.mesh.candidates(host)))
    return made


def everywhere(scope: Scope, found: Steered, bare: Mapping[str, Steering], memo: Memo) -> tuple[VirtualHost, ...]:
    """The services on all their ports, and the hosts that stand for no service."""
    ground = (scope.structure.ground,)
    served = tables.each(
        memo, ("vhosts", scope.id), found, lambda host, s: tuple(_of_service(scope, scope.backends[host], s, memo)), ground
    )
    others = tables.each(memo, ("bare vhosts", scope.id), bare, lambda host, s: _bare_host(scope, host, s, memo), ground)
    return _distinct(scope, chain(chain.from_iterable(served.values()), others.values()), memo)


def on_port(scope: Scope, listed: Iterable[Backend], number: int, memo: Memo) -> tuple[VirtualHost, ...]:
    """The services on one port."""
    found = (h for b in listed for h in _of_service(scope, b, scope.steering(b.key.host), memo, only=number) if h.routes)
    ordered = sorted(found, key=lambda h: h.name)
    lost = _lost((h.name, h.domains) for h in ordered)
    kept = (replace(h, domains=lost[h.name]) if h.name in lost else h for h in ordered)
    return tuple(h for h in kept if h.domains)


def _of_service(scope: Scope, backend: Backend, steering: Steering | None, memo: Memo, only: int = 0) -> Iterator[VirtualHost]:
    """On all ports, or on `only` one."""
    tuning = scope.tuning(backend.key.host)
    for port in (p for p in backend.ports if only in (0, p.number)):
        # The short name is for clients of the namespace in the host, which is not always the one that declares it.
        viewer = scope.id if steering else backend.key.host.endswith(f".{scope.namespace}.svc.{scope.domain}")
        name = ("vhost", backend.key, port.number, viewer, tuning.key if tuning else None)
        made_from = (backend, tuning, *scope.footing(steering))
        yield memo.get(name, made_from, partial(_virtual_host, scope, backend, port, steering))


def _virtual_host(scope: Scope, backend: Backend, port: Port, steering: Steering | None) -> VirtualHost:
    place = Place(scope=scope, port=port.number, dialled=backend.service.virtual)
    http = port.protocol.is_http or port.protocol is Protocol.AUTO
    routes, skipped = service_routes(backend, steering, place) if http else ((), ())
    connect = _INSIDE if port.protocol.is_http else _tunnel(backend, steering, place)
    return VirtualHost(
        name=f"{backend.key.host}:{port.number}",
        domains=names.domains(_forms(scope, backend), port.number),
        routes=(connect, *routes),
        skipped=skipped,
    )


def service_routes(backend: Backend, steering: Steering | None, place: Place) -> tuple[tuple[Route, ...], tuple[Skipped, ...]]:
    """The rules for a service, or its default route where no rule is in force."""
    routes, skipped = http_routes(steering, place) if steering else ((), ())
    return routes or (default_route(place, backend),), skipped


def _tunnel(backend: Backend, steering: Steering | None, place: Place) -> Route:
    """CONNECT to a port that does not speak plain HTTP: the bytes go straight to the service."""
    serve, source = tcp_routes.to_service(backend, steering, place, backend.key.host)
    return Route(name="connect", match=CONNECT, action=Forward(clusters=serve.clusters, connect=True), source=source)


def _forms(scope: Scope, backend: Backend) -> tuple[str, ...]:
    virtual = (names.bracketed(a) for a in backend.service.virtual if names.is_address(a))
    return (*names.aliases(backend.key.host, scope.namespace, scope.domain), *virtual)


def _bare_host(scope: Scope, host: str, steering: Steering, memo: Memo) -> VirtualHost:
    name = ("bare vhost", host, scope.id)
    return memo.get(name, scope.footing(steering), lambda: _bare(scope, host, steering))


def _bare(scope: Scope, host: str, steering: Steering) -> VirtualHost:
    routes, skipped = http_routes(steering, Place(scope=scope, port=80))
    shown = names.bracketed(host) if names.is_address(host) else host
    forms = names.aliases(shown, scope.namespace, scope.domain)
    return VirtualHost(name=f"{host}:80", domains=names.domains(forms, 80), routes=(_INSIDE, *routes), skipped=skipped)


def _distinct(scope: Scope, hosts: Iterable[VirtualHost], memo: Memo) -> tuple[VirtualHost, ...]:
    """Sorted by name, and no domain twice, which no proxy would take."""
    found = tables.ordered(memo, ("by name", scope.id), {h.name: h for h in hosts if h.routes}, lambda h: h.name)
    asked = tuple((h.name, h.domains) for h in found.values())
    lost = memo.get(("lost domains", scope.id), (asked,), lambda: _lost(asked))
    less = tables.each(memo, ("less domains", scope.id), {n: found[n] for n in lost}, lambda n, h: replace(h, domains=lost[n]), (lost,))
    return tuple(kept for host in found.values() if (kept := less.get(host.name, host)).domains)


def _lost(asked: Iterable[tuple[str, tuple[str, ...]]]) -> Mapping[str, tuple[str, ...]]:
    """What is left of the domains of those hosts that lose some to others: full names come before short forms, then the first wins."""
    wanted = tuple(asked)
    owner: dict[str, str] = {}
    for name, _ in wanted:
        owner.setdefault(name, name)
        if name.endswith(":80"):
            owner.setdefault(name.removesuffix(":80"), name)
    for name, domains in wanted:
        for domain in domains:
            owner.setdefault(domain, name)
    kept = {name: tuple(d for d in domains if owner[d] == name) for name, domains in wanted}
    return {name: kept[name] for name, domains in wanted if kept[name] != domains}
