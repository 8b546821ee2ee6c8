"""service-resolvers as policies: subsets of instances, connect timeouts, and how requests are spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from tulle.compile.consul.entries import Entries
from tulle.compile.memo import Memo
from tulle.compile.policies import Tuning
from tulle.model.resource import Resource
from tulle.model.service import Endpoint, Health
from tulle.resources import bexpr
from tulle.resources.consul import ServiceResolver
from tulle.resources.consul import resolver as spec
from tulle.resources.networking import traffic_policy as policy
from tulle.resources.networking.destination_rule import Subset

Chooser = Callable[[Endpoint], bool]
_SIMPLE = {
    spec.Policy.RANDOM: policy.SimpleLb.RANDOM,
    spec.Policy.ROUND_ROBIN: policy.SimpleLb.ROUND_ROBIN,
    spec.Policy.LEAST_REQUEST: policy.SimpleLb.LEAST_REQUEST,
}


def tunings(entries: Entries, memo: Memo) -> Iterator[Tuning]:
    for host, resolver in entries.resolvers.items():
        yield memo.get(("consul tuning", host), (resolver,), partial(_tuning, entries, host, resolver))


def _tuning(entries: Entries, host: str, resolver: Resource[ServiceResolver]) -> Tuning:
    said = resolver.spec
    return Tuning(
        key=resolver.key,
        members=(resolver.key,),
        host=host,
        policy=_policy(said),
        policy_source=resolver.at("spec"),
        subsets={name: (Subset.model_construct(name=name), resolver.at(f"spec.subsets.{name}")) for name in sorted(said.subsets)},
        overruled={},
        standing_in={name: _standing_in(entries, resolver, host, failover) for name, failover in said.failover.items()},
        choosers={name: _chooser(subset) for name, subset in said.subsets.items()},
    )


def _standing_in(entries: Entries, resolver: Resource[ServiceResolver], host: str, failover: spec.Failover) -> tuple[tuple[str, str], ...]:
    return tuple((entries.host(service, resolver.key.namespace, host), subset or "") for service, subset in failover.legs())


def _policy(said: ServiceResolver) -> policy.TrafficPolicy | None:
    pool = None
    if said.connect_timeout:
        pool = policy.ConnectionPool.model_construct(tcp=policy.TcpPool.model_construct(connect_timeout=said.connect_timeout))
    balancer = _balancer(said.load_balancer)
    return policy.TrafficPolicy.model_construct(connection_pool=pool, load_balancer=balancer) if pool or balancer else None


def _balancer(said: spec.LoadBalancer | None) -> policy.LoadBalancer | None:
    if said is None or said.policy is None:
        return None
    if said.policy in _SIMPLE:
        return policy.LoadBalancer.model_construct(simple=_SIMPLE[said.policy])
    ring = said.ring_hash_config.minimum_ring_size if said.ring_hash_config else None
    sizes: dict[str, Any] = {"ring_hash": policy.RingHash.model_construct(minimum_ring_size=ring or 0)}
    if said.policy is spec.Policy.MAGLEV:
        sizes = {"maglev": policy.Maglev.model_construct(table_size=_MAGLEV)}
    hashed = policy.ConsistentHash.model_construct(**_hashed(said.hash_policies), **sizes)
    return policy.LoadBalancer.model_construct(consistent_hash=hashed)


_MAGLEV = 65537
"""Envoy's own size of the table."""


def _hashed(policies: tuple[spec.HashPolicy, ...]) -> Mapping[str, Any]:
    """The first policy speaks."""
    first = policies[0] if policies else spec.HashPolicy.model_construct(source_ip=True)
    if first.field is spec.HashField.HEADER:
        return {"http_header_name": first.field_value}
    if first.field is spec.HashField.QUERY_PARAMETER:
        return {"http_query_parameter_name": first.field_value}
    if first.field is spec.HashField.COOKIE:
        cookie = first.cookie_config
        made = policy.HttpCookie.model_construct(name=first.field_value or "", path=cookie.path if cookie else None, ttl=_lifetime(cookie))
        return {"http_cookie": made}
    return {"use_source_ip": True}


def _lifetime(cookie: spec.CookieConfig | None) -> timedelta | None:
    """None where the proxy only reads the cookie and never makes it; zero for a cookie of the session."""
    if cookie is None:
        return None
    return timedelta() if cookie.session else cookie.ttl


def _chooser(subset: spec.Subset) -> Chooser:
    test = bexpr.compiled(subset.filter, spec.INSTANCE) if subset.filter else None

    def chosen(endpoint: Endpoint) -> bool:
        if subset.only_passing and endpoint.health is not Health.PASSING:
            return False
        return test is None or test(_shown(endpoint))

    return chosen


def _shown(endpoint: Endpoint) -> Mapping[str, Any]:
    """An instance as filters know it."""
    labels = dict(endpoint.labels)
    service = {
        "ID": endpoint.workload,
        "Service": labels.get("app", ""),
        "Tags": list(endpoint.tags),
        "Meta": labels,
        "Address": endpoint.address,
        "Port": endpoint.port,
    }
    return {"Service": service}
