"""The path of a request as the data plane sees it before it looks for a route.

Measured on Envoy 1.40 with `normalize_path` on: dot segments are resolved, backslashes become slashes, escapes of unreserved characters
are decoded, slashes are neither merged nor decoded. The query is left alone.
"""

from __future__ import annotations

import re
from string import ascii_letters, digits, hexdigits

from tulle.model.screen import PathLevel

_UNRESERVED = frozenset(ascii_letters + digits + "-._~")
_ESCAPED = frozenset(' "<>^`{|}')
_HEX = frozenset(hexdigits)
_ESCAPED_SLASH = re.compile("%(?:2f|5c)", re.IGNORECASE)


def split_query(path: str) -> tuple[str, str]:
    """The path without its query, and the query with its `?`."""
    bare, mark, query = path.partition("?")
    return bare, mark + query


def canonical(path: str, level: PathLevel) -> str | None:
    """The form of a path (query included) at a level; None where the data plane refuses it."""
    if level is PathLevel.NONE:
        return path
    bare, query = split_query(path)
    if level is PathLevel.DECODE_AND_MERGE_SLASHES:
        bare = _ESCAPED_SLASH.sub(lambda found: "/" if found[0].lower() == "%2f" else "\\", bare)
    normal = normalise(bare)
    if normal is not None and level is not PathLevel.BASE:
        normal = _merged(normal)
    return None if normal is None else normal + query


def _merged(path: str) -> str:
    """Nothing but slashes becomes two of them: what stands before the first name, and what stands behind the last."""
    return "//" if path.startswith("//") and not path.strip("/") else re.sub("//+", "/", path)


def normalise(path: str) -> str | None:
    """The normal form of a path (query included); None where the data plane refuses it (an escaped NUL)."""
    bare, query = split_query(path)
    normal = _Normaliser(_without_parameters(bare)).run()
    return None if normal is None else normal + query


def _without_parameters(path: str) -> str:
    """Dot segments may carry parameters (`/..;x/`), which do not stop them from being dot segments."""
    return "/".join(_dots(segment) for segment in path.split("/"))


def _dots(segment: str) -> str:
    head, mark, _ = segment.partition(";")
    return head if mark and head in (".", "..") else segment


class _Normaliser:
    """Reads the path once from left to right."""

    def __init__(self, path: str) -> None:
        self._in = path
        self._at = 0
        self._out: list[str] = []
        self._stray = -3
        """Where in the output the last `%` stands that starts no escape."""

    def run(self) -> str | None:
        while self._at < len(self._in):
            if not self._step():
                return None
        return "".join(self._out)

    def _step(self) -> bool:
        char = self._in[self._at]
        if dot := self._dot(self._at):
            self._take_dot(dot)
        elif char == "%":
            return self._take_escape()
        else:
            self._out.append("/" if char == "\\" else f"%{ord(char):02X}" if char in _ESCAPED else char)
            self._split_last()
            self._at += 1
        return True

    def _split_last(self) -> None:
        """One character an entry, so that places in the output can be counted."""
        self._out[-1:] = list(self._out[-1])

    def _dot(self, at: int) -> int:
        """How many characters at `at` spell a dot; 0 when none do."""
        if self._in[at : at + 1] == ".":
            return 1
        return 3 if self._in[at : at + 3].lower() == "%2e" else 0

    def _slash(self, at: int) -> bool:
        return self._in[at : at + 1] in ("/", "\\")

    def _take_dot(self, dot: int) -> None:
        """A dot: a segment of its own, the first of two, or an ordinary character."""
        after = self._at + dot
        if self._out and self._out[-1] == "/":
            for dots, end in ((1, after), (2, after + self._dot(after))):
                if dots == 2 and end == after:
                    break
                if end == len(self._in) or self._slash(end):
                    self._leave(dots)
                    self._at = min(end + 1, len(self._in))
                    return
        self._out.append(".")
        self._at = after

    def _leave(self, dots: int) -> None:
        """For `..` the last segment goes; its slash before it stays."""
        if dots == 1 or len(self._out) == 1:
            return
        self._out.pop()
        while self._out[-1] != "/" and len(self._out) > 1:
            self._out.pop()
        if self._stray >= len(self._out):
            self._stray = -3

    def _take_escape(self) -> bool:
        code = self._in[self._at + 1 : self._at + 3]
        if len(code) < 2 or not _HEX.issuperset(code):
            self._stray = len(self._out)
            self._out.append("%")
            self._at += 1
            return True
        char = chr(int(code, 16))
        self._at += 3
        if char in _UNRESERVED:
            self._out.append(char)
            self._guard()
        else:
            self._out += ["%", *code]
        return char != "\0"

    def _guard(self) -> None:
        """A decoded character must not complete an escape with a stray `%` before it: that `%` is then escaped itself."""
        tail = len(self._out) - self._stray
        code = self._out[self._stray + 1 :] if tail == 3 else [self._out[-1], *self._in[self._at : self._at + 1]]
        if tail not in (2, 3) or len(code) < 2 or not _HEX.issuperset(code):
            return
        self._out[self._stray + 1 : self._stray + 1] = ["2", "5"]
        self._stray = -3
