"""All that can answer for a service: registered instances and WorkloadEntries, found by label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tulle.model.frozen import FrozenMap
from tulle.model.identity import Labels, selects
from tulle.model.service import Endpoint, Health, Port, Protocol, RegisteredPort

IndexKey = tuple[str, str, str]
SERVICE = ""
"""The index's own label for the service that an instance was registered for: no user's label has an empty name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """One instance, and on which of its ports it answers for a port of a service."""

    id: str
    namespace: str
    labels: Labels
    endpoint: Endpoint
    """Everything but the port."""
    registered: tuple[RegisteredPort, ...] | None = None
    """The ports that it registered; None for a WorkloadEntry, which answers on any."""
    named: FrozenMap[str, int] = FrozenMap()
    """A WorkloadEntry's ports by name."""
    service: str = ""
    """The service that it was registered for."""

    def terms(self) -> Iterable[IndexKey]:
        yield from ((self.namespace, key, value) for key, value in self.labels.items())
        if self.service:
            yield (self.namespace, SERVICE, self.service)

    def own_port(self, port: Port) -> int | None:
        """The instance's own number for a service's port, which for a registered one is not where its sidecar listens."""
        if self.registered is None:
            return _entry_port(self.named, port)
        found = _registered_port(self.registered, port)
        return found.number if found else None

    def port_for(self, port: Port) -> int | None:
        """Where this instance answers for a service's port; None where it does not."""
        if self.registered is None:
            return _entry_port(self.named, port)
        found = _registered_port(self.registered, port)
        return found.target if found else None

    def answer(self, port: Port) -> Endpoint | None:
        if self.endpoint.health is Health.CRITICAL or not self.endpoint.address:
            return None
        if self.endpoint.address.startswith(("/", "@")):
            return self.endpoint
        number = self.port_for(port)
        return None if number is None else replace(self.endpoint, port=number)


def _entry_port(named: Mapping[str, int], port: Port) -> int:
    if port.name in named:
        return named[port.name]
    if isinstance(port.target, str):
        return named.get(port.target, port.number)
    return port.target or port.number


def _registered_port(ports: tuple[RegisteredPort, ...], port: Port) -> RegisteredPort | None:
    """By the service's targetPort, else by its number, else by its name."""
    udp = port.protocol is Protocol.UDP
    alike = [p for p in reversed(ports) if (p.protocol is Protocol.UDP) == udp]
    by_number = {p.number: p for p in alike}
    by_name = {p.name: p for p in alike if p.name}
    target = by_name.get(port.target) if isinstance(port.target, str) else by_number.get(port.target or 0)
    if target is None:
        target = by_number.get(port.number)
    return by_name.get(port.name) if target is None else target


class Workloads:
    """Workloads by id, and an index by label. Never changed: `updated` gives a new one that shares what stayed."""

    __slots__ = ("_by_id", "_index")

    def __init__(self, by_id: Mapping[str, Workload], index: Mapping[IndexKey, frozenset[str]]) -> None:
        self._by_id = by_id
        self._index = index

    def updated(self, changes: Mapping[str, Workload | None]) -> tuple[Workloads, tuple[Workload, ...]]:
        """The picture after changes by id (None: went away), and the workloads concerned in their old and new form."""
        real = {i: w for i, w in changes.items() if self._by_id.get(i) != w}
        if not real:
            return self, ()
        gone = [self._by_id[i] for i in real if i in self._by_id]
        come = [w for w in real.values() if w is not None]
        by_id = {i: w for i, w in {**self._by_id, **real}.items() if w is not None}
        return Workloads(by_id, _reindexed(self._index, gone, come)), (*gone, *come)

    def matching(self, namespace: str, selector: Mapping[str, str]) -> tuple[Workload, ...]:
        """The workloads of a namespace that bear all labels of a selector, by id. An empty selector selects none here."""
        sets = [self._index.get((namespace, key, value), frozenset()) for key, value in selector.items()]
        if not sets:
            return ()
        return tuple(self._by_id[i] for i in sorted(frozenset.intersection(*sets)))

    def entries(self) -> tuple[Workload, ...]:
        """Those of WorkloadEntries, by id."""
        return tuple(workload for _, workload in sorted(self._by_id.items()) if workload.registered is None)

    def registered_services(self) -> frozenset[tuple[str, str]]:
        """Namespace and name of each service that has a registered instance."""
        return frozenset((namespace, value) for namespace, key, value in self._index if key == SERVICE)


def _reindexed(
    index: Mapping[IndexKey, frozenset[str]], gone: Iterable[Workload], come: Iterable[Workload]
) -> Mapping[IndexKey, frozenset[str]]:
    touched: dict[IndexKey, set[str]] = {}

    def members(term: IndexKey) -> set[str]:
        if term not in touched:
            touched[term] = set(index.get(term, ()))
        return touched[term]

    for workload in gone:
        for term in workload.terms():
            members(term).discard(workload.id)
    for workload in come:
        for term in workload.terms():
            members(term).add(workload.id)
    merged = {**index, **{term: frozenset(ids) for term, ids in touched.items()}}
    return {term: ids for term, ids in merged.items() if ids} if any(not ids for ids in touched.values()) else merged


NO_WORKLOADS = Workloads({}, {})


def chosen_by(selector: Mapping[str, str], namespace: str, workload: Workload) -> bool:
    """Whether a selector as given to `Workloads.matching` picks the workload."""
    if namespace != workload.namespace or not selector:
        return False
    if SERVICE in selector:
        return selector[SERVICE] == workload.service
    return selects(selector, workload.labels)
