"""How documents are named on the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from tulle.cli.failure import Failure

Namespace = Annotated[str, typer.Option("--namespace", "-n", help="The namespace that is meant.")]
DefaultNamespace = Annotated[str, typer.Option("--namespace", "-n", help="For documents that name no namespace.")]


def split(words: Iterable[str]) -> tuple[str, list[str]]:
    """Reads `KIND NAME...`, `KIND/NAME` or `KIND` alone: the kind, and the names."""
    kind, *names = (*words,) or ("",)
    if "/" in kind:
        kind, _, name = kind.partition("/")
        names = [name, *names]
    if any("/" in name for name in names):
        raise Failure(f"{' '.join(names)}: write KIND NAME... or a single KIND/NAME", 2)
    return kind, names
