"""What requests do to the catalog: from the picture as it stands, the writes that make it what was asked. Nothing here waits or writes.

Each write expects the rows it was decided on, so that whoever loses a race decides again. A request that changes nothing
writes nothing, and no index moves.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote

from tulle.model.service import Health
from tulle.registry import rows
from tulle.registry.catalog import NODE_MAINTENANCE, SERVICE_MAINTENANCE, Check, Kept, Node, Service, ServiceKey
from tulle.registry.kv import Behavior, Entry, Session
from tulle.registry.port import Write
from tulle.registry.tables import Tables


class Refused(Exception):  # noqa: N818 - it is no error of ours
    """A request that cannot be done, with the status and the sentence of the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Entering:
    """What is put into the catalog together."""

    node: Node
    keep_node: bool = False
    """A node that is already there stays as it is."""
    service: Service | None = None
    checks: tuple[Check, ...] = ()


def put(value: Node | Service | Check | Entry | Session, kept: Kept[object] | None) -> list[Write]:
    """Writes a value in place of the one kept, unless it is equal to it."""
    if kept and kept.value == value:
        return []
    return [("put", rows.key_of(value), rows.dump(value), kept.modified if kept else 0)]


def enter(tables: Tables, entering: Entering) -> list[Write]:
    """Registers a node, and a service and checks on it."""
    known = tables.nodes.get(entering.node.name)
    writes = [] if known and entering.keep_node else put(entering.node, known)
    if known and not writes and (entering.service or entering.checks):
        writes = [("check", rows.key_of(known.value), b"", known.modified)]
    changes = enter_service(tables, entering.service) if entering.service else []
    for check in entering.checks:
        changes += enter_check(tables, check, entering.service)
    return writes + changes if changes or (writes and writes[0][0] == "put") else []


def enter_service(tables: Tables, service: Service) -> list[Write]:
    """Puts an instance in, and tells its checks of its new name and tags."""
    kept = tables.services.get(service.key)
    if kept and kept.value.of_run:
        kept = None
    writes = put(service, kept)
    for check in tables.checks_of(service.key) if kept else []:
        writes += put(replace(check.value, service_name=service.name, service_tags=service.tags), check)
    return writes


def enter_check(tables: Tables, check: Check, service: Service | None = None) -> list[Write]:
    """Puts a check in. Raises Refused when its service is not there. `service` is one that enters with it."""
    if check.service_id and not (service and service.id == check.service_id):
        found = tables.services.get((check.node, check.service_id))
        if found is None:
            raise Refused(500, f"Missing service registration: ServiceID {check.service_id!r} is not on node {check.node!r}")
        service = found.value
    if check.service_id and service:
        check = replace(check, service_name=service.name, service_tags=service.tags)
    before = tables.checks.get(check.key)
    writes = put(check, None if before and before.value.of_run else before)
    return writes + (_unlock_for(tables, check) if check.status is Health.CRITICAL and writes else [])


def register(tables: Tables, node: Node, service: Service, checks: Iterable[Check]) -> list[Write]:
    """A service as its own agent puts it in. A check that is there already keeps its status: who registers again disturbs nobody."""
    return enter(tables, Entering(node=node, keep_node=True, service=service, checks=tuple(as_before(tables, c) for c in checks)))


def as_before(tables: Tables, check: Check) -> Check:
    """With the status that it has, if it is there."""
    kept = tables.checks.get(check.key)
    if kept and kept.value.service_id == check.service_id:
        return replace(check, status=kept.value.status, output=kept.value.output)
    return check


def told(tables: Tables, check: Check, status: Health, output: str) -> list[Write]:
    """A check has come to a result."""
    kept = tables.checks[check.key]
    writes = put(replace(kept.value, status=status, output=output), kept)
    failing = status is Health.CRITICAL and kept.value.status is not Health.CRITICAL
    return writes + (_unlock_for(tables, check) if failing else [])


def leave_service(tables: Tables, key: ServiceKey, keep: Iterable[str] = ()) -> list[Write]:
    """Takes an instance out, with its checks but for those of the ids `keep`."""
    kept = tables.services.get(key)
    if kept is None:
        return []
    if kept.value.of_run:
        own: list[Write] = [("delete", rows.REGISTRATIONS + quote(key[1], safe=""), b"", None)]
    else:
        own = [("delete", rows.key_of(kept.value), b"", kept.modified)]
    for check in tables.checks_of(key):
        if check.value.id not in keep:
            own += leave_check(tables, check.value)
    return own


def leave_check(tables: Tables, check: Check) -> list[Write]:
    """What a workload of `tulle run` says of itself goes with the workload only."""
    kept = tables.checks.get(check.key)
    if kept is None or kept.value.of_run:
        return []
    return [("delete", rows.key_of(check), b"", kept.modified), *_unlock_for(tables, check)]


def leave_node(tables: Tables, name: str) -> list[Write]:
    """Takes a node out, with all that is on it. Its sessions end."""
    kept = tables.nodes.get(name)
    if kept is None:
        return []
    writes: list[Write] = [("delete", rows.key_of(kept.value), b"", kept.modified)]
    for service in tables.services_on(name):
        writes += leave_service(tables, service.value.key)
    for identifier in sorted(tables.checks_of_node.get(name, ())):
        check = tables.checks[name, identifier]
        if (name, check.value.service_id) not in tables.services:
            writes += [("delete", rows.key_of(check.value), b"", check.modified)]
    if placed := tables.coordinates.get(name):
        writes.append(("delete", rows.COORDINATES + quote(name, safe=""), b"", placed.modified))
    for session in sorted(tables.sessions):
        if tables.sessions[session].value.node == name:
            writes += end_session(tables, session)
    return merged(writes)


def maintain(tables: Tables, node: str, service: Service | None, *, on: bool, reason: str) -> list[Write]:
    """Puts a service, or the whole node, into maintenance, which is a critical check, or ends it."""
    name = "Service Maintenance Mode" if service else "Node Maintenance Mode"
    check = Check(
        node=node,
        id=SERVICE_MAINTENANCE + service.id if service else NODE_MAINTENANCE,
        name=name,
        status=Health.CRITICAL,
        notes=reason
        or f"Maintenance mode is enabled for this {'service' if service else 'node'}, but no reason was provided. "
        "This is a default message.",
        service_id=service.id if service else "",
        type="maintenance",
    )
    if on:
        return [] if check.key in tables.checks else merged(enter_check(tables, check))
    return leave_check(tables, check)


# === sessions and locks


def end_session(tables: Tables, identifier: str) -> list[Write]:
    """Ends a session: what it has locked is released, or deleted. Queries that were made for it go with it."""
    kept = tables.sessions.get(identifier)
    if kept is None:
        return []
    writes: list[Write] = [("delete", rows.key_of(kept.value), b"", kept.modified)]
    for key in sorted(tables.locks.get(identifier, ())):
        entry = tables.kv[key]
        if kept.value.behavior is Behavior.DELETE:
            writes.append(("delete", rows.key_of(entry.value), b"", entry.modified))
        else:
            writes += put(replace(entry.value, session=""), entry)
    for query, own in tables.queries.items():
        if own.value["Session"] == identifier:
            writes.append(("delete", rows.QUERIES + query, b"", own.modified))
    return writes


def _unlock_for(tables: Tables, check: Check) -> list[Write]:
    """Ends the sessions that lean on a check."""
    writes: list[Write] = []
    for identifier, session in tables.sessions.items():
        if session.value.node == check.node and check.id in session.value.checks:
            writes += end_session(tables, identifier)
    return writes


def merged(writes: Sequence[Write]) -> list[Write]:
    """One write for each key: the last one stands."""
    return list({write[1]: write for write in writes}.values())
