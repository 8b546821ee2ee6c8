"""The token that commands show to a control plane: of TULLE_TOKEN, else of the file of --token-file (TULLE_TOKEN_FILE)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from tulle.cli.failure import Failure

VARIABLE, FILE_VARIABLE = "TULLE_TOKEN", "TULLE_TOKEN_FILE"


def credentials() -> Mapping[str, str]:
    """Headers with the token; none where there is no token. Raises Failure for one that cannot be used."""
    text = os.environ.get(VARIABLE, "").strip() or read(os.environ.get(FILE_VARIABLE, ""))
    if not text.isascii() or not text.isprintable():
        raise Failure(f"the token of {VARIABLE} or --token-file is none: it has characters that no token has", 2)
    return {"authorization": f"Bearer {text}"} if text else {}


def read(path: str, option: str = "--token-file") -> str:
    """The text of a token's file; empty where no file is named. Raises Failure."""
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except OSError as error:
        raise Failure(f"{option}: {path}: cannot be read: {error.strerror}", 2) from None
    except UnicodeDecodeError:
        raise Failure(f"{option}: {path}: holds no token", 2) from None


def join_token(path: str) -> str:
    """The token to join with: of TULLE_JOIN_TOKEN, else of that file; empty where there is none. Raises Failure."""
    text = os.environ.get("TULLE_JOIN_TOKEN", "").strip() or read(path, "--join-token-file")
    if text and not text.startswith("tulle-join."):
        raise Failure("the token to join with is none: make one with tulle token create --for NAMESPACE/SERVICE_ACCOUNT", 2)
    return text
