"""What an apply is to change: documents that were read, against the documents that are stored. Decides, and writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tulle.model.resource import Key, Origin, Resource, Violation
from tulle.resources import codec
from tulle.resources.core_secret import Secret
from tulle.resources.kinds import kind_of
from tulle.resources.read import Read, read
from tulle.store.document import Document, File, Outcome, Result
from tulle.store.port import Check, ConflictError, Delete, Op, Put
from tulle.store.records import APPLIED, REFUSED, REJECTED, SEQUENCE, Applied, Rejected, Stored, encode, path

Lookup = Callable[[Key], Document]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All files of a request, read."""

    good: tuple[Resource[Any], ...] = ()
    bad: Mapping[Key, tuple[Violation, ...]]
    """Documents with violations, as far as they say which documents they are."""
    order: Mapping[Key, Origin]
    violations: tuple[Violation, ...] = ()
    warnings: tuple[Violation, ...] = ()
    namespace: str = "default"
    """Of documents that name none."""

    @property
    def keys(self) -> tuple[Key, ...]:
        return tuple(self.order)


def read_files(files: Iterable[File], namespace: str = "default") -> Reading:
    """Takes as long as there is text: not for the event loop. `namespace` is for documents that name none."""
    return _reading([read(file.text, file.path, namespace=namespace) for file in files], namespace)


def _reading(reads: Sequence[Read], namespace: str) -> Reading:
    """Where a document is written twice, the last one holds, and a warning says so."""
    good: dict[Key, Resource[Any]] = {}
    bad: dict[Key, list[Violation]] = {}
    order: dict[Key, Origin] = {}
    warnings = [warning for one in reads for warning in (*one.warnings, *map(_not_applied, one.meshes))]
    warnings += written_twice(resource for one in reads for resource in one.resources)
    for one in reads:
        for violation in one.violations:
            if key := key_of(violation, namespace):
                bad.setdefault(key, []).append(violation)
                order.setdefault(key, violation.origin)
        for resource in one.resources:
            good[resource.key] = resource
            order.setdefault(resource.key, resource.origin)
    files = {origin.path: place for place, origin in reversed(list(enumerate(order.values())))}
    return Reading(
        good=tuple(good.values()),
        bad={key: tuple(found) for key, found in bad.items()},
        order=dict(sorted(order.items(), key=lambda item: (files[item[1].path], item[1].line))),
        violations=tuple(violation for one in reads for violation in one.violations),
        warnings=tuple(warnings),
        namespace=namespace,
    )


def written_twice(resources: Iterable[Resource[Any]]) -> Iterator[Violation]:
    """A warning for each document that a later one of the same name takes the place of."""
    before: dict[Key, Resource[Any]] = {}
    for resource in resources:
        if resource.key in before:
            yield _twice(before[resource.key], resource)
        before[resource.key] = resource


def _twice(first: Resource[Any], second: Resource[Any]) -> Violation:
    return Violation(
        origin=first.origin,
        resource=f"{first.key.kind}/{first.key.name}",
        namespace=first.key.namespace,
        message=f"is written again at {second.origin}: only the last one holds",
    )


def _not_applied(mesh: Resource[Any]) -> Violation:
    message = "is a mesh file, which is no part of the configuration: it is started with `tulle up`"
    return Violation(origin=mesh.origin, resource=f"{mesh.key.kind}/{mesh.key.name}", message=message)


def key_of(violation: Violation, namespace: str) -> Key | None:
    """The document that a violation is about, where it says so much."""
    kind, _, name = violation.resource.partition("/")
    known = kind_of(kind)
    return known.key(violation.namespace or namespace, name) if name and known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a commit is to write, and what the caller is told when it did."""

    results: tuple[Result, ...]
    ops: tuple[Op, ...]
    written: Mapping[Key, Resource[Any]]
    """New documents, and those that say something else than before."""
    rewritten: Mapping[Key, Applied]
    """The records of those, and of documents that only moved to other lines."""


class Planner:
    """One apply against one state of the store."""

    def __init__(self, lookup: Lookup, sequence: Stored[int], expected: Mapping[Key, int], force: bool) -> None:
        self._lookup = lookup
        self._sequence = sequence
        self._next = sequence.record
        self._expected = expected
        self._force = force
        self._ops: list[Op] = []
        self._written: dict[Key, Resource[Any]] = {}
        self._rewritten: dict[Key, Applied] = {}

    def plan(self, reading: Reading) -> Plan:
        """Raises ConflictError where a document is not at the revision that the caller expects."""
        good = {resource.key: resource for resource in reading.good}
        results = tuple(self._one(key, origin, good.get(key), reading) for key, origin in reading.order.items())
        if self._next != self._sequence.record:
            self._ops.append(Put(key=SEQUENCE, value=str(self._next).encode(), expect=self._sequence.revision))
        return Plan(results=results, ops=tuple(self._ops), written=self._written, rewritten=self._rewritten)

    def _one(self, key: Key, origin: Origin, resource: Resource[Any] | None, reading: Reading) -> Result:
        document = self._lookup(key)
        expected = self._expected.get(key)
        if expected is not None and expected != document.revision:
            raise ConflictError(str(key), expected, document.revision)
        outcome = self._good(document, resource, reading) if resource else Outcome.REJECTED
        if key in reading.bad:
            outcome = Outcome.REJECTED
        self._ops.extend(self._rejection(document, reading.bad.get(key)))
        return Result(key=key, outcome=outcome, origin=origin, revision=document.revision)

    def _good(self, document: Document, resource: Resource[Any], reading: Reading) -> Outcome:
        old = document.applied
        same = bool(old and _same(old.resource, resource))
        generation = (old.generation if old else 0) + (not same)
        own = tuple(warning for warning in reading.warnings if key_of(warning, reading.namespace) == resource.key)
        record = Applied(resource=replace(resource, created=self._created(document)), generation=generation, warnings=own)
        if not old or self._force or not _identical(old, record):
            self._ops.append(Put(key=path(APPLIED, document.key), value=encode(record), expect=document.revision))
            self._rewritten[document.key] = record
        else:
            self._ops.append(Check(key=path(APPLIED, document.key), expect=document.revision))
        if document.refused and (self._force or not same):
            self._ops.append(Delete(key=path(REFUSED, document.key)))
        if not same:
            self._written[document.key] = record.resource
        return Outcome.CREATED if not old else Outcome.UNCHANGED if same else Outcome.CONFIGURED

    def _created(self, document: Document) -> int:
        if document.resource:
            return document.resource.created
        self._next += 1
        return self._next

    @staticmethod
    def _rejection(document: Document, violations: tuple[Violation, ...] | None) -> Iterator[Op]:
        where = path(REJECTED, document.key)
        if violations:
            record = Rejected(violations=violations)
            if record != document.rejected:
                yield Put(key=where, value=encode(record))
        elif document.rejected:
            yield Delete(key=where)


def _same(old: Resource[Any], new: Resource[Any]) -> bool:
    """Whether both say the same, wherever and in whatever order it is written."""
    return (old.document == new.document or codec.to_document(old) == codec.to_document(new)) and _same_hidden(old.spec, new.spec)


def _same_hidden(old: Any, new: Any) -> bool:
    """Whether also what is not shown of both is the same."""
    return not isinstance(new, Secret) or (isinstance(old, Secret) and old.revealed() == new.revealed())


def _identical(old: Applied, new: Applied) -> bool:
    """Whether nothing at all would be written anew."""
    a, b = old.resource, new.resource
    same = (a.document, a.origin, a.lines, old.warnings) == (b.document, b.origin, b.lines, new.warnings)
    return same and _same_hidden(a.spec, b.spec)
