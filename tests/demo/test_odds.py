"""Bounds of chance, checked against sums done another way."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.demo.odds import bounds


def tail(trials: int, chance: float, counts: range) -> float:
    return sum(comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in counts)


@given(trials=st.integers(1, 200), chance=st.floats(0.01, 0.99), risk=st.sampled_from([1e-2, 1e-4, 1e-6]))
def test_little_lies_beyond_the_bounds_and_more_just_within(trials: int, chance: float, risk: float) -> None:
    low, high = bounds(trials, chance, risk)
    assert tail(trials, chance, range(low)) < risk * 1.001
    assert tail(trials, chance, range(low + 1)) >= risk * 0.999
    assert tail(trials, chance, range(high + 1, trials + 1)) < risk * 1.001
    assert tail(trials, chance, range(high, trials + 1)) >= risk * 0.999


@pytest.mark.parametrize(("chance", "expected"), [(0.0, (0, 0)), (1.0, (50, 50))])
def test_what_is_certain_has_no_room(chance: float, expected: tuple[int, int]) -> None:
    assert bounds(50, chance) == expected


def test_large_numbers_do_not_overflow() -> None:
    low, high = bounds(100_000, 0.1)
    assert 9_000 < low < 10_000 < high < 11_000
