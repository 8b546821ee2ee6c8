"""Operations on the catalog inside of a transaction: each decided as if those before it were done already."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tulle.registry import transitions
from tulle.registry.catalog import Check, Kept, Node, Service
from tulle.registry.locking import Failed
from tulle.registry.port import Write
from tulle.registry.tables import Tables


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogOp:
    verb: str
    value: Node | Service | Check
    index: int = 0
    """Which the value must have, for the verbs that compare it."""


VERBS = ("get", "set", "cas", "delete", "delete-cas")
_WORD = {Node: "node", Service: "service", Check: "check"}


class Entries:
    """The catalog as it stands in the middle of a transaction. `writes` is what it comes to."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._services: dict[tuple[str, str], Service] = {}
        self._nodes: set[str] = set()
        self._gone: set[tuple[str, ...]] = set()
        self._writes: list[Write] = []

    def writes(self) -> list[Write]:
        return self._writes

    def do(self, op: CatalogOp) -> None:
        """Raises Failed when it is not possible as things stand, Refused when it never is."""
        kept, word = self.kept(op.value), f"{_WORD[type(op.value)]} {_name(op.value)!r}"
        if op.verb in ("cas", "delete-cas") and (kept.modified if kept else 0) != op.index:
            raise Failed(f"failed to {'set' if op.verb == 'cas' else 'delete'} {word}, index is stale")
        if op.verb == "get":
            if kept is None:
                raise Failed(f"{word} not found")
        elif op.verb in ("set", "cas"):
            self._writes += self._entering(op.value)
        elif kept is not None:
            self._gone.add(_key(op.value))
            self._writes += self._leaving(op.value)

    def kept(self, value: Node | Service | Check) -> Kept[Node] | Kept[Service] | Kept[Check] | None:
        """As it is in the picture; None for what went earlier in the transaction."""
        if _key(value) in self._gone:
            return None
        if isinstance(value, Node):
            return self._tables.nodes.get(value.name)
        return self._tables.services.get(value.key) if isinstance(value, Service) else self._tables.checks.get(value.key)

    def _entering(self, value: Node | Service | Check) -> list[Write]:
        if isinstance(value, Node):
            return self._set_node(value)
        return self._set_service(value) if isinstance(value, Service) else self._set_check(value)

    def _leaving(self, value: Node | Service | Check) -> list[Write]:
        if isinstance(value, Node):
            return transitions.leave_node(self._tables, value.name)
        if isinstance(value, Service):
            return transitions.leave_service(self._tables, value.key)
        return transitions.leave_check(self._tables, value)

    def _set_node(self, node: Node) -> list[Write]:
        known = self._tables.nodes.get(node.name)
        self._nodes.add(node.name)
        return transitions.put(replace(node, id=node.id or known.value.id) if known else node, known)

    def _set_service(self, service: Service) -> list[Write]:
        self._require_node(service.node)
        self._services[service.key] = service
        return transitions.enter_service(self._tables, service)

    def _set_check(self, check: Check) -> list[Write]:
        self._require_node(check.node)
        return transitions.enter_check(self._tables, check, self._services.get((check.node, check.service_id)))

    def _require_node(self, name: str) -> None:
        if name not in self._nodes and name not in self._tables.nodes:
            raise Failed(f"node {name!r} is not there")


def _name(value: Node | Service | Check) -> str:
    return value.name if isinstance(value, Node) else value.id


def _key(value: Node | Service | Check) -> tuple[str, ...]:
    return ("Node", value.name) if isinstance(value, Node) else (type(value).__name__, *value.key)
