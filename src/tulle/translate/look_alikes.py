"""Headers by which the proxy tells endpoints who calls: what callers write there is taken out, and so is what programs take for it.

CGI and its heirs make one variable of `x-user` and `x_user`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tulle.translate.values import Fields, regex


def removals(headers: Iterable[str]) -> list[Fields]:
    """Mutations of requests that take out the look-alikes of headers, not those themselves."""
    patterns = [_pattern(header) for header in sorted(set(headers)) if "-" in header]
    return [{"remove_on_match": {"key_matcher": {"safe_regex": regex(pattern)}}} for pattern in patterns]


def _pattern(header: str) -> str:
    """The same letters, with `_` for one `-` at least; by the place of the first."""
    parts = [re.escape(part) for part in header.lower().split("-")]
    return "|".join("-".join(parts[:n]) + "_" + "[-_]".join(parts[n:]) for n in range(1, len(parts)))
