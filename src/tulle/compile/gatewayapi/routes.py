"""Rules as routes, for the proxies of one place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from tulle.compile import actions, names
from tulle.compile.gatewayapi import filters, sessions
from tulle.compile.gatewayapi.clients import dialled
from tulle.compile.gatewayapi.references import Ref, judged
from tulle.compile.gatewayapi.rules import Entry, Rule, Share
from tulle.compile.sniffing import is_told
from tulle.model.routing import (
    INVALID_BACKEND,
    Action,
    DirectResponse,
    Forward,
    Mirror,
    RetryPolicy,
    Route,
    Skipped,
    WeightedCluster,
)
from tulle.model.traffic import HashPolicy
from tulle.resources.gatewayapi.http_route import HttpRetry, Timeouts
from tulle.resources.gatewayapi.session import SessionPersistence

if TYPE_CHECKING:
    from tulle.compile.routes import Place

_BROKEN = "reset"
"""Where a rule speaks of retries, connections that break and tries that take too long are among the reasons for one (GEP-1731)."""
_TRIES = 2
"""Retries, where a rule asks for some without a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _At:
    """Where routes are made for."""

    place: Place
    tls: bool
    """Whether callers speak TLS."""
    client: str
    """The Gateway that shows a certificate of its own to backends; empty where there is none."""


def routes(entries: Iterable[Entry], place: Place, *, tls: bool = False, client: str = "") -> tuple[tuple[Route, ...], tuple[Skipped, ...]]:
    """The routes of entries in order; what stands behind one that takes every request is left out."""
    at = _At(place=place, tls=tls, client=client)
    found: list[Route] = []
    skipped: list[Skipped] = []
    final: Entry | None = None
    for entry in entries:
        if final is not None:
            why = f"never reached: {final.source} ({final.source.origin}) takes every request"
            skipped.append(Skipped(source=entry.source, why=why))
            continue
        found += _with_session(_route(entry, at), entry.rule, at)
        if entry.match.catches_all:
            final = entry
    return tuple(found), tuple(skipped)


def _route(entry: Entry, at: _At) -> Route:
    rule, action = entry.rule, _action(entry, at)
    return Route(
        name=rule.name,
        match=entry.match,
        action=action,
        request_headers=rule.request,
        response_headers=rule.response,
        cors=filters.cors(rule.cors),
        source=entry.source,
        lost=tuple(_lost(rule, at)) if _fails(action, rule) else (),
    )


def _with_session(route: Route, rule: Rule, at: _At) -> Iterable[Route]:
    spec = rule.session or _of_backends(rule, at)
    return sessions.kept(route, spec) if spec else (route,)


def _of_backends(rule: Rule, at: _At) -> SessionPersistence | None:
    """What XBackendTrafficPolicies say of sessions, where they say the same of all backends."""
    scope = at.place.scope
    policies = scope.structure.rules.gateway_api.budgets
    backends = [scope.backends.get(share.ref.host) for share in rule.shares if share.weight]
    said = [p.spec.session_persistence if b and (p := policies.get(b.key)) else None for b in backends]
    return said[0] if said and all(one == said[0] for one in said) else None


def _action(entry: Entry, at: _At) -> Action:
    rule = entry.rule
    if rule.answer:
        return DirectResponse(status=rule.answer)
    if rule.unresolved[0] or rule.unsupported[0]:
        return DirectResponse(status=_failure(rule))
    if rule.redirect is not None:
        return filters.redirect(rule.redirect, entry.prefix, scheme="https" if at.tls else "http", port=at.place.port)
    chosen = [share for share in rule.shares if share.weight]
    found = [_cluster(share.ref, at) for share in chosen]
    if not any(found):
        return DirectResponse(status=_failure(rule))
    return _forward(entry, at, chosen, found)


def _fails(action: Action, rule: Rule) -> bool:
    """Whether some requests are answered with an error because the rule is not valid."""
    if isinstance(action, Forward):
        return any(cluster.cluster == INVALID_BACKEND for cluster in action.clusters)
    return isinstance(action, DirectResponse) and not rule.answer


def _lost(rule: Rule, at: _At) -> Iterator[Skipped]:
    """What of a rule leads nowhere, in the words of the route's status."""
    filters_lost = [verdict for verdict in (rule.unresolved, rule.unsupported) if verdict[0]]
    yield from (Skipped(source=rule.source, why=f"{reason}: {message}") for reason, message in filters_lost)
    chosen = [share.ref for share in rule.shares if share.weight]
    if not chosen and not filters_lost:
        yield Skipped(source=rule.source, why="it names no backend" + (" whose weight is more than 0" if rule.shares else ""))
    for ref in chosen:
        reason, message = judged(ref, at.place.scope)
        if reason:
            yield Skipped(source=ref.source, why=f"{reason}: {message}")


def _failure(rule: Rule) -> int:
    """What requests are told that are sent to nothing valid. gRPC makes UNAVAILABLE of 503."""
    return 503 if rule.grpc else 500


def _cluster(ref: Ref, at: _At) -> str:
    """Empty where the reference is not valid."""
    scope = at.place.scope
    return "" if judged(ref, scope)[0] else dialled(names.cluster_name(ref.host, ref.port), at.client, scope)


def _forward(entry: Entry, at: _At, chosen: list[Share], found: list[str]) -> Forward:
    rule = entry.rule
    hashes = tuple(dict.fromkeys(h for share, name in zip(chosen, found, strict=True) if name and (h := _hash(share.ref, at.place))))
    prefix, pattern = filters.path_rewrite(rule.rewrite.path, entry.prefix) if rule.rewrite else filters.AS_IS
    retry, timeout = _patience(rule.timeouts, _retry(rule.retry, hashed=bool(hashes)))
    return Forward(
        clusters=tuple(_weighted(share, name, at, alone=len(chosen) == 1) for share, name in zip(chosen, found, strict=True)),
        timeout=timeout,
        retry=retry,
        prefix_rewrite=prefix,
        regex_rewrite=pattern,
        host_rewrite=filters.rewritten_host(rule.rewrite) or rule.host,
        mirrors=tuple(_mirrors(rule, at)),
        hash_policies=hashes,
        unknown_status=_failure(rule) if not all(found) else 503,
    )


def _hash(ref: Ref, place: Place) -> HashPolicy | None:
    tuning = place.scope.tuning(ref.host)
    return tuning.traffic_policy(ref.port).load_balancer.hash if tuning else None


def _weighted(share: Share, name: str, at: _At, *, alone: bool) -> WeightedCluster:
    scope = at.place.scope
    return WeightedCluster(
        cluster=name or INVALID_BACKEND,
        weight=1 if alone else share.weight,
        told=is_told(scope, share.ref.host, share.ref.port),
        request_headers=share.request,
        response_headers=share.response,
        host_rewrite=share.host,
    )


def _mirrors(rule: Rule, at: _At) -> Iterator[Mirror]:
    for copy in rule.copies:
        if copy.percent and (name := _cluster(copy.ref, at)):
            yield Mirror(cluster=name, percent=copy.percent)


def _retry(rule: HttpRetry | None, *, hashed: bool) -> RetryPolicy | None:
    usual = actions.retry_policy(None, hashed=hashed)
    if rule is None or usual is None:
        return usual
    attempts = _TRIES if rule.attempts is None else rule.attempts
    if not attempts:
        return None
    conditions = (*usual.retry_on, _BROKEN)
    return replace(usual, attempts=attempts, retry_on=conditions, retriable_status_codes=rule.codes, backoff=rule.backoff or None)


def _patience(rule: Timeouts | None, retry: RetryPolicy | None) -> tuple[RetryPolicy | None, timedelta | None]:
    """Retries and the limit of a whole request. Where nothing is tried again, the limit of one try is that of the request."""
    if rule is None:
        return retry, None
    whole, one = rule.request or None, rule.backend_request or None
    if one and retry:
        return replace(retry, per_try_timeout=one), whole
    return retry, min((limit for limit in (whole, one) if limit), default=None)
