"""HTTP rules of VirtualServices as routes (BEHAVIOURS 1, 2, 4, 8, 11 and 12)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tulle.compile import actions, match, names, subnets
from tulle.compile.catalog import Backend
from tulle.compile.scope import Scope
from tulle.compile.sniffing import is_told
from tulle.compile.steering import Condition, HttpRule, Parts, Steering
from tulle.model.identity import selects
from tulle.model.routing import (
    Action,
    Compare,
    Forward,
    HeaderMatch,
    HeaderOps,
    Mirror,
    Route,
    RouteMatch,
    Skipped,
    StringMatch,
    WeightedCluster,
)
from tulle.model.traffic import HashPolicy
from tulle.resources.networking.common import Destination
from tulle.resources.networking.http_actions import Headers
from tulle.resources.networking.virtual_service import HttpDestination, TcpMatch, TlsMatch

BLACK_HOLE = "BlackHoleCluster"
"""Stands in for the share of a destination that does not exist: it has no endpoints, so that share is answered with 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where routes are made for."""

    scope: Scope
    port: int
    """The port that requests come to: a service's, or a gateway server's as declared."""
    gateways: frozenset[str] = frozenset((names.MESH,))
    udp: bool = False
    """For datagrams, which go to UDP ports."""
    encrypted: bool = False
    """Requests come over TLS that is ended here."""
    dialled: tuple[str, ...] = ()
    """The addresses that stand for the service that callers mean, where nobody sees which one they dialled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a destination comes to."""

    cluster: str = ""
    """Empty where there is none."""
    hash: HashPolicy | None = None
    dial: int = 0
    """Where the host that is asked for is dialled itself: its port."""
    told: bool = False
    """See WeightedCluster."""
    why: str = ""
    """What is wrong with it."""


def target(scope: Scope, destination: Destination, namespace: str, port: int, *, udp: bool = False) -> Target:
    """The cluster that a destination of a rule means; `port` is what it stands for where it names none."""
    host = names.resolve(destination.host, namespace, scope.domain)
    backend = scope.backends.get(host)
    if backend is None:
        full = f"{host}.svc.{scope.domain}"
        hint = f"; its full name is {full}" if full in scope.backends else ""
        return Target(why=f"host {host} is not known in namespace {scope.namespace}{hint}")
    return _target(scope, backend, destination, port, udp=udp)


def _target(scope: Scope, backend: Backend, destination: Destination, port: int, *, udp: bool = False) -> Target:
    numbers = [p.number for p in backend.served(udp=udp)]
    number = destination.port.number if destination.port else (numbers[0] if len(numbers) == 1 else port)
    host, subset = backend.key.host, destination.subset or ""
    if number not in numbers:
        has = ", ".join(map(str, numbers)) or "none"
        return Target(why=f"host {host} has no {'UDP ' if udp else ''}port {number} (its ports: {has})")
    tuning = scope.tuning(host)
    if subset and (tuning is None or subset not in tuning.subsets):
        return Target(why=f'host {host} has no subset "{subset}" in a DestinationRule')
    policy = tuning.traffic_policy(number, subset) if tuning else None
    return Target(
        cluster=names.cluster_name(host, number, subset, udp=udp),
        hash=policy.load_balancer.hash if policy else None,
        dial=backend.dials(number),
        told=is_told(scope, host, number, subset),
    )


def default_route(place: Place, backend: Backend) -> Route:
    """What happens to requests for a service of which no rule speaks."""
    only = _target(place.scope, backend, Destination.model_construct(host=backend.key.host), place.port)
    clusters = (WeightedCluster(cluster=only.cluster, dial=only.dial, told=only.told),) if only.cluster else ()
    hashes = (only.hash,) if only.hash else ()
    return Route(
        name="default",
        match=match.ANY,
        action=Forward(clusters=clusters, retry=actions.retry_policy(None, hashed=bool(hashes)), hash_policies=hashes),
    )


def http_routes(steering: Steering, place: Place) -> Parts:
    """The routes of a VirtualService at a place, and the rules that are not in force there. One that takes every request is the last."""
    if steering.make is not None:
        return steering.make(place)
    routes: list[Route] = []
    skipped: list[Skipped] = []
    final: Route | None = None
    for rule in steering.http:
        for condition in rule.conditions:
            why = _elsewhere(condition, place, final)
            if why:
                skipped.append(Skipped(source=condition.source, why=why))
                continue
            route = _route(rule, condition, place)
            routes.append(route)
            if route.match.catches_all:
                final = route
    return tuple(routes), tuple(skipped)


def _elsewhere(condition: Condition, place: Place, final: Route | None) -> str:
    if final is not None and final.source is not None:
        return f"never reached: {final.source} ({final.source.origin}) takes every request"
    spec = condition.spec
    if spec is None:
        return ""
    if names.MESH in place.gateways and (claim := match.claim_in(spec)):
        return f"{claim} is known at gateways only"
    own = condition.source.key.namespace
    return proxy_mismatch(place, own, spec.port, spec.source_labels, spec.source_namespace, spec.gateways)


def proxy_mismatch(
    place: Place, namespace: str, port: int | None, labels: Mapping[str, str], source_namespace: str | None, gateways: tuple[str, ...]
) -> str:
    """Why a condition on the proxy, rather than on the request, does not hold; empty where it does."""
    if gateways and not place.gateways & {names.gateway_name(g, namespace) for g in gateways}:
        return f"only for gateways {', '.join(gateways)}"
    if port and port != place.port:
        return f"only for port {port}"
    if not selects(labels, place.scope.labels):
        return f"only for callers with labels {', '.join(f'{k}={v}' for k, v in sorted(labels.items()))}"
    if source_namespace and source_namespace != place.scope.namespace:
        return f"only for callers in namespace {source_namespace}"
    return ""


def tcp_mismatch(place: Place, namespace: str, spec: TcpMatch) -> str:
    """As at a sidecar, which does not see the addresses of its callers."""
    if spec.source_subnet:
        return "a sidecar does not know the address of the caller"
    return subnet_mismatch(place, spec.destination_subnets) or proxy_condition_mismatch(place, namespace, spec)


def subnet_mismatch(place: Place, wanted: tuple[str, ...]) -> str:
    """Why a condition on the address that was dialled does not hold at a sidecar: it is one of the service's."""
    if not wanted or any(subnets.lies_in(address, wanted) for address in place.dialled):
        return ""
    return f"only for addresses in {', '.join(wanted)}"


def proxy_condition_mismatch(place: Place, namespace: str, spec: TcpMatch | TlsMatch) -> str:
    return proxy_mismatch(place, namespace, spec.port, spec.source_labels, spec.source_namespace, spec.gateways)


def _route(rule: HttpRule, condition: Condition, place: Place) -> Route:
    spec = rule.spec
    names_ = (spec.name, condition.spec.name if condition.spec else None)
    single = spec.route[0] if len(_weighted(spec.route)) == 1 and not (spec.redirect or spec.direct_response) else None
    request, response = _operations(spec.headers, _weighted(spec.route)[0].headers if single else None)
    action = _action(rule, place)
    return Route(
        name=".".join(name for name in names_ if name),
        match=_within_reach(match.route_match(condition.spec) if condition.spec else RouteMatch(), action, place),
        action=action,
        request_headers=request,
        response_headers=response,
        fault=actions.fault(spec.fault),
        cors=actions.cors(spec.cors_policy),
        stat_prefix=(condition.spec.stat_prefix or "") if condition.spec else "",
        source=condition.source,
        via=rule.via,
    )


def _within_reach(wanted: RouteMatch, action: Action, place: Place) -> RouteMatch:
    """A destination that is a wildcard stands for the host that is asked for, so only hosts of which it speaks may be asked for there.

    At gateways, whose callers are strangers, on no other port either.
    """
    if not isinstance(action, Forward) or action.host_rewrite is not None:
        return wanted
    port = r"\d+" if names.MESH in place.gateways else "{dial}"
    reach = {(names.parse_cluster_name(c.cluster)[2], port.format(dial=c.dial)) for c in action.clusters if c.dial}
    inside = tuple(
        HeaderMatch(name=":authority", match=StringMatch(compare=Compare.REGEX, value=f"(?i)[^:]+{re.escape(host[1:])}(:{port})?"))
        for host, port in sorted(reach)
    )
    return replace(wanted, headers=(*wanted.headers, *inside)) if inside else wanted


def _operations(*headers: Headers | None) -> tuple[HeaderOps, HeaderOps]:
    return (
        actions.header_ops(*(h.request for h in headers if h)),
        actions.header_ops(*(h.response for h in headers if h)),
    )


def _action(rule: HttpRule, place: Place) -> Action:
    spec = rule.spec
    if spec.redirect is not None:
        return actions.redirect(spec.redirect, place.port, encrypted=place.encrypted)
    if spec.direct_response is not None:
        return actions.direct_response(spec.direct_response)
    return _forward(rule, place)


def _weighted(destinations: tuple[HttpDestination, ...]) -> tuple[HttpDestination, ...]:
    """Those that get a share. A lone destination gets everything, whatever its weight."""
    return destinations if len(destinations) == 1 else tuple(d for d in destinations if d.weight)


def _forward(rule: HttpRule, place: Place) -> Forward:
    spec = rule.spec
    chosen = _weighted(spec.route)
    targets = [target(place.scope, d.destination, rule.namespace, place.port) for d in chosen]
    known = any(t.cluster for t in targets)
    alone = len(chosen) == 1
    hashes = tuple(dict.fromkeys(t.hash for t in targets if t.hash))
    rewrite = spec.rewrite
    regex = rewrite.uri_regex_rewrite if rewrite else None
    return Forward(
        clusters=tuple(_share(d, t, alone=alone) for d, t in zip(chosen, targets, strict=True)) if known else (),
        timeout=spec.timeout or None,
        retry=actions.retry_policy(spec.retries, hashed=bool(hashes)),
        prefix_rewrite=(rewrite.uri or None) if rewrite and not regex else None,
        regex_rewrite=(regex.match, regex.rewrite) if regex else None,
        host_rewrite=_host_rewrite(rule, chosen),
        mirrors=tuple(_mirrors(rule, place)),
        hash_policies=hashes,
    )


def _host_rewrite(rule: HttpRule, chosen: tuple[HttpDestination, ...]) -> str | None:
    """The rewrite's word counts before the headers', and the route's before that of a lone destination."""
    spec = rule.spec
    if spec.rewrite and spec.rewrite.authority:
        return spec.rewrite.authority
    own = actions.host_rewrite(spec.headers.request) if spec.headers else None
    lone = chosen[0].headers if len(chosen) == 1 else None
    return own or (actions.host_rewrite(lone.request) if lone else None)


def _share(destination: HttpDestination, found: Target, *, alone: bool) -> WeightedCluster:
    cluster = found.cluster or BLACK_HOLE
    if alone:
        return WeightedCluster(cluster=cluster, dial=found.dial, told=found.told)
    request, response = _operations(destination.headers)
    return WeightedCluster(
        cluster=cluster,
        weight=destination.weight or 0,
        told=found.told,
        request_headers=request,
        response_headers=response,
        host_rewrite=actions.host_rewrite(destination.headers.request) if destination.headers else None,
        dial=found.dial,
    )


def _mirrors(rule: HttpRule, place: Place) -> Iterator[Mirror]:
    spec = rule.spec
    wanted = [(m.destination, m.percentage) for m in spec.mirrors]
    if spec.mirror is not None:
        wanted.append((spec.mirror, spec.mirror_percentage))
    for destination, percentage in wanted:
        percent = 100.0 if percentage is None else percentage
        found = target(place.scope, destination, rule.namespace, place.port)
        if found.cluster and percent > 0:
            yield Mirror(cluster=found.cluster, percent=percent)
