"""What the operations do to the elements of a list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tulle.model.patches import Patch
from tulle.translate.patching.merge import merge

_MERGES = ("MERGE", "MERGE_AND_REPLACE_LIST")


def merged(target: Any, patch: Patch, value: Any) -> bool:
    """Merges where the operation is to do so; whether it did."""
    if patch.operation not in _MERGES:
        return False
    merge(target, value, replace_lists=patch.operation == "MERGE_AND_REPLACE_LIST")
    return True


def change(elements: Any, patch: Patch, value: Any, matches: Callable[[Any], bool], end: Callable[[list[Any]], int] = len) -> bool:
    """Applies a patch to a repeated field, whose elements it is for where `matches` holds. `end` is where ADD puts one. Whether it did.

    With INSERT_BEFORE and INSERT_AFTER the first that matches is the place; where none does, nothing is done.
    """
    before = list(elements)
    found = [n for n, element in enumerate(before) if matches(element)]
    if patch.operation == "ADD":
        after = [*before[: end(before)], value, *before[end(before) :]]
    elif patch.operation == "INSERT_FIRST":
        after = [value, *before]
    elif not found:
        return False
    elif patch.operation == "REMOVE":
        after = [element for n, element in enumerate(before) if n not in found]
    elif patch.operation == "REPLACE":
        after = [value if n in found else element for n, element in enumerate(before)]
    elif patch.operation in ("INSERT_BEFORE", "INSERT_AFTER"):
        at = found[0] + (patch.operation == "INSERT_AFTER")
        after = [*before[:at], value, *before[at:]]
    else:
        for n in found:
            merged(elements[n], patch, value)
        return True
    copies = [type(element).FromString(element.SerializeToString()) for element in after]
    del elements[:]
    elements.extend(copies)
    return True
