"""TLS towards those who are called: what DestinationRules say of it, put on clusters."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from tulle.compile import names, tls
from tulle.compile.catalog import Backend
from tulle.compile.memo import Memo
from tulle.compile.policies import Tuning
from tulle.compile.scope import Scope
from tulle.model.proxy import Cluster
from tulle.model.service import Resolution


def secured(scope: Scope, backend: Backend, made: tuple[Cluster, ...], memo: Memo, *which: Hashable) -> tuple[Cluster, ...]:
    """The clusters of a service, encrypted as its DestinationRule says. `which` tells apart several sets of them."""
    tuning = scope.tuning(backend.key.host)
    if tuning is None or not tuning.encrypts:
        return made
    made_from = (made, backend, tuning, *scope.keyring.behind(tuning.credentials))
    name = ("secured", scope.id, backend.key, *which)
    return memo.get(name, made_from, lambda: tuple(_secured(scope, backend, cluster, tuning) for cluster in made))


def _secured(scope: Scope, backend: Backend, cluster: Cluster, tuning: Tuning) -> Cluster:
    _, number, subset, host = cluster.name.split("|", 3)
    settings = tuning.client_tls(int(number), subset)
    if settings is None:
        return cluster
    asked = "" if names.is_wildcard(host) else host
    own_names = backend.service.subject_alt_names
    made = tls.upstream(settings, scope.keyring, own_names, asked, http=cluster.http, http2=cluster.http2)
    if isinstance(made, tls.Missing):
        # Nothing goes out in plain text because a certificate is missing: there is nowhere to go.
        return replace(cluster, resolution=Resolution.STATIC, endpoints=(), localities=())
    return replace(cluster, tls=made) if made else cluster
