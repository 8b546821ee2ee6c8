"""Halving finds exactly the bad documents, in few trials."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from tulle.model.resource import Key
from tulle.server.culprits import culprits


def key(n: int) -> Key:
    return Key(kind="VirtualService", namespace="default", name=f"v{n}")


class Judge:
    """Refuses a batch that holds one of `bad`, or all of `together`."""

    def __init__(self, bad: set[Key], together: set[Key] | None = None) -> None:
        self.bad, self.together, self.trials = bad, together or set(), 0

    async def __call__(self, batch: Sequence[Key]) -> str | None:
        self.trials += 1
        if found := sorted(self.bad & set(batch)):
            return f"bad: {found[0].name}"
        return "clash" if self.together and self.together <= set(batch) else None


@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=3))
def test_exactly_the_bad_ones_are_named(size: int, bad: set[int]) -> None:
    suspects = [key(n) for n in range(size)]
    judge = Judge({key(n) for n in bad if n < size})
    found = asyncio.run(culprits(suspects, judge))
    assert set(found) == judge.bad
    assert all(text == f"bad: {k.name}" for k, text in found.items())


def test_one_bad_among_a_hundred_costs_few_trials() -> None:
    judge = Judge({key(41)})
    assert asyncio.run(culprits([key(n) for n in range(100)], judge)) == {key(41): "bad: v41"}
    assert judge.trials <= 15


@given(st.integers(2, 40), st.sets(st.integers(0, 39), min_size=2, max_size=3))
def test_documents_refused_only_together_are_named_and_no_others(size: int, together: set[int]) -> None:
    clash = {key(n % size) for n in together}
    judge = Judge(set(), clash)
    assert asyncio.run(culprits([key(n) for n in range(size)], judge)) == dict.fromkeys(sorted(clash), "clash")
