"""`/v1/txn`: several operations on values, nodes, services and checks, all of them or none."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tulle.registry.catalog import Check, Kept, Node, Service
from tulle.registry.kv import VALUE_LIMIT, Entry
from tulle.registry.locking import READING, Failed, KeyOp, Keys
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.registry.together import VERBS, CatalogOp, Entries
from tulle.registry.transitions import Refused
from tulle.server.consul import entering, shapes
from tulle.server.consul.app import Route
from tulle.server.consul.body import BadBodyError, Body
from tulle.server.consul.catalog import external_check
from tulle.server.consul.kv import shown
from tulle.server.consul.place import Place
from tulle.server.consul.wire import Ask, Reply

OPERATIONS = 128
"""Of one transaction."""
_MOST = (1 << 64) - 1
Op = KeyOp | CatalogOp


class TxnApi:
    def __init__(self, registry: Registry, place: Place) -> None:
        self._registry = registry
        self._place = place

    def routes(self) -> Sequence[Route]:
        return [Route(method="PUT", path="/v1/txn", handler=self.transact)]

    async def transact(self, ask: Ask) -> Reply:
        ops = _operations(ask.document())
        results: list[tuple[Op, Kept[Entry] | None]] = []
        errors: list[dict[str, Any]] = []

        def decide(tables: Tables) -> Sequence[Write]:
            keys, entries = Keys(tables, self._registry.delayed), Entries(tables)
            results.clear()
            errors.clear()
            for number, op in enumerate(ops):
                try:
                    results.extend(_do(op, keys, entries))
                except Failed as failed:
                    errors.append({"OpIndex": number, "What": str(failed)})
                except Refused as refused:
                    errors.append({"OpIndex": number, "What": refused.message})
            return [] if errors else [*keys.writes(), *entries.writes()]

        await self._registry.change(decide)
        if errors:
            return Reply(status=409, value={"Results": None, "Errors": errors})
        reading = all(op.verb in READING for op in ops)
        headers = {"x-consul-lastcontact": "0", "x-consul-knownleader": "true"} if reading else {}
        told = [shape for op, kept in results if (shape := self._result(op, kept))]
        return Reply(value={"Results": told, "Errors": None}, headers=headers)

    def _result(self, op: Op, kept: Kept[Entry] | None) -> dict[str, Any] | None:
        if isinstance(op, CatalogOp):
            return self._entry(op)
        if kept is None:
            return None
        now = self._registry.tables.kv.get(kept.value.key)
        entry = shown(now if now and now.value == kept.value else kept)
        return {"KV": entry if op.verb.startswith("get") else {**entry, "Value": None}}

    def _entry(self, op: CatalogOp) -> dict[str, Any] | None:
        """As it is now. Nothing is told of what was deleted."""
        tables, value = self._registry.tables, op.value
        if op.verb.startswith("delete"):
            return None
        if isinstance(value, Node):
            node = tables.nodes.get(value.name)
            return {"Node": shapes.node(node, self._place.datacenter)} if node else None
        if isinstance(value, Service):
            service = tables.services.get(value.key)
            return {"Service": shapes.node_service(service)} if service else None
        check = tables.checks.get(value.key)
        return {"Check": shapes.check(check)} if check else None


def _do(op: Op, keys: Keys, entries: Entries) -> list[tuple[Op, Kept[Entry] | None]]:
    """Raises Failed and Refused."""
    if isinstance(op, KeyOp):
        return [(op, kept) for kept in keys.do(op)]
    entries.do(op)
    return [(op, None)]


# === reading


def _operations(document: object) -> list[Op]:
    """Raises Refused."""
    if not isinstance(document, list):
        raise BadBodyError("the body must be a list of operations")
    if len(document) > OPERATIONS:
        raise Refused(413, f"Transaction contains too many operations ({len(document)} > {OPERATIONS})")
    return [_operation(Body(item, "operation")) for item in document]


def _operation(body: Body) -> Op:
    for name, read in _READERS.items():
        if (part := body.part(name)) is not None:
            return read(part)
    raise Refused(400, "an operation must be on KV, Node, Service or Check")


def _of_key(given: Body) -> KeyOp:
    value = given.text("Value")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BadBodyError("Value is not base64") from None
    if len(data) > VALUE_LIMIT:
        raise Refused(413, f"Value for key {given.text('Key')[:64]!r} is too large ({len(data)} > {VALUE_LIMIT} bytes)")
    flags, index = given.number("Flags", most=_MOST), given.number("Index", most=_MOST)
    if flags < 0 or index < 0:
        raise BadBodyError("Flags and Index must not be negative")
    verb, key = given.text("Verb"), given.text("Key")
    if not key and not verb.endswith("-tree"):
        raise Refused(400, "Missing key name")
    return KeyOp(verb=verb, key=key, value=data, flags=flags, index=index, session=given.text("Session"))


def _of_node(given: Body) -> CatalogOp:
    node = given.part("Node") or Body({})
    name = node.text("Node")
    value = Node(
        name=name,
        id=node.text("ID"),
        address=node.text("Address"),
        tagged_addresses=node.words("TaggedAddresses"),
        meta=entering.meta(node),
    )
    if not name or (_verb(given) in ("set", "cas") and not value.address):
        raise Refused(400, "Must provide node and address")
    return _op(given, value, node)


def _of_service(given: Body) -> CatalogOp:
    service = given.part("Service") or Body({})
    name = given.text("Node")
    if not name:
        raise Refused(400, "Missing node name")
    reading = _verb(given) not in ("set", "cas")
    if reading and not service.text("Service", "Name"):
        return _op(given, Service(node=name, id=service.text("ID"), name=service.text("ID")), service)
    return _op(given, entering.service(service, name), service)


def _of_check(given: Body) -> CatalogOp:
    check = given.part("Check") or Body({})
    name = check.text("Node")
    if not name:
        raise Refused(400, "Missing node name")
    return _op(given, external_check(check, name, None), check)


def _op(given: Body, value: Node | Service | Check, part: Body) -> CatalogOp:
    return CatalogOp(verb=_verb(given), value=value, index=part.number("ModifyIndex"))


def _verb(given: Body) -> str:
    verb = given.text("Verb")
    if verb not in VERBS:
        raise Refused(400, f"unknown operation {verb[:32]!r}")
    return verb


_READERS: Mapping[str, Callable[[Body], Op]] = {"KV": _of_key, "Node": _of_node, "Service": _of_service, "Check": _of_check}
