"""`tulle demo`: a sample mesh, and a tour of what it can do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from tulle.cli.failure import Failure


def demo(
    save: Annotated[Path | None, typer.Option(metavar="DIR", help="Only write the demo's mesh file and rules into DIR.")] = None,
    stay: Annotated[
        bool | None, typer.Option("--stay/--no-stay", help="Whether the mesh stays up after the tour [default: on a terminal].")
    ] = None,
) -> None:
    """Start a bookshop of small services, send traffic through it, and show what was asked of the mesh and what was measured.

    On a terminal the mesh then stays up until Ctrl-C. Elsewhere the exit code is 0 if all was as asked, else 1.

    \b
      tulle demo
      tulle demo --save bookshop && tulle up bookshop/mesh.yaml
    """
    if save is not None:
        _save(save)
        return
    from tulle.cli.started import started
    from tulle.demo.guide import guide

    wanted = sys.stdout.isatty() if stay is None else stay
    sys.exit(started(lambda stop, hurry: guide(stop, hurry, stay=wanted)))


def _save(folder: Path) -> None:
    from tulle.demo import bookshop

    try:
        written = bookshop.save(folder)
    except OSError as error:
        raise Failure(f"cannot write {error.filename}: {error.strerror}") from error
    for path in written:
        typer.echo(path)
