"""Durations as Go writes and reads them: `10s`, `1m30s`, `100ms`."""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_LONGEST = 292 * 365 * 86_400.0
"""Seconds that fit into 64 bits of nanoseconds."""


def parse(text: str) -> float:
    """Seconds. Raises ValueError."""
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text.removeprefix("+"))
    if rest == "0":
        return 0.0
    parts = _PART.findall(rest) if len(rest) <= 64 else []
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        raise ValueError(f"time: invalid duration {text[:64]!r}")
    seconds = sign * sum(float(number) * _UNITS[unit] for number, unit in parts)
    if abs(seconds) > _LONGEST:
        raise ValueError(f"time: invalid duration {text[:64]!r}")
    return seconds


def read(value: object) -> float:
    """Seconds from text, or from a number of nanoseconds. Raises ValueError."""
    if isinstance(value, str):
        return parse(value) if value else 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LONGEST * 1e9:
        raise ValueError("time: invalid duration")
    return value / 1e9


def show(seconds: float) -> str:
    """As Go prints it: `1m30s`, `1h0m0s`, `250ms`."""
    nanoseconds = round(seconds * 1e9)
    if nanoseconds == 0:
        return "0s"
    if abs(nanoseconds) < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if abs(nanoseconds) >= size:
                return f"{_plain(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{_plain(rest, 1_000_000_000)}s"
    return f"{hours}h{minutes}m{tail}" if hours else f"{minutes}m{tail}" if minutes else tail


def _plain(amount: int, size: int) -> str:
    whole, part = divmod(amount, size)
    return f"{whole}.{str(part).zfill(len(str(size)) - 1).rstrip('0')}" if part else str(whole)
