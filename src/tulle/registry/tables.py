"""The registry's picture in memory: what the store holds, found by name, and the topics that each change touches.

Only `apply` changes it. `tulle run` registrations stand in it as services of this agent's node, beside those of Consul's API.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote

from tulle.model.service import Registration
from tulle.registry import form, rows
from tulle.registry.catalog import Check, CheckKey, Kept, Node, NodeName, Service, ServiceKey, ValueT
from tulle.registry.coordinates import Coordinate
from tulle.registry.kv import Entry, Session
from tulle.registry.port import Changes, Row
from tulle.registry.runs import check_of_run, service_of_run
from tulle.registry.waiting import Topic

DEAD_KEYS = 10_000
"""So many deleted keys are remembered, so that no index goes down where they were."""
ALL_KEYS: Topic = ("kv keys",)
"""Touched with every key."""
Touched = list[tuple[Topic, int]]


class Tables:
    def __init__(self, local: NodeName) -> None:
        self.local = local
        """The node of this agent."""
        self.revision = 0
        self.nodes: dict[NodeName, Kept[Node]] = {}
        self.services: dict[ServiceKey, Kept[Service]] = {}
        self.checks: dict[CheckKey, Kept[Check]] = {}
        self.runs: dict[str, Registration] = {}
        """Registrations of `tulle run`, by id."""
        self._run_indices: dict[str, tuple[int, int]] = {}
        """When each was created, and when it changed."""
        self.kv: dict[str, Kept[Entry]] = {}
        self.sessions: dict[str, Kept[Session]] = {}
        self.queries: dict[str, Kept[dict[str, Any]]] = {}
        self.acl: dict[str, dict[str, Kept[dict[str, Any]]]] = {"token": {}, "policy": {}, "role": {}, "bootstrap": {}}
        """By kind and id."""
        self.acl_changes = 0
        """How often anything in `acl` has changed."""
        self.coordinates: dict[NodeName, Kept[Coordinate]] = {}
        self.moves = 0
        """How often anything in `coordinates` has changed."""
        self.self_id = ""
        """UUID of this agent's node; empty before it was ever chosen."""
        self.services_of_node: dict[NodeName, set[str]] = {}
        self.checks_of_node: dict[NodeName, set[str]] = {}
        self.instances: dict[str, set[ServiceKey]] = {}
        """By the service's name in lower case."""
        self.locks: dict[str, set[str]] = {}
        """Keys by the session that holds them."""
        self.moved: set[ServiceKey] = set()
        """Instances that came, changed, were found in another health or went since somebody last looked here, and emptied it."""
        self.turned: set[CheckKey] = set()
        """Checks that came or changed their status since somebody last looked here, and emptied it."""
        self._checks_of_service: dict[ServiceKey, set[str]] = {}
        self._keys: list[str] = []
        self._dead: list[str] = []

    # === reading

    def checks_of(self, service: ServiceKey) -> list[Kept[Check]]:
        """The checks of an instance itself, ordered by their ids."""
        return [self.checks[service[0], identifier] for identifier in sorted(self._checks_of_service.get(service, ()))]

    def node_checks(self, node: NodeName) -> list[Kept[Check]]:
        """The checks that speak for a whole node, ordered by their ids."""
        found = (self.checks[node, identifier] for identifier in sorted(self.checks_of_node.get(node, ())))
        return [check for check in found if not check.value.service_id]

    def health_checks(self, service: ServiceKey) -> list[Kept[Check]]:
        """All that decides on an instance: its node's checks, then its own."""
        return [*self.node_checks(service[0]), *self.checks_of(service)]

    def instances_of(self, name: str) -> list[Kept[Service]]:
        """All instances of a service, ordered by node and id. Names are the same in any case."""
        return [self.services[key] for key in sorted(self.instances.get(name.lower(), ()))]

    def strays(self) -> set[ServiceKey]:
        """Instances that are gone, while checks of theirs are here: a workload of `tulle run` went, and what was added to it stayed."""
        return self._checks_of_service.keys() - self.services.keys()

    def services_on(self, node: NodeName) -> list[Kept[Service]]:
        return [self.services[node, identifier] for identifier in sorted(self.services_of_node.get(node, ()))]

    def keys_under(self, prefix: str) -> Iterator[str]:
        return _under(self._keys, prefix)

    def dead_under(self, prefix: str) -> Iterator[str]:
        """Keys under a prefix that were deleted, as far as they are remembered."""
        return _under(self._dead, prefix)

    @property
    def forgets(self) -> bool:
        """Whether there are more deleted keys than are worth to be remembered: all indices must then rise above them."""
        return len(self._dead) > DEAD_KEYS

    def forget(self) -> None:
        self._dead.clear()

    # === writing

    def apply(self, revision: int, changes: Changes) -> Touched:
        """Takes in what the store says. Returns the topics that are touched, with their new indices."""
        touched: Touched = []
        for key, row in changes:
            index = row.revision if row else revision
            touched += ((topic, index) for topic in self._take(key, row))
        self.revision = revision
        return touched

    def absent(self, changes: Changes) -> list[tuple[str, None]]:
        """What must go so that only `changes` are left: where everything is told anew."""
        told = {key for key, _ in changes}
        held: Iterable[str] = [
            *(rows.key_of(kept.value) for table in (self.nodes, self.kv, self.sessions) for kept in table.values()),
            *(rows.service_key(*key) for key, kept in self.services.items() if not kept.value.of_run),
            *(rows.check_key(*key) for key, kept in self.checks.items() if not kept.value.of_run),
            *(rows.REGISTRATIONS + quote(identifier, safe="") for identifier in self.runs),
            *(rows.QUERIES + identifier for identifier in self.queries),
            *(rows.COORDINATES + quote(node, safe="") for node in self.coordinates),
            *(f"{rows.ACL}{kind}/{identifier}" for kind, papers in self.acl.items() for identifier in papers),
        ]
        return [(key, None) for key in held if key not in told]

    def _take(self, key: str, row: Row | None) -> Iterable[Topic]:
        if key.startswith(rows.NODES):
            return self._take_node(rows.names(key)[0], _kept(row))
        if key.startswith(rows.SERVICES):
            node, identifier = rows.names(key)
            return self._take_own_service((node, identifier), _kept(row))
        if key.startswith(rows.CHECKS):
            node, identifier = rows.names(key)
            return self._take_check((node, identifier), _kept(row) or self._check_of_run((node, identifier)))
        if key.startswith(rows.KV):
            return self._take_entry(key[len(rows.KV) :], _kept(row))
        if key.startswith(rows.SESSIONS):
            return self._take_session(key[len(rows.SESSIONS) :], _kept(row))
        if key.startswith(rows.QUERIES):
            return self._take_query(key[len(rows.QUERIES) :], row)
        if key.startswith(rows.COORDINATES):
            return self._take_coordinate(unquote(key[len(rows.COORDINATES) :]), row)
        if key.startswith(rows.ACL):
            return self._take_acl(*rows.acl_names(key), row)
        if key.startswith(rows.REGISTRATIONS):
            return self._take_run(unquote(key[len(rows.REGISTRATIONS) :]), row)
        if key == rows.SELF and row:
            self.self_id = row.value.decode()
        return ()

    def _take_node(self, name: NodeName, kept: Kept[Node] | None) -> Iterable[Topic]:
        _put(self.nodes, name, kept)
        self.moved.update((name, identifier) for identifier in self.services_of_node.get(name, ()))
        yield from (("nodes",), ("node", name))
        yield from (("service", self.services[name, i].value.name.lower()) for i in self.services_of_node.get(name, ()))

    def _take_service(self, key: ServiceKey, kept: Kept[Service] | None) -> Iterable[Topic]:
        before = self.services.get(key)
        self.moved.add(key)
        if before:
            _leave(self.instances, before.value.name.lower(), key)
            _leave(self.services_of_node, key[0], key[1])
        _put(self.services, key, kept)
        if kept:
            self.instances.setdefault(kept.value.name.lower(), set()).add(key)
            self.services_of_node.setdefault(key[0], set()).add(key[1])
        yield from (("service", version.value.name.lower()) for version in (before, kept) if version)
        yield from (("services",), ("node", key[0]))

    def _take_check(self, key: CheckKey, kept: Kept[Check] | None) -> Iterable[Topic]:
        before = self.checks.get(key)
        node, identifier = key
        if before:
            _leave(self._checks_of_service, (node, before.value.service_id), identifier)
            _leave(self.checks_of_node, node, identifier)
        _put(self.checks, key, kept)
        if (before.value.status if before else None) is not (kept.value.status if kept else None):
            self.turned.add(key)
        if kept:
            self.checks_of_node.setdefault(node, set()).add(identifier)
            if kept.value.service_id:
                self._checks_of_service.setdefault((node, kept.value.service_id), set()).add(identifier)
        yield from (("checks",), ("node", node))
        for version in (before, kept):
            if version:
                yield from self._concerned(version.value)

    def _concerned(self, check: Check) -> Iterable[Topic]:
        """The services that a check speaks for."""
        if check.service_name:
            yield ("service", check.service_name.lower())
        identifiers = [check.service_id] if check.service_id else self.services_of_node.get(check.node, ())
        for identifier in identifiers:
            self.moved.add((check.node, identifier))
            if found := self.services.get((check.node, identifier)):
                yield ("service", found.value.name.lower())

    def _take_entry(self, key: str, kept: Kept[Entry] | None) -> Iterable[Topic]:
        before = self.kv.get(key)
        if before and before.value.session:
            _leave(self.locks, before.value.session, key)
        _put(self.kv, key, kept)
        if kept and kept.value.session:
            self.locks.setdefault(kept.value.session, set()).add(key)
        if kept and not before:
            insort(self._keys, key)
            _drop(self._dead, key)
        if before and not kept:
            _drop(self._keys, key)
            insort(self._dead, key)
        yield from (("kv", key), ALL_KEYS)

    def _take_session(self, identifier: str, kept: Kept[Session] | None) -> Iterable[Topic]:
        before = self.sessions.get(identifier)
        _put(self.sessions, identifier, kept)
        yield from (("sessions",), ("session", identifier))
        yield from (("sessions", version.value.node) for version in (before, kept) if version)

    def _take_query(self, identifier: str, row: Row | None) -> Iterable[Topic]:
        kept = Kept(value=json.loads(row.value), created=row.created, modified=row.revision) if row else None
        _put(self.queries, identifier, kept)
        yield from (("queries",), ("query", identifier))

    def _take_coordinate(self, node: NodeName, row: Row | None) -> Iterable[Topic]:
        kept = Kept(value=Coordinate.of(json.loads(row.value)), created=row.created, modified=row.revision) if row else None
        _put(self.coordinates, node, kept)
        self.moves += 1
        yield ("coordinates",)

    def _take_acl(self, kind: str, identifier: str, row: Row | None) -> Iterable[Topic]:
        kept = Kept(value=json.loads(row.value), created=row.created, modified=row.revision) if row else None
        _put(self.acl[kind], identifier, kept)
        self.acl_changes += 1
        yield from (("acl",), ("acl", kind))

    # === what `tulle run` registers

    def _take_run(self, identifier: str, row: Row | None) -> Iterable[Topic]:
        before = self.runs.get(identifier)
        registration = form.parse(identifier, row.value.partition(b"\n")[2]) if row else None
        _put(self.runs, identifier, registration)
        _put(self._run_indices, identifier, (row.created, row.revision) if row else None)
        for node in dict.fromkeys(run.node or self.local for run in (before, registration) if run):
            yield from self._settle_run((node, identifier))

    def _take_own_service(self, key: ServiceKey, kept: Kept[Service] | None) -> Iterable[Topic]:
        yield from self._take_service(key, kept)
        yield from self._settle_run(key)

    def _settle_run(self, key: ServiceKey) -> Iterable[Topic]:
        """A workload shows as a service with a check, unless a client has registered something else under its id."""
        own, service = self.services.get(key), self._kept_run(key, service_of_run)
        if own != service and (own is None or own.value.of_run):
            yield from self._take_service(key, service)
        check_key = (key[0], f"service:{key[1]}")
        told, check = self.checks.get(check_key), self._check_of_run(check_key)
        if told != check and (told is None or told.value.of_run):
            yield from self._take_check(check_key, check)

    def _kept_run(self, key: ServiceKey, shown: Callable[[NodeName, Registration], ValueT]) -> Kept[ValueT] | None:
        run = self.runs.get(key[1])
        if run is None or key[0] != (run.node or self.local):
            return None
        created, modified = self._run_indices[run.id]
        return Kept(value=shown(key[0], run), created=created, modified=modified)

    def _check_of_run(self, key: CheckKey) -> Kept[Check] | None:
        """What a workload that shows says of itself."""
        service = (key[0], key[1].removeprefix("service:"))
        kept = self.services.get(service)
        shows = kept is not None and kept.value.of_run and service[1] != key[1]
        return self._kept_run(service, check_of_run) if shows else None


def _kept(row: Row | None) -> Any:
    """The value of a row with its indices. What it holds is told by its key."""
    return Kept(value=rows.load(row.key, row.value), created=row.created, modified=row.revision) if row else None


def _put(table: dict[Any, Any], key: object, value: object) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def _leave(index: dict[Any, set[Any]], key: object, member: object) -> None:
    if members := index.get(key):
        members.discard(member)
        if not members:
            del index[key]


def _drop(keys: list[str], key: str) -> None:
    index = bisect_left(keys, key)
    if index < len(keys) and keys[index] == key:
        del keys[index]


def _under(keys: list[str], prefix: str) -> Iterator[str]:
    for index in range(bisect_left(keys, prefix), len(keys)):
        if not keys[index].startswith(prefix):
            return
        yield keys[index]
