"""The generic cell rate algorithm (ITU-T I.371, annex A): a limit and a burst in one number for each count.

That number is the time at which all that was taken would be given back. It is kept in nanoseconds times the requests of a span, so that
all is whole numbers, and exact: in any time t at most `burst + t * requests / per` are taken, and not one fewer where they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    requests: int
    per: int
    """Nanoseconds."""
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of asking."""

    allowed: bool
    full: int
    """The state to keep if it is allowed: when all is given back, in nanoseconds times `Rate.requests`."""
    remaining: int
    """How many more could be taken at once."""
    wait: int
    """Nanoseconds: where refused until the same would be allowed, else until all is given back."""


def take(rate: Rate, full: int, now: int, hits: int = 1) -> Taken:
    """Asks for `hits` at a time `now` in nanoseconds; `full` is the state, 0 for a new count.

    A clock that goes back takes nothing from callers but what they had used up: a count is never more than used up. More hits than
    `burst` are never allowed, and say so with the longest wait.
    """
    at, most = now * rate.requests, rate.burst * rate.per
    used = min(max(full - at, 0), most)
    wanted = used + hits * rate.per
    if wanted > most:
        return Taken(allowed=False, full=at + used, remaining=(most - used) // rate.per, wait=_up(wanted - most, rate.requests))
    return Taken(allowed=True, full=at + wanted, remaining=(most - wanted) // rate.per, wait=_up(wanted, rate.requests))


def _up(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
