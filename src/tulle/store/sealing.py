"""Brings an SQLite file into the form in which all its values are encrypted with the first key, all at once or not at all."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

from tulle.logs import Log
from tulle.store.key_file import OPTION, KeyFile
from tulle.store.seal import SALT_BYTES, Seal, SealError

PLAIN, SEALED = 1, 2
"""Forms of the file (`user_version`): values as they are, and encrypted."""
_SWEEP = "sweep"
"""In the table of numbers while the pages of the file may still hold what was rewritten."""
_log = Log("store")


def opened_seal(run: sqlite3.Connection, keys: KeyFile | None) -> Seal | None:
    """What seals and opens the values from now on; None where they are as they are. Raises SealError, StoreError."""
    form = run.execute("PRAGMA user_version").fetchone()[0]
    if keys is None:
        if form >= SEALED:
            raise SealError(f"its values are encrypted: name the file of the key with {OPTION}")
        run.execute(f"PRAGMA user_version = {PLAIN}")
        return None
    known = keys.read() if form >= SEALED else keys.kept()
    seal = Seal(known, os.urandom(SALT_BYTES))
    run.execute("PRAGMA secure_delete = ON")
    if rewritten := dict(_outdated(run, seal, form)):
        _log.info("values are encrypted anew", values=len(rewritten), key=known.ids[0])
    if rewritten or form < SEALED:
        _rewrite(run, rewritten)
    if run.execute("SELECT 1 FROM meta WHERE name = ?", (_SWEEP,)).fetchone():
        _sweep(run)
    return seal


def _outdated(run: sqlite3.Connection, seal: Seal, form: int) -> Iterator[tuple[str, bytes]]:
    """Values that are in plain text, or under an older key, as they are to be."""
    for name, value in run.execute("SELECT key, value FROM entries"):
        if form < SEALED:
            yield name, seal.seal(name, value)
        elif not seal.is_current(value):
            yield name, seal.seal(name, seal.open(name, value))


def _rewrite(run: sqlite3.Connection, values: dict[str, bytes]) -> None:
    run.execute("BEGIN IMMEDIATE")
    run.executemany("UPDATE entries SET value = ? WHERE key = ?", ((value, name) for name, value in values.items()))
    run.execute("INSERT OR REPLACE INTO meta VALUES (?, 1)", (_SWEEP,))
    run.execute(f"PRAGMA user_version = {SEALED}")
    run.execute("COMMIT")


def _sweep(run: sqlite3.Connection) -> None:
    """Nothing of what was written before is left, in no page of the file and of its journal."""
    run.execute("VACUUM")
    run.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    run.execute("DELETE FROM meta WHERE name = ?", (_SWEEP,))
