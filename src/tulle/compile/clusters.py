"""Services as clusters: one for each port, and one more for each port and subset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from tulle.compile import names, tls
from tulle.compile.catalog import Backend, EndpointSet
from tulle.compile.locality import ANYWHERE, Standpoint, asked_labels, grouped, in_force, stood_in
from tulle.compile.memo import Memo
from tulle.compile.policies import DEFAULT, Tuning
from tulle.compile.routes import BLACK_HOLE
from tulle.model.proxy import Cluster, EndpointGroup
from tulle.model.resource import Source
from tulle.model.service import Endpoint, Port, Protocol, Resolution
from tulle.model.tls import UpstreamTls
from tulle.model.traffic import Algorithm, LocalityRules, TrafficPolicy
from tulle.resources.networking.tls import ClientTlsMode

ALLOW_ANY = "AllowAnyDynamicDNSCluster"
CONNECT = "connect_http"
"""The internal listener, and the cluster that leads to it, for HTTP inside of CONNECT."""

_WEB = 80
_SERVING, _SILENT = 0.4, 0.08
"""Parts of the life of a connection, after which its caller leaves it: less than after which who is called ends it."""

BLACK_HOLE_CLUSTER = Cluster(name=BLACK_HOLE, policy=DEFAULT, endpoints=())
ALLOW_ANY_CLUSTER = Cluster(name=ALLOW_ANY, policy=DEFAULT, resolution=Resolution.DYNAMIC_DNS, http=True)
CONNECT_CLUSTER = Cluster(name=CONNECT, policy=DEFAULT, internal_listener=CONNECT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The services whose endpoints look different from different places."""

    hosts: frozenset[str] = frozenset()
    inline: frozenset[str] = frozenset()
    """Those whose endpoints are part of their clusters."""
    labels: frozenset[str] = frozenset()
    """What of a caller's labels their rules ask for."""
    zoned: bool = False
    """Whether rules ask how many callers each zone has."""


def placed(found: Iterable[tuple[Backend, Tuning | None]]) -> Placed:
    rules = {b: r for b, tuning in found if (r := tuple(_locality_rules(b, tuning)))}
    return Placed(
        hosts=frozenset(b.key.host for b in rules),
        inline=frozenset(b.key.host for b in rules if b.inline is not None),
        labels=asked_labels(rule for group in rules.values() for rule in group),
        zoned=any(rule.zones for group in rules.values() for rule in group),
    )


def _locality_rules(backend: Backend, tuning: Tuning | None) -> Iterator[LocalityRules]:
    if tuning is None and not backend.service.traffic_distribution:
        return
    for port, subset in _variants(backend, tuning):
        policy = tuning.traffic_policy(port.number, subset) if tuning else DEFAULT
        if rules := in_force(policy, backend.service):
            yield rules


def clusters(
    backend: Backend, tuning: Tuning | None, memo: Memo, *, edge: bool = False, caller: Standpoint = ANYWHERE
) -> tuple[Cluster, ...]:
    """`edge`: for a gateway, which never guesses what is spoken: it speaks HTTP/1.1 where nothing is said (BEHAVIOURS 14)."""
    name = ("clusters", backend.key, tuning.key if tuning else None, edge, caller)
    return memo.get(name, (backend, tuning), lambda: tuple(_clusters(backend, tuning, edge, caller)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A service whose endpoints are asked when another has none left."""

    endpoints: EndpointSet
    tuning: Tuning | None = None


StandIns = Mapping[str, StandIn]
"""By host."""


def endpoint_groups(
    backend: Backend,
    endpoints: EndpointSet,
    tuning: Tuning | None,
    memo: Memo,
    caller: Standpoint = ANYWHERE,
    stand_ins: StandIns = MappingProxyType({}),
) -> tuple[EndpointGroup, ...]:
    """Empty where the endpoints are part of the clusters."""
    if backend.resolution is not Resolution.STATIC:
        return ()
    name = ("endpoints", backend.key, tuning.key if tuning else None, caller)
    others = tuple(part for host in sorted(stand_ins) for part in (stand_ins[host].endpoints, stand_ins[host].tuning))
    made_from = (backend, endpoints, tuning, *others)
    return memo.get(name, made_from, lambda: tuple(_groups(backend, endpoints, tuning, caller, stand_ins)))


def _variants(backend: Backend, tuning: Tuning | None) -> Iterator[tuple[Port, str]]:
    for port in backend.service.ports:
        yield port, ""
        yield from ((port, subset) for subset in (tuning.subsets if tuning else ()))


def _clusters(backend: Backend, tuning: Tuning | None, edge: bool, caller: Standpoint) -> Iterator[Cluster]:
    for port, subset in _variants(backend, tuning):
        policy = tuning.traffic_policy(port.number, subset) if tuning else DEFAULT
        policy = policy if edge else _suited(policy, port)
        resolution, endpoints = _found(backend, port, tuning, subset)
        rules = in_force(policy, backend.service)
        forced, automatic = _mutual(backend, tuning, port, subset)
        http = port.protocol.is_http or port.protocol is Protocol.AUTO or policy.tunnel is not None
        yield Cluster(
            name=names.cluster_name(backend.key.host, port.number, subset, udp=port.protocol is Protocol.UDP),
            tls=forced,
            mesh_tls=automatic,
            policy=_bounded(_balanced(policy, rules), backend) if http and (forced or automatic) else _balanced(policy, rules),
            resolution=resolution,
            endpoints=endpoints,
            localities=grouped(endpoints, rules, caller) if endpoints else (),
            http=http,
            http2=port.protocol.is_http2 or policy.connection_pool.upgrade_to_http2,
            sources=tuple(_sources(backend, tuning, subset, endpoints or ())),
        )


def _mutual(backend: Backend, tuning: Tuning | None, port: Port, subset: str) -> tuple[UpstreamTls | None, UpstreamTls | None]:
    """The mesh's mutual TLS: towards all endpoints where a DestinationRule says so; where none speaks of TLS, to those that take it."""
    if port.protocol is Protocol.UDP:
        return None, None
    rule = tuning.client_tls(port.number, subset) if tuning else None
    wanted = rule is not None and rule.mode is ClientTlsMode.ISTIO_MUTUAL
    if not wanted and (rule is not None or not backend.identities):
        return None, None
    http2 = port.protocol.is_http2 or (tuning is not None and tuning.traffic_policy(port.number, subset).connection_pool.upgrade_to_http2)
    named = (rule.subject_alt_names if rule else ()) or backend.identities
    sni = (rule.sni if rule else "") or names.sni_name(backend.key.host, port.number, subset)
    made = tls.mesh_client(named, backend.trust_domains, sni, http=port.protocol.is_http, http2=http2)
    return (made, None) if wanted else (None, made)


def _bounded(policy: TrafficPolicy, backend: Backend) -> TrafficPolicy:
    """Connections that begin with the mesh's certificates are left before those who are called end them, unless a rule says when."""
    life, pool = backend.connection_life, policy.connection_pool
    if life is None or pool.max_connection_duration is not None:
        return policy
    silent = life * _SILENT if pool.idle_timeout is None and pool.tcp_idle_timeout is None else pool.idle_timeout
    return replace(policy, connection_pool=replace(pool, max_connection_duration=life * _SERVING, idle_timeout=silent))


def _suited(policy: TrafficPolicy, port: Port) -> TrafficPolicy:
    """On a port of which nothing is said, the endpoint is spoken to as the caller spoke."""
    if port.protocol is not Protocol.AUTO or policy.connection_pool.upgrade_to_http2:
        return policy
    return replace(policy, connection_pool=replace(policy.connection_pool, use_client_protocol=True))


def _found(backend: Backend, port: Port, tuning: Tuning | None, subset: str) -> tuple[Resolution, tuple[Endpoint, ...] | None]:
    if backend.inline is None:
        return Resolution.STATIC, None
    if backend.resolution is Resolution.DYNAMIC_DNS:
        return Resolution.DYNAMIC_DNS, None
    chosen = _picked(backend.inline.get(port.key, ()), tuning, subset)
    one_name = backend.resolution is Resolution.DNS_ROUND_ROBIN and len(chosen) == 1
    return (Resolution.DNS_ROUND_ROBIN if one_name else Resolution.DNS), chosen


def _balanced(policy: TrafficPolicy, rules: LocalityRules | None) -> TrafficPolicy:
    """PASSTHROUGH sends to the address that the caller dialled. A caller that names a service without such an address gets any endpoint,

    as behind a virtual address on Kubernetes. Of locality only what is in force is left.
    """
    balancer = policy.load_balancer
    algorithm = Algorithm.RANDOM if balancer.algorithm is Algorithm.PASSTHROUGH else balancer.algorithm
    if algorithm is balancer.algorithm and rules is balancer.locality:
        return policy
    return replace(policy, load_balancer=replace(balancer, algorithm=algorithm, locality=rules))


def _sources(backend: Backend, tuning: Tuning | None, subset: str, endpoints: Iterable[Endpoint]) -> Iterable[Source]:
    if backend.service.source:
        yield backend.service.source
    if tuning:
        yield tuning.source(subset)
    yield from dict.fromkeys(endpoint.source for endpoint in endpoints if endpoint.source)


def _groups(
    backend: Backend, endpoints: EndpointSet, tuning: Tuning | None, caller: Standpoint, stand_ins: StandIns
) -> Iterator[EndpointGroup]:
    for port, subset in _variants(backend, tuning):
        policy = tuning.traffic_policy(port.number, subset) if tuning else DEFAULT
        picked = _picked(endpoints.by_port.get(port.key, ()), tuning, subset)
        localities = grouped(picked, in_force(policy, backend.service), caller)
        if tuning and (behind := tuning.stand_ins(subset)):
            localities = stood_in(picked, localities, (_standing_in(stand_ins.get(h), s, port) for h, s in behind))
        yield EndpointGroup(
            name=names.cluster_name(backend.key.host, port.number, subset, udp=port.protocol is Protocol.UDP),
            endpoints=tuple(e for group in localities for e in group.endpoints) or picked,
            localities=localities,
            sources=tuple(_sources(backend, tuning, subset, picked)),
        )


def _picked(endpoints: tuple[Endpoint, ...], tuning: Tuning | None, subset: str) -> tuple[Endpoint, ...]:
    if not subset or tuning is None:
        return endpoints
    return tuple(e for e in endpoints if tuning.holds(subset, e))


def _standing_in(found: StandIn | None, subset: str, port: Port) -> tuple[Endpoint, ...]:
    """On the same port, else on 80, else on the first that it has; nobody where it lacks the subset."""
    if found is None or (subset and not (found.tuning and subset in found.tuning.subsets)):
        return ()
    ports = found.endpoints.by_port
    number = next((n for n in (port.key, _WEB, *ports) if n in ports), port.key)
    return _picked(ports.get(number, ()), found.tuning, subset)
