"""The documents that users apply, over any store: valid ones replace their predecessors, invalid ones are only remembered.

A document has up to three faces: the version applied last (which `get` shows), a rejection of something applied later that was
not valid, and a refusal by the proxies, under which an older version stays in force.
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tulle.logs import Log
from tulle.model.resource import Key, Origin, Resource, Violation
from tulle.resources import codec
from tulle.resources.yaml import write
from tulle.store import records
from tulle.store.document import Document, File, Outcome, Report, Result, Update
from tulle.store.plan import Plan, Planner, Reading, read_files
from tulle.store.port import Check, CompactedError, ConflictError, Delete, Entry, Op, Put, Store, StoreError
from tulle.store.records import Applied, Refused, Rejected, Stored

_ATTEMPTS = 50
_log = Log("documents")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What an apply would change of one document: a unified diff of YAML, empty where nothing would change."""

    key: Key
    text: str


class Documents:
    """Safe to use from several control planes at once, where the store is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._decoded: dict[str, tuple[int, Applied | Refused | Rejected]] = {}

    # === reading

    async def get(self, key: Key) -> Document | None:
        document = await self._find(key)
        return document if document.exists else None

    async def list(self, kinds: Sequence[str] = (), namespace: str = "") -> tuple[Document, ...]:
        """In the order of kind, namespace and name; empty arguments select all.

        Documents that belong to no namespace are shown wherever their kind is asked for.
        """
        documents, _ = await self._all()
        chosen = (d for d in documents.values() if d.exists and _is_meant(d.key, kinds, namespace))
        return tuple(sorted(chosen, key=lambda document: document.key))

    async def in_force(self) -> Mapping[Key, Resource[Any]]:
        """What the mesh is to be made from: the newest version of each document that is valid and not refused by the proxies."""
        documents, _ = await self._all()
        return _in_force(documents)

    async def watch(self) -> AsyncIterator[Update]:
        """First all that is in force, then again after every change to any document. Ends when the store is closed."""
        shown: Mapping[Key, Resource[Any]] = {}
        compacted = True
        while compacted:
            documents, revision = await self._all()
            yield (update := _update(shown, documents, revision))
            try:
                async for batch in self._store.watch(records.ROOT, revision):
                    for change in batch.changes:
                        self._take(documents, change.key, change.entry)
                    touched = {records.parse_path(change.key)[1] for change in batch.changes}
                    yield (update := _following(update, documents, touched, batch.revision))
                compacted = False
            except CompactedError:
                shown = update.in_force

    # === writing

    async def apply(
        self,
        files: Sequence[File],
        *,
        namespace: str = "default",
        dry_run: bool = False,
        force: bool = False,
        expected: Mapping[Key, int] | None = None,
    ) -> Report:
        """Puts every valid document into force, in one commit, and remembers what was wrong with the others.

        `namespace` is for documents that name none. `force` writes again what has not changed, so that what the proxies refused is
        tried again. `expected` gives the revisions (0: does not exist) that documents must have: raises ConflictError, and changes
        nothing, where one is another.
        """
        reading = await asyncio.to_thread(read_files, files, namespace)
        for _ in range(_ATTEMPTS):
            plan = await self._plan(reading, expected or {}, force)
            if dry_run:
                return _report(reading, plan, (await self._store.range(records.SEQUENCE)).revision)
            try:
                revision = await self._store.commit(plan.ops)
            except ConflictError:
                continue
            self._know(plan, revision)
            return _report(reading, plan, revision)
        raise StoreError("other writers change the same documents all the time: try again")

    async def diff(self, files: Sequence[File], *, namespace: str = "default") -> tuple[tuple[Difference, ...], Report]:
        """What an apply of the files would change, and what it would say."""
        reading = await asyncio.to_thread(read_files, files, namespace)
        plan = await self._plan(reading, {}, force=False)
        differences = []
        for key in reading.keys:
            if key in plan.written:
                old = (await self._find(key)).resource
                differences.append(Difference(key=key, text=_unified(key, old, plan.written[key])))
        return tuple(differences), _report(reading, plan, (await self._store.range(records.SEQUENCE)).revision)

    async def delete(self, keys: Iterable[Key], *, dry_run: bool = False) -> Report:
        """Takes documents out of force and forgets them, in one commit."""
        results: list[Result] = []
        ops: list[Op] = []
        for key in dict.fromkeys(keys):
            exists = (await self._find(key)).exists
            results.append(Result(key=key, outcome=Outcome.DELETED if exists else Outcome.NOT_FOUND))
            if exists:
                ops += [Delete(key=records.path(table, key)) for table in records.TABLES]
        revision = await self._store.commit([] if dry_run else ops)
        gone = {result.key: None for result in results if result.outcome is Outcome.DELETED}
        return Report(results=tuple(results), revision=revision, change=gone)

    async def delete_files(self, files: Sequence[File], *, namespace: str = "default", dry_run: bool = False) -> Report:
        """Deletes the documents that the files name, valid or not."""
        reading = await asyncio.to_thread(read_files, files, namespace)
        report = await self.delete(reading.keys, dry_run=dry_run)
        nameless = tuple(v for v in reading.violations if not v.resource)
        return replace(report, violations=nameless)

    async def reject_in_force(self, key: Key, revision: int, message: str, last_good: Resource[Any] | None) -> bool:
        """Remembers that the proxies refuse the version of `revision`, and that `last_good` (None: nothing) is in force instead.

        Does nothing, and returns False, when that version is no longer the applied one.
        """
        document = await self._find(key)
        if not document.applied or document.revision != revision:
            return False
        record = Refused(generation=document.applied.generation, message=message, last_good=last_good)
        still = Check(key=records.path(records.APPLIED, key), expect=revision)
        try:
            await self._store.commit([still, Put(key=records.path(records.REFUSED, key), value=records.encode(record))])
        except ConflictError:
            return False
        return True

    # === inside

    async def _plan(self, reading: Reading, expected: Mapping[Key, int], force: bool) -> Plan:
        documents = {key: await self._find(key) for key in reading.keys}
        entry = await self._store.get(records.SEQUENCE)
        sequence = Stored(record=int(entry.value), revision=entry.revision) if entry else Stored(record=0, revision=0)
        return Planner(documents.__getitem__, sequence, expected, force).plan(reading)

    def _know(self, plan: Plan, revision: int) -> None:
        """What was just read need not be read again when it comes back from the store."""
        for key, record in plan.rewritten.items():
            stored = replace(record, resource=replace(record.resource, revision=revision))
            self._decoded[records.path(records.APPLIED, key)] = (revision, stored)

    async def _find(self, key: Key) -> Document:
        documents: dict[Key, Document] = {}
        for table in records.TABLES:
            where = records.path(table, key)
            self._take(documents, where, await self._store.get(where))
        return documents.get(key, Document(key=key))

    async def _all(self) -> tuple[dict[Key, Document], int]:
        listing = await self._store.range(records.ROOT)
        documents: dict[Key, Document] = {}
        for entry in listing.entries:
            self._take(documents, entry.key, entry)
        return documents, listing.revision

    def _take(self, documents: dict[Key, Document], where: str, entry: Entry | None) -> None:
        """Puts a table's entry into its document."""
        table, key = records.parse_path(where)
        document = documents.get(key, Document(key=key))
        record = self._decode(table, key, entry) if entry else None
        if table == records.APPLIED:
            good, unreadable = record if isinstance(record, Applied) else None, record if isinstance(record, Rejected) else None
            document = replace(document, applied=good, unreadable=unreadable, revision=entry.revision if entry else 0)
        elif table == records.REJECTED:
            document = replace(document, rejected=record if isinstance(record, Rejected) else None)
        else:
            document = replace(document, refused=record if isinstance(record, Refused) else None)
        documents[key] = document
        if entry is None:
            self._decoded.pop(where, None)

    def _decode(self, table: str, key: Key, entry: Entry) -> Applied | Refused | Rejected:
        known = self._decoded.get(entry.key)
        if known and known[0] == entry.revision:
            return known[1]
        try:
            record = records.decode(table, entry)
        except (ValueError, LookupError) as error:
            _log.warning("a stored document cannot be read by this version", document=str(key), error=str(error))
            record = Rejected(violations=(_unreadable(key, error),))
        self._decoded[entry.key] = (entry.revision, record)
        return record


def _is_meant(key: Key, kinds: Sequence[str], namespace: str) -> bool:
    here = namespace in ("", key.namespace) or (not key.namespace and bool(kinds))
    return here and (not kinds or key.kind in kinds)


def _in_force(documents: Mapping[Key, Document]) -> Mapping[Key, Resource[Any]]:
    return {key: resource for key, document in documents.items() if (resource := document.in_force)}


def _update(before: Mapping[Key, Resource[Any]], documents: Mapping[Key, Document], revision: int) -> Update:
    after = _in_force(documents)
    changed = frozenset(key for key in before.keys() | after.keys() if before.get(key) is not after.get(key))
    return Update(revision=revision, in_force=after, changed=changed)


def _following(last: Update, documents: Mapping[Key, Document], touched: Iterable[Key], revision: int) -> Update:
    """The update after a few documents were touched; the same mapping as in the last one, if none of them is now in force otherwise."""
    now = {key: documents[key].in_force for key in touched}
    changed = frozenset(key for key, resource in now.items() if resource is not last.in_force.get(key))
    if not changed:
        return Update(revision=revision, in_force=last.in_force, changed=changed)
    after = {**last.in_force, **{key: resource for key in changed if (resource := now[key])}}
    for key in changed:
        if now[key] is None:
            del after[key]
    return Update(revision=revision, in_force=after, changed=changed)


def _report(reading: Reading, plan: Plan, revision: int) -> Report:
    results = tuple(replace(result, revision=revision) if result.key in plan.rewritten else result for result in plan.results)
    return Report(results=results, violations=reading.violations, warnings=reading.warnings, revision=revision, change=plan.written)


def _unified(key: Key, old: Resource[Any] | None, new: Resource[Any]) -> str:
    before, after = _yaml(old).splitlines(keepends=True), _yaml(new).splitlines(keepends=True)
    text = "".join(difflib.unified_diff(before, after, fromfile=f"{key} (in the store)", tofile=f"{key} ({new.origin})"))
    return text or f"{key} ({new.origin}): only hidden values differ\n"


def _yaml(resource: Resource[Any] | None) -> str:
    return write(codec.to_document(resource)) if resource else ""


def _unreadable(key: Key, error: Exception) -> Violation:
    message = f"the stored version cannot be read by this version of Tulle and is not in force: {error}"
    return Violation(origin=Origin(), resource=f"{key.kind}/{key.name}", namespace=key.namespace, message=message)
