"""TLS towards those who are called: what DestinationRules say of it, put on clusters."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace

from tulle.compile import names, tls
from tulle.compile.catalog import Backend
from tulle.compile.gatewayapi import backend_tls, backend_traffic
from tulle.compile.gatewayapi.backend_tls import Claim
from tulle.compile.gatewayapi.clients import Client, own_clusters, own_endpoints
from tulle.compile.gatewayapi.servers import NAME_LABEL
from tulle.compile.memo import Memo
from tulle.compile.policies import Tuning
from tulle.compile.scope import Scope
from tulle.model.proxy import Cluster, EndpointGroup, Role
from tulle.model.service import Protocol, Resolution


def secured(scope: Scope, backend: Backend, made: tuple[Cluster, ...], memo: Memo, *which: Hashable) -> tuple[Cluster, ...]:
    """The clusters of a service, encrypted as its DestinationRule says, and at gateways as a BackendTLSPolicy does.

    Retries are limited as an XBackendTrafficPolicy says. `which` tells apart several sets of them.
    """
    spoken = _spoken(scope, backend, made, memo, *which)
    ruled = _limited(scope, backend, _by_rules(scope, backend, spoken, memo, *which), memo, *which)
    claims = scope.structure.rules.gateway_api.tls_claims.get(backend.key, ()) if scope.id.role is Role.GATEWAY else ()
    if not claims:
        return ruled
    found = clients_of(scope)
    places = (*backend_tls.secrets(claims), *(client.place for client in found))
    calls = scope.structure.rules.gateway_api.calls.get(backend.key.host, frozenset())
    made_from = (ruled, backend, claims, found, calls, *(scope.structure.credentials.get(place) for place in places))
    return memo.get(
        ("claimed", scope.id, backend.key, *which), made_from, lambda: tuple(_claimed(scope, backend, ruled, claims, found, calls))
    )


def clients_of(scope: Scope) -> tuple[Client, ...]:
    """The Gateways served by the proxies of a scope that show a certificate of their own to backends."""
    if scope.id.role is not Role.GATEWAY:
        return ()
    found = scope.structure.rules.gateway_api.clients.values()
    return tuple(client for client in found if scope.labels.get(NAME_LABEL, client.gateway.name) == client.gateway.name)


def endpoints_for(scope: Scope, backend: Backend, groups: tuple[EndpointGroup, ...], memo: Memo) -> tuple[EndpointGroup, ...]:
    """The endpoints of a service's clusters, those of such Gateways included."""
    claims, found = scope.structure.rules.gateway_api.tls_claims.get(backend.key, ()), clients_of(scope)
    if not claims or not found:
        return groups
    claimed = frozenset(names.cluster_name(backend.key.host, p.number) for p in backend.ports if backend_tls.for_port(claims, p))
    name = ("endpoints of clients", scope.id, backend.key)
    return memo.get(name, (groups, claimed, found), lambda: tuple(own_endpoints(groups, claimed, found)))


def _spoken(scope: Scope, backend: Backend, made: tuple[Cluster, ...], memo: Memo, *which: Hashable) -> tuple[Cluster, ...]:
    """A gateway guesses no protocol; but a port that says nothing and that a GRPCRoute sends to is spoken to as callers speak."""
    calls = scope.structure.rules.gateway_api.calls.get(backend.key.host) if scope.id.role is Role.GATEWAY else None
    if not calls:
        return made
    silent = frozenset(p.number for p in backend.ports if p.protocol is Protocol.AUTO and p.number in calls)
    name = ("spoken", scope.id, backend.key, *which)
    return memo.get(name, (made, silent), lambda: tuple(_as_called(c) if _port(c) in silent else c for c in made))


def _port(cluster: Cluster) -> int:
    """Its number among those for connections; 0 for one for datagrams."""
    return 0 if "/udp|" in cluster.name else names.parse_cluster_name(cluster.name)[0]


def _as_called(cluster: Cluster) -> Cluster:
    pool = replace(cluster.policy.connection_pool, use_client_protocol=True)
    return replace(cluster, policy=replace(cluster.policy, connection_pool=pool))


def _limited(scope: Scope, backend: Backend, made: tuple[Cluster, ...], memo: Memo, *which: Hashable) -> tuple[Cluster, ...]:
    """With the budget for retries that an XBackendTrafficPolicy sets."""
    policy = scope.structure.rules.gateway_api.budgets.get(backend.key)
    if policy is None:
        return made
    name = ("limited", scope.id, backend.key, *which)
    return memo.get(name, (made, policy), lambda: tuple(backend_traffic.limited(cluster, policy) for cluster in made))


def _claimed(
    scope: Scope, backend: Backend, made: tuple[Cluster, ...], claims: tuple[Claim, ...], found: tuple[Client, ...], calls: frozenset[int]
) -> Iterator[Cluster]:
    """`calls`: the ports that GRPCRoutes send to, which speak as callers do, also where they say no more than that it is over TLS."""
    by_number = {p.number: p for p in backend.ports}
    for cluster in made:
        claim = backend_tls.for_port(claims, by_number.get(port)) if (port := _port(cluster)) else None
        secure = backend_tls.secured(cluster, claim, scope.keyring) if claim else cluster
        secure = replace(_as_called(secure), http=True) if claim and port in calls and not secure.http2 else secure
        yield secure
        if claim and not names.parse_cluster_name(cluster.name)[1]:
            yield from own_clusters(secure, found, scope.keyring)


def _by_rules(scope: Scope, backend: Backend, made: tuple[Cluster, ...], memo: Memo, *which: Hashable) -> tuple[Cluster, ...]:
    tuning = scope.tuning(backend.key.host)
    if tuning is None or not tuning.encrypts:
        return made
    made_from = (made, backend, tuning, *scope.keyring.behind(tuning.credentials))
    name = ("secured", scope.id, backend.key, *which)
    return memo.get(name, made_from, lambda: tuple(_secured(scope, backend, cluster, tuning) for cluster in made))


def _secured(scope: Scope, backend: Backend, cluster: Cluster, tuning: Tuning) -> Cluster:
    number, subset, host = names.parse_cluster_name(cluster.name)
    settings = tuning.client_tls(number, subset) if _port(cluster) else None
    if settings is None:
        return cluster
    asked = "" if names.is_wildcard(host) else host
    own_names = backend.service.subject_alt_names
    made = tls.upstream(settings, scope.keyring, own_names, asked, http=cluster.http, http2=cluster.http2)
    if isinstance(made, tls.Missing):
        # Nothing goes out in plain text because a certificate is missing: there is nowhere to go.
        return replace(cluster, resolution=Resolution.STATIC, endpoints=(), localities=())
    return replace(cluster, tls=made) if made else cluster
