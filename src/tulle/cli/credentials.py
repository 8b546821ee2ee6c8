"""What commands show to a control plane, and by what they know it: options before the command, or variables.

TULLE_TOKEN, else the file of --token-file (TULLE_TOKEN_FILE); --ca-file (TULLE_CA_FILE); --cert-file and --key-file (TULLE_CERT_FILE,
TULLE_KEY_FILE).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tulle.cli.failure import Failure
from tulle.credentials import Credentials

if TYPE_CHECKING:
    from ssl import SSLContext

VARIABLE, FILE_VARIABLE = "TULLE_TOKEN", "TULLE_TOKEN_FILE"
CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE = "TULLE_CA_FILE", "TULLE_CERT_FILE", "TULLE_KEY_FILE"


class FromEnvironment(Credentials):
    """Raises Failure for what cannot be used."""

    def headers(self) -> Mapping[str, str]:
        """With the token; none where there is no token."""
        text = os.environ.get(VARIABLE, "").strip() or read(os.environ.get(FILE_VARIABLE, ""))
        if not text.isascii() or not text.isprintable():
            raise Failure(f"the token of {VARIABLE} or --token-file is none: it has characters that no token has", 2)
        return {"authorization": f"Bearer {text}"} if text else {}

    def context(self) -> SSLContext | None:
        from tulle.model.tls import Hidden
        from tulle.secure import context_of, show

        roots, certificate, key = (os.environ.get(name, "") for name in (CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE))
        if bool(certificate) != bool(key):
            raise Failure("--cert-file and --key-file: one is of no use without the other", 2)
        if not roots and not certificate:
            return None
        try:
            context = context_of(read(roots, "--ca-file")) if roots else _of_machine()
        except ValueError as error:
            raise Failure(f"--ca-file: {roots}: {error}", 2) from None
        if certificate:
            try:
                show(context, read(certificate, "--cert-file").encode(), Hidden(read(key, "--key-file").encode()))
            except ValueError as error:
                raise Failure(f"--cert-file, --key-file: {error}", 2) from None
        return context


class OfAgent(FromEnvironment):
    """For programs that run on: what cannot be used now may be put right while they do. Raises OSError in the place of Failure.

    What cannot be used from the start is a Failure still.
    """

    def __init__(self) -> None:
        super().headers()
        super().context()

    def headers(self) -> Mapping[str, str]:
        try:
            return super().headers()
        except Failure as failure:
            raise OSError(str(failure)) from None

    def context(self) -> SSLContext | None:
        try:
            return super().context()
        except Failure as failure:
            raise OSError(str(failure)) from None


def _of_machine() -> SSLContext:
    from ssl import create_default_context

    return create_default_context()


def read(path: str, option: str = "--token-file") -> str:
    """The text of a file; empty where none is named. Raises Failure."""
    try:
        return Path(path).read_text(encoding="utf-8").strip() if path else ""
    except OSError as error:
        raise Failure(f"{option}: {path}: cannot be read: {error.strerror}", 2) from None
    except UnicodeDecodeError:
        raise Failure(f"{option}: {path}: holds no text", 2) from None


def join_token(path: str) -> str:
    """The tokens to join with: of TULLE_JOIN_TOKEN, else of that file; empty where there are none. Raises Failure."""
    text = os.environ.get("TULLE_JOIN_TOKEN", "").strip() or read(path, "--join-token-file")
    if not all(token.startswith("tulle-join.") for token in text.split()):
        raise Failure("the token to join with is none: make one with tulle token create --for NAMESPACE/SERVICE_ACCOUNT", 2)
    return text
