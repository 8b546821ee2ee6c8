"""How commands print: tables for people, YAML and JSON for programs."""

from __future__ import annotations

import json
import os
import re
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


_MISLEADING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
"""What terminals take for commands, and what makes text look like another; line feeds and tabs are neither."""


def harmless(text: str) -> str:
    """As text may come from anywhere (an answer that a check shows, a name that somebody registered), what would mislead is written out.

    JSON stays the same JSON.
    """
    return _MISLEADING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def out(text: str) -> None:
    sys.stdout.write(harmless(text) + "\n")


def err(text: str) -> None:
    sys.stderr.write(harmless(text) + "\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns as wide as their widest cell, two spaces apart; the last one is not padded. A row is a line, whatever its cells hold."""
    lines = [[harmless(str(cell)).replace("\n", "\\n").replace("\t", "\\t") for cell in row] for row in (headers, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        out("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def document(value: Any, form: Format) -> None:
    """A value as YAML or JSON."""
    if form is Format.JSON:
        out(json.dumps(value, indent=2, ensure_ascii=False))
        return
    from tulle.resources.yaml import write

    text = write(value)
    sys.stdout.write(harmless(text) if sys.stdout.isatty() else text)


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
    text = harmless(text)
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return "".join(_colour(line) for line in text.splitlines(keepends=True))


def _colour(line: str) -> str:
    code = _COLOURS.get(line[:1])
    return f"\x1b[{code}m{line.rstrip()}\x1b[0m\n" if code else line
