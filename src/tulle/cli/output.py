"""How commands print: tables for people, YAML and JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer


class Format(StrEnum):
    TABLE = "table"
    WIDE = "wide"
    YAML = "yaml"
    JSON = "json"


Output = Annotated[Format, typer.Option("--output", "-o", help="How to print.")]


def out(text: str) -> None:
    sys.stdout.write(text + "\n")


def err(text: str) -> None:
    sys.stderr.write(text + "\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell, two spaces apart; the last one is not padded."""
    lines = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        out("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def document(value: Any, form: Format) -> None:
    """A value as YAML or JSON."""
    if form is Format.JSON:
        out(json.dumps(value, indent=2, ensure_ascii=False))
        return
    from tulle.resources.yaml import write

    sys.stdout.write(write(value))


def violation(item: Mapping[str, Any]) -> str:
    """One line: `path:line: Kind/name: field: message`."""
    place = f"{item['path']}:{item['line']}" if item["line"] else item["path"]
    return ": ".join(part for part in (place, item["resource"], item["field"], item["message"]) if part)


def warn(items: Iterable[Mapping[str, Any]]) -> None:
    for item in items:
        err(f"warning: {violation(item)}")


def age(seconds: float) -> str:
    """`42s`, `17m`, `5h`, `3d`."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{int(seconds)}s"


_COLOURS = {"+": "32", "-": "31", "@": "36"}


def coloured_diff(text: str) -> str:
    """Coloured on a terminal only, and not where NO_COLOR is set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return "".join(_colour(line) for line in text.splitlines(keepends=True))


def _colour(line: str) -> str:
    code = _COLOURS.get(line[:1])
    return f"\x1b[{code}m{line.rstrip()}\x1b[0m\n" if code else line
