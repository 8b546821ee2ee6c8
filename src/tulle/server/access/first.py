"""The first admin's token: made at first start, in a file beside the store that this user alone can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from tulle.logs import Log
from tulle.model.tls import Hidden
from tulle.server.access.tokens import API, BOOTSTRAP, Tokens

FILE = "admin-token"
_log = Log("access")
_HEAD = f"{API}.{BOOTSTRAP}."


async def first_token(tokens: Tokens, database: str) -> Hidden:
    """The text in the file beside the database, which from now on is a token.

    A file that was deleted, or whose token was taken back, is made anew, and the old text is good for nothing.

    Raises OSError for a file that cannot be used.
    """
    path = Path(database).with_name(FILE)
    if text := await tokens.keep_first(_kept(path)):
        return Hidden(text.encode())
    path.unlink()
    return Hidden((await tokens.keep_first(_made(path))).encode())


def _kept(path: Path) -> str:
    return _read(path) if path.exists() else _made(path)


def _read(path: Path) -> str:
    if path.stat().st_mode & 0o077:
        raise PermissionError(f"{path}: can be read by others; delete it, and a new one is made at the next start")
    secret = path.read_text(encoding="ascii", errors="replace").strip().removeprefix(_HEAD)
    if len(secret) < 40 or "." in secret or not secret.isascii():
        raise OSError(f"{path}: holds no token; delete it, and a new one is made at the next start")
    return secret


def _made(path: Path) -> str:
    secret = secrets.token_urlsafe(32)
    target = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(target, "w", encoding="utf-8") as file:
        file.write(f"{_HEAD}{secret}\n")
    _log.info("the API asks for tokens; an admin's was made", file=str(path))
    return secret
