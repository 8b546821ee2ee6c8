"""The rules for the callers of a service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from tulle.compile import actions, names
from tulle.compile.consul.entries import Entries
from tulle.compile.consul.legs import Leg, legs, operations, resolved
from tulle.compile.consul.matches import route_match
from tulle.compile.kinds import age
from tulle.compile.memo import Memo
from tulle.compile.steering import Parts, Steering, TcpRule
from tulle.model.resource import Resource
from tulle.model.routing import INVALID_BACKEND, Forward, RetryPolicy, Route, RouteMatch, Skipped, WeightedCluster
from tulle.model.traffic import HashPolicy
from tulle.resources.consul import ServiceResolver
from tulle.resources.consul import router as spec
from tulle.resources.networking.common import Destination
from tulle.resources.networking.virtual_service import TcpDestination, TcpRoute, VirtualService

if TYPE_CHECKING:
    from tulle.compile.routes import Place
    from tulle.compile.scope import Scope
from tulle.compile.sniffing import is_told

_WEB = 80
_TRIES = 1
"""Retries, where conditions are given without a number."""


def steerings(entries: Entries, memo: Memo) -> Mapping[str, Steering]:
    """One for each service of which routers, splitters or resolvers speak, by its full name."""
    hosts = sorted({*entries.routers, *entries.splitters, *(h for h, r in entries.resolvers.items() if _steers(r))})
    return memo.get(("consul steerings",), (entries,), lambda: {host: _steering(entries, host) for host in hosts})


def _steers(resolver: Resource[ServiceResolver]) -> bool:
    said = resolver.spec
    return bool(said.default_subset or said.request_timeout or (said.redirect and (said.redirect.service or said.redirect.service_subset)))


def _steering(entries: Entries, host: str) -> Steering:
    speaker = entries.routers.get(host) or entries.splitters.get(host) or entries.resolvers[host]
    targets = {host, *(leg.host for leg in reached(entries, host))}
    return Steering(
        key=speaker.key,
        resource=cast("Resource[VirtualService]", speaker),
        age=age(speaker),
        hosts=(host,),
        gateways=frozenset((names.MESH,)),
        http=(),
        tcp=tuple(_whole(entries, host)),
        targets=tuple(sorted(targets)),
        make=partial(_routes, entries, host),
    )


def reached(entries: Entries, host: str) -> Iterator[Leg]:
    """All ends of the requests for a service."""
    router = entries.routers.get(host)
    for index, route in enumerate(router.spec.routes if router else ()):
        if router:
            yield from _legs_of(entries, router, host, index, route)
    yield from legs(entries, _start(entries, host))


def _start(entries: Entries, host: str) -> Leg:
    speaker = entries.splitters.get(host) or entries.resolvers.get(host) or entries.routers[host]
    return Leg(host=host, source=speaker.at("spec"))


def _legs_of(entries: Entries, router: Resource[spec.ServiceRouter], host: str, index: int, route: spec.Route) -> tuple[Leg, ...]:
    to = route.destination or spec.Destination()
    own = entries.host(to.service, router.key.namespace, host)
    return legs(entries, Leg(host=own, subset=to.service_subset or "", source=router.at(f"spec.routes[{index}]")))


def _whole(entries: Entries, host: str) -> Iterator[TcpRule]:
    """Connections that are not looked into follow the resolver alone."""
    resolver = entries.resolvers.get(host)
    if resolver is None or not _steers(resolver):
        return
    leg = resolved(entries, Leg(host=host, source=resolver.at("spec")))
    to = Destination.model_construct(host=leg.host, subset=leg.subset or None, port=None)
    yield TcpRule(spec=TcpRoute.model_construct(match=(), route=(TcpDestination.model_construct(destination=to),)), source=leg.source)


# === routes


def _routes(entries: Entries, host: str, place: Place) -> Parts:
    """The router's routes; what none of them is for goes to the service itself."""
    found: list[Route] = []
    skipped: list[Skipped] = []
    router = entries.routers.get(host)
    for index, route in enumerate(router.spec.routes if router else ()):
        if router is None:
            break
        if found and found[-1].match.catches_all:
            skipped.append(Skipped(source=router.at(f"spec.routes[{index}]"), why=f"never reached: {found[-1].source} takes every request"))
            continue
        found.append(_route(entries, router, host, index, route, place))
    if not (found and found[-1].match.catches_all):
        start = _start(entries, host)
        action = _forward(entries, legs(entries, start), spec.Destination(), place)
        found.append(Route(name="", match=RouteMatch(), action=action, source=start.source))
    return tuple(found), tuple(skipped)


def _route(entries: Entries, router: Resource[spec.ServiceRouter], host: str, index: int, route: spec.Route, place: Place) -> Route:
    to = route.destination or spec.Destination()
    return Route(
        name="",
        match=route_match(route.match.http if route.match else None),
        action=_forward(entries, _legs_of(entries, router, host, index, route), to, place),
        request_headers=operations(to.request_headers),
        response_headers=operations(to.response_headers),
        source=router.at(f"spec.routes[{index}]"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What a leg comes to at a place. `cluster` is empty where there is none, and `why` says why."""

    cluster: str = ""
    hash: HashPolicy | None = None
    told: bool = False
    """See WeightedCluster."""
    why: str = ""


def end(leg: Leg, scope: Scope, port: int) -> End:
    """On the port that was called, where the service has it: what stands in for another service often has other ports."""
    backend = scope.backends.get(leg.host)
    if backend is None:
        return End(why=f"service {leg.host} is not known")
    numbers = [p.number for p in backend.ports]
    number = next((n for n in (port, _WEB, *numbers) if n in numbers), None)
    if number is None:
        return End(why=f"service {leg.host} has no port")
    tuning = scope.tuning(leg.host)
    if leg.subset and (tuning is None or leg.subset not in tuning.subsets):
        return End(why=f'service {leg.host} has no subset "{leg.subset}" in a service-resolver')
    policy = tuning.traffic_policy(number, leg.subset) if tuning else None
    return End(
        cluster=names.cluster_name(leg.host, number, leg.subset),
        hash=policy.load_balancer.hash if policy else None,
        told=is_told(scope, leg.host, number, leg.subset),
    )


def _forward(entries: Entries, ends: tuple[Leg, ...], to: spec.Destination, place: Place) -> Forward:
    found = [end(leg, place.scope, place.port) for leg in ends]
    hashes = tuple(dict.fromkeys(e.hash for e in found if e.hash))
    limits = (r.spec.request_timeout for leg in ends if (r := entries.resolvers.get(leg.host)))
    shares = tuple(_share(leg, e, alone=len(ends) == 1) for leg, e in zip(ends, found, strict=True))
    return Forward(
        clusters=shares if any(e.cluster for e in found) else (),
        timeout=to.request_timeout or next((limit for limit in limits if limit), None),
        retry=_retry(to, hashed=bool(hashes)),
        prefix_rewrite=to.prefix_rewrite or None,
        hash_policies=hashes,
    )


def _share(leg: Leg, found: End, *, alone: bool) -> WeightedCluster:
    return WeightedCluster(
        cluster=found.cluster or INVALID_BACKEND,
        weight=1 if alone else leg.parts,
        told=found.told,
        request_headers=leg.request,
        response_headers=leg.response,
    )


def _retry(to: spec.Destination, *, hashed: bool) -> RetryPolicy | None:
    usual = actions.retry_policy(None, hashed=hashed)
    words = (*to.retry_on, *(("connect-failure",) if to.retry_on_connect_failure else ()))
    words += ("retriable-status-codes",) if to.retry_on_status_codes else ()
    if usual is None or (to.num_retries is None and not words):
        return usual
    if to.num_retries == 0 and not words:
        return None
    return RetryPolicy(
        attempts=to.num_retries or _TRIES,
        retry_on=tuple(dict.fromkeys(words)) or usual.retry_on,
        retriable_status_codes=to.retry_on_status_codes,
        other_hosts=usual.other_hosts,
    )
