"""The counts of limits over all proxies, in memory. Values that tell requests apart are kept as digests: they may be secrets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from tulle.model.gcra import Rate, Taken, take
from tulle.model.rate_limits import RateLimit

MOST = 500_000
"""Counts that are kept; then those that began first are forgotten."""
LASTING = timedelta(days=1) // timedelta(microseconds=1) * 1000
"""Limits over so many nanoseconds are to outlive the process."""
_SAVED = 4
"""Numbers that a saved count consists of."""


class CountsGoneError(Exception):
    """A database of counts cannot be asked. The message says why, without a word of where it is, as that may hold a password."""


@dataclass(frozen=True, slots=True)
class _Count:
    rate: Rate
    full: int

    def over(self, now: int) -> bool:
        """Whether it is as if nothing had been counted."""
        return self.full <= now * self.rate.requests


class Counts:
    """All times are in nanoseconds since the epoch, as a count may outlive the process."""

    def __init__(self) -> None:
        self._counts: dict[str, _Count] = {}
        self._unsaved: set[str] = set()

    def __len__(self) -> int:
        return len(self._counts)

    def take(self, asked: Sequence[tuple[RateLimit, Iterable[str]]], now: int, hits: int = 1) -> tuple[Taken, ...]:
        """Asks of each limit, with the values that tell this request apart. If one refuses, it counts against none."""
        names = [count_name(limit, values) for limit, values in asked]
        rates = [_rate(limit) for limit, _ in asked]
        found = tuple(take(rate, self._full(name, rate), now, hits) for name, rate in zip(names, rates, strict=True))
        if all(taken.allowed for taken in found):
            for name, rate, taken in zip(names, rates, found, strict=True):
                self._counts[name] = _Count(rate, taken.full)
                if rate.per >= LASTING:
                    self._unsaved.add(name)
            if len(self._counts) > MOST:
                self.sweep(now)
        return found

    def sweep(self, now: int) -> None:
        """Forgets what is as if it had not been, and the oldest where there are too many."""
        gone = [name for name, count in self._counts.items() if count.over(now)]
        gone += list(self._counts)[: max(len(self._counts) - len(gone) - MOST, 0)]
        for name in gone:
            if (count := self._counts.pop(name, None)) and count.rate.per >= LASTING:
                self._unsaved.add(name)

    def unsaved(self) -> Mapping[str, bytes | None]:
        """What changed since the last time of what is to outlive the process; None for what is gone."""
        names, self._unsaved = self._unsaved, set()
        return {name: _saved(self._counts[name]) if name in self._counts else None for name in names}

    def restore(self, saved: Mapping[str, bytes]) -> None:
        """What `unsaved` told once. What cannot be read counts anew."""
        for name, text in saved.items():
            if count := _read(text):
                self._counts[name] = count

    def _full(self, name: str, rate: Rate) -> int:
        """A limit that became another one counts anew."""
        count = self._counts.get(name)
        return count.full if count and count.rate == rate else 0


def _rate(limit: RateLimit) -> Rate:
    return Rate(requests=limit.requests, per=limit.per // timedelta(microseconds=1) * 1000, burst=limit.burst)


def count_name(limit: RateLimit, values: Iterable[str]) -> str:
    """One of a kind for each set of values, which it does not tell."""
    digest = hashlib.blake2b("\0".join(values).encode(), digest_size=16).hexdigest()
    return f"{limit.name}/{digest}"


def _saved(count: _Count) -> bytes:
    return json.dumps([count.rate.requests, count.rate.per, count.rate.burst, count.full]).encode()


def _read(text: bytes) -> _Count | None:
    try:
        said = json.loads(text)
    except ValueError:
        return None
    if not (isinstance(said, list) and len(said) == _SAVED and all(type(n) is int and n > 0 for n in said)):
        return None
    requests, per, burst, full = said
    return _Count(Rate(requests=requests, per=per, burst=burst), full)
