"""Finds list items that begin with a dash of typography where YAML wants a hyphen, as word processors make of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAMES = {
    "\N{EN DASH}": "an en dash",
    "\N{EM DASH}": "an em dash",
    "\N{FIGURE DASH}": "a figure dash",
    "\N{HORIZONTAL BAR}": "a horizontal bar",
    "\N{MINUS SIGN}": "a minus sign",
}
DASHES = "".join(_NAMES)
_ITEM = re.compile(rf"[^\S\n]*(?:-[^\S\n]+)*([{DASHES}])(?:\s|\Z)")
_BLOCK = re.compile(r"((?:[^\S\n]*-)*[^\S\n]*)(?:[^#]*:[^\S\n]+)?[|>][-+0-9]*[^\S\n]*(?:#.*)?\r?")


def suspicious(text: str) -> bool:
    """Whether a look at the lines is worthwhile."""
    return not text.isascii() and any(dash in text for dash in DASHES)


def dash_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines (from 0) that begin like a list item but with a wrong dash, and what to say of each. Block texts (`|`, `>`) are passed over."""
    block: int | None = None
    for number, line in enumerate(text.split("\n")):
        if block is not None and (not line.strip() or _indent(line) > block):
            continue
        opening = _BLOCK.fullmatch(line)
        block = _block_indent(line, opening[1]) if opening else None
        if match := _ITEM.match(line):
            yield number, f"the list item starts with {_NAMES[match[1]]} ({match[1]}); YAML wants a hyphen (-)"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _block_indent(line: str, prefix: str) -> int:
    """The column of the key or of the hyphen that a block text belongs to."""
    is_item = line[len(prefix) :].startswith(("|", ">"))
    return max(prefix.rfind("-"), 0) if is_item else len(prefix)
