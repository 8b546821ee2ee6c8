"""`tulle store-key`: the keys that the database is encrypted with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tulle.cli import output
from tulle.cli.failure import Failure
from tulle.cli.started import settings_from

if TYPE_CHECKING:
    from tulle.store.key_file import KeyFile

store_key = typer.Typer(
    name="store-key",
    help="The keys that the control plane's database is encrypted with.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
KeyPath = Annotated[
    Path | None,
    typer.Argument(help="File of keys; default: TULLE_ENCRYPTION_KEY_FILE, else the one beside the database.", metavar="[FILE]"),
]


@store_key.command("new")
def new(file: KeyPath = None) -> None:
    """Put a new key before those in the file, which is made if need be. The control plane encrypts everything with it at its next start.

    \b
    Examples:
      tulle store-key new
      tulle store-key new /etc/tulle/store.key

    Exit codes: 0 done, 2 the file cannot be used.
    """
    from tulle.store.port import StoreError

    found = _file(file)
    try:
        keys = found.add()
    except StoreError as error:
        raise Failure(str(error), 2) from None
    output.out(f"key {keys.ids[0]} is the first in {found.path}")
    if keys.ids[1:]:
        output.out("keep the others until the control plane has started again: what is stored is encrypted with one of them")


@store_key.command("list")
def list_(file: KeyPath = None) -> None:
    """Name the keys in the file, never what they are: the first encrypts, all decrypt.

    Exit codes: 0 done, 2 the file cannot be used.
    """
    from tulle.store.port import StoreError

    try:
        ids = _file(file).read().ids
    except StoreError as error:
        raise Failure(str(error), 2) from None
    output.table(("KEY", "USE"), ((name, "decrypts" if n else "encrypts") for n, name in enumerate(ids)))


def _file(path: Path | None) -> KeyFile:
    from tulle.store.key_file import KeyFile

    settings = settings_from({})
    return KeyFile.of(str(path or settings.encryption_key_file), settings.database(os.environ))
