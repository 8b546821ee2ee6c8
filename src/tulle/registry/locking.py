"""What clients do with keys, one operation after the other, decided as a whole: transactions, of which a lone request is the smallest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from tulle.registry import rows
from tulle.registry.catalog import Kept
from tulle.registry.kv import Entry
from tulle.registry.port import Write
from tulle.registry.tables import Tables
from tulle.registry.transitions import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOp:
    """One operation, by the verb that transactions call it."""

    verb: str
    key: str
    value: bytes = b""
    flags: int = 0
    index: int = 0
    session: str = ""


class Failed(Exception):  # noqa: N818 - a lost race is no error
    """The operation was not done. The message says why."""


class Keys:
    """Keys as they stand in the middle of a transaction. `writes` is what it comes to."""

    def __init__(self, tables: Tables, delayed: Callable[[str], bool]) -> None:
        self._tables = tables
        self._delayed = delayed
        self._changed: dict[str, Entry | None] = {}
        self._checks: dict[str, Write] = {}

    def do(self, op: KeyOp) -> list[Kept[Entry]]:
        """What the operation shows. Raises Failed when it is not possible as things stand, Refused when it never is."""
        if op.verb not in _VERBS:
            raise Refused(400, f"unknown KV operation {op.verb[:32]!r}")
        return _VERBS[op.verb](self, op)

    def writes(self) -> list[Write]:
        """Nothing for keys that are what they were."""
        found = dict(self._checks)
        for key, entry in self._changed.items():
            kept = self._tables.kv.get(key)
            if (kept.value if kept else None) != entry:
                row = rows.KV + key
                found[row] = ("put", row, rows.dump(entry), _at(kept)) if entry else ("delete", row, b"", _at(kept))
        return list(found.values()) if self._changed else []

    # === what stands

    def _get(self, key: str) -> Entry | None:
        if key in self._changed:
            return self._changed[key]
        kept = self._tables.kv.get(key)
        return kept.value if kept else None

    def _index(self, key: str) -> int:
        return _at(self._tables.kv.get(key))

    def _is_at(self, op: KeyOp) -> bool:
        """Whether a key is as it was at the index of an operation; what this transaction wrote itself has no index yet."""
        if self._changed.get(op.key):
            return False
        return op.index == (0 if op.key in self._changed else self._index(op.key))

    def _shown(self, entry: Entry) -> list[Kept[Entry]]:
        kept = self._tables.kv.get(entry.key)
        return [Kept(value=entry, created=kept.created if kept else 0, modified=_at(kept))]

    def _put(self, entry: Entry) -> list[Kept[Entry]]:
        self._changed[entry.key] = entry
        return self._shown(entry)

    def _guard(self, key: str) -> None:
        self._checks.setdefault(rows.KV + key, ("check", rows.KV + key, b"", self._index(key)))

    # === verbs

    def _set(self, op: KeyOp) -> list[Kept[Entry]]:
        before = self._get(op.key) or Entry(key=op.key)
        return self._put(replace(before, value=op.value, flags=op.flags))

    def _cas(self, op: KeyOp) -> list[Kept[Entry]]:
        if not self._is_at(op):
            raise Failed(f'failed to set key "{op.key}", index is stale')
        return self._set(op)

    def _lock(self, op: KeyOp) -> list[Kept[Entry]]:
        session = self._tables.sessions.get(op.session)
        if session is None:
            raise Refused(500, f'invalid session "{op.session}"')
        before = self._get(op.key) or Entry(key=op.key)
        if before.session not in ("", op.session):
            raise Failed(f'failed to lock key "{op.key}", lock is already held')
        if not before.session and self._delayed(op.key):
            raise Failed(f'failed to lock key "{op.key}", due to lock delay')
        row = rows.SESSIONS + op.session
        self._checks[row] = ("check", row, b"", session.modified)
        count = before.lock_index + (0 if before.session else 1)
        return self._put(Entry(key=op.key, value=op.value, flags=op.flags, session=op.session, lock_index=count))

    def _unlock(self, op: KeyOp) -> list[Kept[Entry]]:
        before = self._get(op.key)
        if before is None or not op.session or before.session != op.session:
            raise Failed(f'failed to unlock key "{op.key}", lock isn\'t held, or is held by another session')
        return self._put(replace(before, value=op.value, flags=op.flags, session=""))

    def _read(self, op: KeyOp) -> list[Kept[Entry]]:
        entry = self._get(op.key)
        if entry is None:
            raise Failed(f'key "{op.key}" doesn\'t exist')
        return self._shown(entry)

    def _read_or_empty(self, op: KeyOp) -> list[Kept[Entry]]:
        return self._shown(self._get(op.key) or Entry(key=op.key))

    def _under(self, prefix: str) -> Iterable[str]:
        added = {key for key, entry in self._changed.items() if entry and key.startswith(prefix)}
        return sorted(added.union(self._tables.keys_under(prefix)))

    def _read_tree(self, op: KeyOp) -> list[Kept[Entry]]:
        found = (self._get(key) for key in self._under(op.key))
        return [kept for entry in found if entry for kept in self._shown(entry)]

    def _check_index(self, op: KeyOp) -> list[Kept[Entry]]:
        self._guard(op.key)
        shown = self._read(op)
        if not self._is_at(op):
            raise Failed(f'current modify index {self._index(op.key)} of key "{op.key}" is not {op.index}')
        return shown

    def _check_session(self, op: KeyOp) -> list[Kept[Entry]]:
        self._guard(op.key)
        (shown,) = self._read(op)
        if shown.value.session != op.session:
            raise Failed(f'failed session check for key "{op.key}", current session "{shown.value.session}" is not "{op.session}"')
        return [shown]

    def _check_not_exists(self, op: KeyOp) -> list[Kept[Entry]]:
        self._guard(op.key)
        if self._get(op.key):
            raise Failed(f'key "{op.key}" exists')
        return []

    def _delete(self, op: KeyOp) -> list[Kept[Entry]]:
        self._changed[op.key] = None
        return []

    def _delete_cas(self, op: KeyOp) -> list[Kept[Entry]]:
        if self._get(op.key) and not self._is_at(op):
            raise Failed(f'failed to delete key "{op.key}", index is stale')
        return self._delete(op) if self._get(op.key) else []

    def _delete_tree(self, op: KeyOp) -> list[Kept[Entry]]:
        self._changed.update(dict.fromkeys(self._under(op.key)))
        return []


def _at(kept: Kept[Entry] | None) -> int:
    return kept.modified if kept else 0


_VERBS: dict[str, Callable[[Keys, KeyOp], list[Kept[Entry]]]] = {
    "set": Keys._set,
    "cas": Keys._cas,
    "lock": Keys._lock,
    "unlock": Keys._unlock,
    "get": Keys._read,
    "get-or-empty": Keys._read_or_empty,
    "get-tree": Keys._read_tree,
    "check-index": Keys._check_index,
    "check-session": Keys._check_session,
    "check-not-exists": Keys._check_not_exists,
    "delete": Keys._delete,
    "delete-cas": Keys._delete_cas,
    "delete-tree": Keys._delete_tree,
}
READING = ("get", "get-or-empty", "get-tree", "check-index", "check-session", "check-not-exists")
