"""The lines of many workloads on one terminal: each with its name in front, in a colour of its own."""

from __future__ import annotations

import os
import zlib
from typing import TextIO

COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
"""ANSI foreground colours, none of them red: that is for errors."""


class Prefixed:
    """A sink that writes `reviews-v1 | line`. Names are as wide as the widest so far. Colours on a terminal, unless NO_COLOR is set."""

    def __init__(self, stream: TextIO, *, colour: bool | None = None, width: int = 0) -> None:
        self._stream = stream
        self._colour = stream.isatty() and not os.environ.get("NO_COLOR") if colour is None else colour
        self._width = width

    def __call__(self, name: str, line: str) -> None:
        self._width = max(self._width, len(name))
        self._stream.write(f"{self._painted(name)} {line}\n")
        self._stream.flush()

    def _painted(self, name: str) -> str:
        text = f"{name:<{self._width}} |"
        if not self._colour:
            return text
        # By name, so that a workload keeps its colour from one start to the next.
        return f"\x1b[{COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]}m{text}\x1b[0m"
