"""How documents lie in the store: three tables of keys, and values of one line of JSON, followed by the document where there is one.

documents/applied/KIND/NAMESPACE/NAME    the newest version that was found valid
documents/rejected/KIND/NAMESPACE/NAME   what was wrong with the version applied after that one
documents/refused/KIND/NAMESPACE/NAME    why the proxies do not take the applied version, and the version that is in force instead
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote, unquote

from tulle.model.resource import Key, Origin, Resource, Violation
from tulle.resources.codec import dump, restore
from tulle.store.port import Entry

ROOT = "documents/"
APPLIED, REJECTED, REFUSED = "applied", "rejected", "refused"
TABLES = (APPLIED, REJECTED, REFUSED)
SEQUENCE = "sequence/documents"
"""How many documents were ever created. Lies outside of ROOT, as no watch wants to know."""
KEPT = 50
"""So many violations of one document are remembered."""

RecordT = TypeVar("RecordT", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    resource: Resource[Any]
    generation: int
    """Counts the versions of the document, from 1."""
    warnings: tuple[Violation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    generation: int
    """The version that the proxies refuse; the record says nothing about another."""
    message: str
    last_good: Resource[Any] | None
    """None where no version was ever taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Generic[RecordT]):
    """A record and the revision it was written at."""

    record: RecordT
    revision: int


def path(table: str, key: Key) -> str:
    return f"{ROOT}{table}/{quote(key.kind, safe='')}/{quote(key.namespace, safe='')}/{quote(key.name, safe='')}"


def parse_path(text: str) -> tuple[str, Key]:
    table, kind, namespace, name = text.removeprefix(ROOT).split("/")
    return table, Key(kind=unquote(kind), namespace=unquote(namespace), name=unquote(name))


def encode(record: Applied | Rejected | Refused) -> bytes:
    if isinstance(record, Applied):
        head = {"created": record.resource.created, "generation": record.generation, "warnings": violations_json(record.warnings)}
        return _join(head, record.resource)
    if isinstance(record, Rejected):
        return _join({"violations": violations_json(record.violations[:KEPT])}, None)
    good = record.last_good
    head = {"generation": record.generation, "message": record.message}
    return _join(head | ({"created": good.created, "revision": good.revision} if good else {}), good)


def decode(table: str, entry: Entry) -> Applied | Rejected | Refused:
    """Raises ValueError when the document is one that this version of Tulle cannot read."""
    line, _, body = entry.value.partition(b"\n")
    head: dict[str, Any] = json.loads(line)
    if table == APPLIED:
        resource = restore(body, created=head["created"], revision=entry.revision)
        return Applied(resource=resource, generation=head["generation"], warnings=read_violations(head["warnings"]))
    if table == REJECTED:
        return Rejected(violations=read_violations(head["violations"]))
    good = restore(body, created=head["created"], revision=head["revision"]) if body else None
    return Refused(generation=head["generation"], message=head["message"], last_good=good)


def violations_json(violations: Iterable[Violation]) -> list[dict[str, Any]]:
    """As the API and the store write them."""
    return [
        {
            "path": v.origin.path,
            "line": v.origin.line,
            "resource": v.resource,
            "namespace": v.namespace,
            "field": v.field,
            "message": v.message,
        }
        for v in violations
    ]


def read_violations(items: Iterable[Mapping[str, Any]]) -> tuple[Violation, ...]:
    return tuple(
        Violation(
            origin=Origin(path=item["path"], line=item["line"]),
            resource=item["resource"],
            namespace=item["namespace"],
            field=item["field"],
            message=item["message"],
        )
        for item in items
    )


def _join(head: Mapping[str, Any], resource: Resource[Any] | None) -> bytes:
    line = json.dumps(head, separators=(",", ":")).encode()
    return line + b"\n" + dump(resource) if resource else line
