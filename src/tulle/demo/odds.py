"""How far chance may carry a count from what it should be."""

from __future__ import annotations

from math import exp, lgamma, log

RISK = 1e-7
"""The chance that a sound mesh falls outside the bounds, on either side."""


def bounds(trials: int, chance: float, risk: float = RISK) -> tuple[int, int]:
    """The smallest and the largest count to accept of a binomial distribution: beyond each of them lies less than `risk`."""
    if chance <= 0 or chance >= 1:
        certain = trials if chance >= 1 else 0
        return certain, certain
    below = 0.0
    low = high = 0
    for count in range(trials + 1):
        upto = below + _likelihood(trials, count, chance)
        low = count + 1 if upto < risk else low
        high = count
        if upto > 1 - risk:
            break
        below = upto
    return low, high


def _likelihood(trials: int, count: int, chance: float) -> float:
    ways = lgamma(trials + 1) - lgamma(count + 1) - lgamma(trials - count + 1)
    return exp(ways + count * log(chance) + (trials - count) * log(1 - chance))
