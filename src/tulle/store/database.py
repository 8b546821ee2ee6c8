"""The file behind the SQLite store: opened by one process at a time, readable by its owner only, written in durable transactions."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from tulle.store.key_file import KeyFile
from tulle.store.memory import State, Step
from tulle.store.port import Change, Entry, StoreError
from tulle.store.seal import Seal, SealError
from tulle.store.sealing import SEALED, opened_seal

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leases (id INTEGER PRIMARY KEY, ttl REAL NOT NULL);
CREATE TABLE IF NOT EXISTS entries (
  key TEXT PRIMARY KEY, value BLOB NOT NULL, created INTEGER NOT NULL, revision INTEGER NOT NULL, lease INTEGER NOT NULL
) WITHOUT ROWID;
"""


class StoreInUseError(StoreError):
    """Another control plane has the file open."""


class Database:
    """One open file. Not safe for several threads at once."""

    def __init__(self, path: Path, keys: KeyFile | None = None) -> None:
        """With `keys` all values are encrypted on the disk, those that are there already, too.

        Raises StoreError when the file cannot be used, StoreInUseError when another process uses it.
        """
        self._path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _lock(path)
        except (FileExistsError, NotADirectoryError) as error:
            raise StoreError(f"the store {path} cannot be opened: {path.parent} is not a folder") from error
        except OSError as error:
            raise StoreError(f"the store {path} cannot be opened: {error.strerror}") from error
        try:
            self._connection, self._seal = _connect(path, keys)
        except (OSError, sqlite3.Error, SealError, StoreError) as error:
            os.close(self._lock)
            raise error if isinstance(error, StoreError) else StoreError(f"the store {path} cannot be opened: {error}") from error

    def load(self) -> State:
        """Everything that was ever acknowledged and not deleted since."""
        run = self._connection.execute
        try:
            meta = dict(run("SELECT name, number FROM meta"))
            rows = run("SELECT key, value, created, revision, lease FROM entries")
            entries = [Entry(key=k, value=self._opened(k, v), created=c, revision=r, lease=le) for k, v, c, r, le in rows]
            return State(meta.get("revision", 0), entries, dict(run("SELECT id, ttl FROM leases")))
        except (sqlite3.Error, SealError) as error:
            raise StoreError(f"the store {self._path} cannot be read: {error}") from error

    def write(self, steps: Iterable[Step]) -> None:
        """All steps in one transaction, on disk when this returns. Raises StoreError when nothing was written."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for step in steps:
                self._step(step)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise StoreError(f"the store {self._path} cannot be written: {error}") from error

    def close(self) -> None:
        self._connection.close()
        os.close(self._lock)

    def _step(self, step: Step) -> None:
        run = self._connection.execute
        for lease, ttl in step.leases.items():
            if ttl is None:
                run("DELETE FROM leases WHERE id = ?", (lease,))
            else:
                run("INSERT INTO leases VALUES (?, ?)", (lease, ttl))
        for change in step.changes:
            self._change(change)
        run("INSERT OR REPLACE INTO meta VALUES ('revision', ?)", (step.revision,))

    def _change(self, change: Change) -> None:
        if change.entry is None:
            self._connection.execute("DELETE FROM entries WHERE key = ?", (change.key,))
            return
        e = change.entry
        value = self._seal.seal(e.key, e.value) if self._seal else e.value
        self._connection.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?)", (e.key, value, e.created, e.revision, e.lease))

    def _opened(self, key: str, value: bytes) -> bytes:
        return self._seal.open(key, value) if self._seal else value


def _lock(path: Path) -> int:
    """A lock that dies with its process, on a file beside the database (SQLite has its own locks on the database)."""
    file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(file, 20).decode(errors="replace").strip()
        os.close(file)
        who = f"by process {owner}" if owner else "by another process"
        message = f"the store {path} is in use {who}: stop that control plane, or give this one its own store (--store sqlite:PATH)"
        raise StoreInUseError(message) from error
    os.ftruncate(file, 0)
    os.write(file, str(os.getpid()).encode())
    return file


def _connect(path: Path, keys: KeyFile | None) -> tuple[sqlite3.Connection, Seal | None]:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _check_format(path, connection.execute("PRAGMA user_version").fetchone()[0])
        connection.executescript(_TABLES)
        return connection, opened_seal(connection, keys)
    except (sqlite3.Error, SealError, StoreError):
        connection.close()
        raise


def _check_format(path: Path, version: int) -> None:
    if version > SEALED:
        raise StoreError(f"the store {path} was written by a newer Tulle (format {version}, this one knows {SEALED}): upgrade Tulle")
