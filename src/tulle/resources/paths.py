"""Field paths, such as `spec.http[0].match[1].headers.end-user`, in the spelling of the document."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9_/-]+")


def camel(name: str) -> str:
    """`http2_max_requests` as documents write it: `http2MaxRequests`."""
    head, *rest = name.strip("_").split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def member(path: str, key: str) -> str:
    """The path of a mapping's value. A key that would not read well after a dot stands in brackets."""
    if not _PLAIN.fullmatch(key):
        return f'{path}["{key}"]'
    return f"{path}.{key}" if path else key


def item(path: str, index: int) -> str:
    """The path of a list's item."""
    return f"{path}[{index}]"


def locate(document: Any, place: Iterable[str | int]) -> str:
    """The path of a place that models name in their own spelling; a field that is not there is spelled in camelCase."""
    path, value = "", document
    for part in place:
        if isinstance(part, int):
            path, value = item(path, part), value[part] if isinstance(value, list) and part < len(value) else None
        elif part != "[key]":
            key = _written(value, part)
            path, value = member(path, key), value.get(key) if isinstance(value, Mapping) else None
    return path


def _written(value: Any, name: str) -> str:
    if not isinstance(value, Mapping) or name in value:
        return name
    wanted = folded(name)
    return next((key for key in value if folded(key) == wanted), camel(name))


def folded(name: str) -> str:
    """What the spellings of one field have in common."""
    return name.replace("_", "").lower()


def nearest_line(lines: Mapping[str, int], path: str, otherwise: int) -> int:
    """The line of a field, or of the nearest field around it that has one."""
    probe = path
    while probe:
        if line := lines.get(probe):
            return line
        probe = probe[: max(probe.rfind("."), probe.rfind("["), 0)]
    return otherwise
