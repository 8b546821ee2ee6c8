"""Files with secrets in them: for this user alone, and written as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Takes the place of what was there at once. A missing folder is made, for this user alone. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    target = os.open(new, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(target, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
        _flush(path.parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        raise


def _flush(folder: Path) -> None:
    """Else power that fails may undo the new name, though what was encrypted with the key in there is on the disk already.

    Not every file system can.
    """
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def is_private(path: Path) -> bool:
    """Whether nobody else can read it. Raises OSError where there is none."""
    return not path.stat().st_mode & 0o077
