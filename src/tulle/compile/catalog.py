"""Services and their endpoints, kept up to date at the cost of what changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import NamedTuple, TypeVar, cast

from tulle.compile import names
from tulle.compile.memo import Memo
from tulle.compile.peers import Peers
from tulle.compile.services import Definition, of_registrations
from tulle.compile.workloads import NO_WORKLOADS, Workload, Workloads, chosen_by
from tulle.model.service import Endpoint, Port, Protocol, Resolution, Service

V = TypeVar("V")
ByPort = Mapping[int, tuple[Endpoint, ...]]


class ServiceKey(NamedTuple):
    """One host may be declared in several namespaces, each for itself."""

    host: str
    namespace: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Backend:
    """A service and how proxies find its endpoints. Equal by identity: the same object means that nothing in it changed."""

    key: ServiceKey
    service: Service
    resolution: Resolution
    """STATIC, DNS, DNS_ROUND_ROBIN or DYNAMIC_DNS: NONE has become one of them."""
    inline: ByPort | None = None
    """Endpoints by port of the service, where they are part of the cluster (names to look up)."""
    rank: tuple[int, int, str] = (0, 0, "")
    identities: tuple[str, ...] = ()
    """Those of its instances that have a sidecar, as SPIFFE writes them; empty where none takes mutual TLS."""
    trust_domains: tuple[str, ...] = ()
    """Of the mesh."""
    connection_life: timedelta | None = None
    """See MeshSettings."""

    @property
    def ports(self) -> tuple[Port, ...]:
        """The ports that proxies serve over TCP."""
        return tuple(p for p in self.service.ports if p.protocol is not Protocol.UDP)

    def dials(self, number: int) -> int:
        """The port on which the host that is asked for is dialled itself; 0 where the service has endpoints of its own."""
        port = self.service.port(number) if self.resolution is Resolution.DYNAMIC_DNS else None
        return _target(port) if port else 0

    def served(self, *, udp: bool) -> tuple[Port, ...]:
        """The ports that proxies serve over one of the two."""
        return tuple(p for p in self.service.ports if p.protocol is Protocol.UDP) if udp else self.ports


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EndpointSet:
    """The endpoints of a service by its ports. Equal by identity."""

    by_port: ByPort


NO_PEERS = Peers()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Catalog:
    workloads: Workloads = NO_WORKLOADS
    documents: Mapping[ServiceKey, tuple[Definition, ...]] = field(default_factory=dict)
    backends: Mapping[ServiceKey, Backend] = field(default_factory=dict)
    """The same mapping as in the mesh before, if only endpoints changed."""
    endpoints: Mapping[ServiceKey, EndpointSet] = field(default_factory=dict)
    peers: Peers = NO_PEERS


def update(
    before: Catalog,
    changes: Mapping[str, Workload | None],
    documents: Mapping[ServiceKey, tuple[Definition, ...]],
    domain: str,
    peers: Peers,
    memo: Memo,
) -> Catalog:
    """The catalog after workloads changed (None: went away).

    `documents` and `peers` must be the same objects as before if nothing in them changed.
    """
    found, touched = before.workloads.updated(changes)
    everything = documents is not before.documents or peers is not before.peers
    if not touched and not everything:
        return before
    registered = {ServiceKey(names.resolve(name, ns, domain), ns): name for ns, name in found.registered_services()}
    keys = {*documents, *registered, *before.backends} if everything else _touched_keys(touched, documents, domain)
    backends: dict[ServiceKey, Backend | None] = {}
    endpoints: dict[ServiceKey, EndpointSet | None] = {}
    for key in keys:
        declared = _definitions(key, documents.get(key, ()), registered.get(key), found, domain)
        matched = tuple(found.matching(key.namespace, d.selector) for d in declared)
        made = memo.get(("service", key), (declared, matched, peers), partial(_compiled, key, declared, matched, peers, memo))
        backends[key], endpoints[key] = made
    return Catalog(
        workloads=found,
        documents=documents,
        backends=_merged(before.backends, backends),
        endpoints=_merged(before.endpoints, endpoints),
        peers=peers,
    )


def _merged(before: Mapping[ServiceKey, V], changes: Mapping[ServiceKey, V | None]) -> Mapping[ServiceKey, V]:
    """The same mapping as before if nothing in it changed."""
    if all(before.get(key) is value for key, value in changes.items()):
        return before
    after = {**before, **changes}
    if len(after) == len(before) and None not in changes.values():
        return cast("Mapping[ServiceKey, V]", after)
    return {key: after[key] for key in sorted(after) if after[key] is not None}  # type: ignore[misc]


def _touched_keys(touched: Iterable[Workload], documents: Mapping[ServiceKey, tuple[Definition, ...]], domain: str) -> set[ServiceKey]:
    changed = tuple(touched)
    found = {ServiceKey(names.resolve(w.service, w.namespace, domain), w.namespace) for w in changed if w.service}
    for key, definitions in documents.items():
        if any(chosen_by(d.selector, key.namespace, w) for d in definitions for w in changed):
            found.add(key)
    return found


def _definitions(
    key: ServiceKey, declared: tuple[Definition, ...], registered: str | None, workloads: Workloads, domain: str
) -> tuple[Definition, ...]:
    core = any(d.rank[0] == 0 for d in declared)
    if registered is None or core:
        return declared
    instances = workloads.matching(key.namespace, {"": registered})
    return (*declared, of_registrations(registered, key.namespace, domain, instances))


def _compiled(
    key: ServiceKey, declared: tuple[Definition, ...], matched: tuple[tuple[Workload, ...], ...], peers: Peers, memo: Memo
) -> tuple[Backend | None, EndpointSet | None]:
    if not declared:
        return None, None
    service = _united([d.service for d in declared])
    answers = {port.key: _answers(port, declared, matched, peers) for port in service.ports}
    identities = () if service.external else _identities(service, declared, matched, peers)
    resolution, by_port = _dialled(service, answers)
    inline = None if resolution is Resolution.STATIC else by_port
    backend = memo.get(
        ("backend", key),
        (service, resolution, inline, declared[0].rank, identities),
        lambda: Backend(
            key=key,
            service=service,
            resolution=resolution,
            inline=inline,
            rank=declared[0].rank,
            identities=identities,
            trust_domains=peers.trust_domains,
            connection_life=peers.connection_life,
        ),
    )
    return backend, memo.get(("endpoint set", key), (by_port,), lambda: EndpointSet(by_port=by_port))


def _united(services: list[Service]) -> Service:
    """Several definitions of one host in one namespace: the first speaks, the others add ports that it lacks."""
    first, *others = services
    if not others:
        return first
    ports = {p.key: p for s in reversed(services) for p in s.ports}
    return replace(first, ports=tuple(ports[n] for n in sorted(ports)))


def _identities(
    service: Service, declared: tuple[Definition, ...], matched: tuple[tuple[Workload, ...], ...], peers: Peers
) -> tuple[str, ...]:
    """Of all instances, well or not: a proxy need not be told anew each time one comes and goes."""
    ports = tuple(p for p in service.ports if p.protocol is not Protocol.UDP)
    everybody = (w for definition, found in zip(declared, matched, strict=True) for w in (*definition.fixed, *found))
    meshed = (w for w in everybody if any(_takes_mtls(w, port, peers) for port in ports))
    return peers.uris((w.namespace, w.endpoint.service_account or "default") for w in meshed)


def _takes_mtls(workload: Workload, port: Port, peers: Peers) -> bool:
    own = workload.own_port(port) if workload.endpoint.mtls and port.protocol is not Protocol.UDP else None
    return own is not None and peers.takes_mtls(workload.namespace, workload.labels, own)


def _answers(port: Port, declared: tuple[Definition, ...], matched: tuple[tuple[Workload, ...], ...], peers: Peers) -> tuple[Endpoint, ...]:
    found: dict[tuple[str, int], Endpoint] = {}
    for definition, workloads in zip(declared, matched, strict=True):
        own = definition.service.port(port.key)
        if own is None:
            continue
        for workload in (*definition.fixed, *workloads):
            endpoint = workload.answer(own)
            if endpoint is not None and endpoint.mtls and (definition.service.external or not _takes_mtls(workload, own, peers)):
                endpoint = replace(endpoint, mtls=False)
            if endpoint is not None:
                found.setdefault((endpoint.address, endpoint.port), endpoint)
    return tuple(sorted(found.values(), key=lambda e: (e.address, e.port, e.workload)))


def _dialled(service: Service, answers: ByPort) -> tuple[Resolution, ByPort]:
    """How endpoints are found. Without interception nobody knows the address that a caller of a NONE service dialled:

    what he named stands for it, an address of the service if it has any, else its host.
    """
    if service.resolution is Resolution.NONE:
        addresses = tuple(a for a in service.addresses if names.is_address(a))
        if addresses:
            return Resolution.STATIC, {p.key: tuple(Endpoint(address=a, port=_target(p)) for a in addresses) for p in service.ports}
        return _dialled(replace(service, resolution=Resolution.DYNAMIC_DNS), {})
    if service.resolution is Resolution.DYNAMIC_DNS and not names.is_wildcard(service.host):
        return _dialled(replace(service, resolution=Resolution.DNS), {})
    if service.resolution in (Resolution.DNS, Resolution.DNS_ROUND_ROBIN) and not names.is_wildcard(service.host):
        by_name = {p.key: (Endpoint(address=service.host, port=_target(p)),) for p in service.ports}
        return service.resolution, {n: answers.get(n) or fallback for n, fallback in by_name.items()}
    if service.resolution is Resolution.STATIC and any(_is_name(e.address) for found in answers.values() for e in found):
        return Resolution.DNS, answers
    return service.resolution, answers


def _is_name(address: str) -> bool:
    """Several definitions of one service may bring both addresses and names; to look up an address does no harm."""
    return not names.is_address(address) and not address.startswith(("/", "@"))


def _target(port: Port) -> int:
    return port.target if isinstance(port.target, int) and port.target else port.number
