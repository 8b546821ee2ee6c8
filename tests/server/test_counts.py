"""Limits over all proxies, counted: exactly, with the clock in the test's hand."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tulle.model.gcra import Rate, take
from tulle.model.rate_limits import RateLimit
from tulle.server.counts import MOST, Counts

SECOND = 10**9
DAY = timedelta(days=1)

rates = st.builds(
    Rate, requests=st.integers(1, 1000), per=st.sampled_from([SECOND, 60 * SECOND, 30 * 86_400 * SECOND]), burst=st.integers(1, 50)
)
steps = st.lists(st.tuples(st.integers(0, 5 * SECOND), st.integers(1, 3)), min_size=1, max_size=80)


def limit(requests: int = 2, per: timedelta = timedelta(seconds=1), burst: int = 0, name: str = "default/limit/0") -> RateLimit:
    return RateLimit(name=name, requests=requests, per=per, burst=burst or requests, shared=True)


def allowed(counts: Counts, of: RateLimit, now: int, *values: str, hits: int = 1) -> bool:
    return all(taken.allowed for taken in counts.take([(of, values)], now, hits))


@given(rates, steps, st.integers(0, 10**19))
def test_as_exact_as_a_bucket_of_fractions(rate: Rate, asked: list[tuple[int, int]], start: int) -> None:
    """A bucket that is filled without end, in exact arithmetic, lets through the very same requests."""
    tokens, full, now = Fraction(rate.burst), 0, start
    for later, hits in asked:
        now += later
        tokens = min(tokens + Fraction(later * rate.requests, rate.per), Fraction(rate.burst))
        taken = take(rate, full, now, hits)
        assert taken.allowed == (tokens >= hits)
        if taken.allowed:
            tokens -= hits
            full = taken.full
        assert taken.remaining == int(tokens)


@given(rates, steps)
def test_after_the_wait_it_is_allowed_and_not_before(rate: Rate, asked: list[tuple[int, int]]) -> None:
    full, now = 0, SECOND
    for later, hits in asked:
        now += later
        taken = take(rate, full, now, hits)
        if taken.allowed:
            full = taken.full
        elif hits <= rate.burst:
            assert take(rate, full, now + taken.wait, hits).allowed
            assert not take(rate, full, now + taken.wait - 1, hits).allowed


@given(rates, st.integers(0, 10**15))
def test_a_clock_that_goes_back_never_locks_out_for_longer_than_a_full_burst(rate: Rate, back: int) -> None:
    full, now = 0, 10**18
    while (taken := take(rate, full, now)).allowed:
        full = taken.full
    assert take(rate, full, now - back).wait <= rate.per // rate.requests + 1


def test_what_differs_is_counted_apart_and_what_one_refuses_counts_against_none() -> None:
    counts, each, all_ = Counts(), limit(1, name="default/a/0"), limit(3, name="default/b/0")

    def ask(who: str) -> list[bool]:
        return [taken.allowed for taken in counts.take([(each, (who,)), (all_, ())], SECOND)]

    assert ask("ann") == [True, True]
    assert ask("ann") == [False, True]
    assert ask("ann") == [False, True]
    assert ask("ben") == [True, True]
    assert ask("cat") == [True, True]
    assert ask("dan") == [True, False]


def test_values_that_run_together_are_not_the_same() -> None:
    counts, one = Counts(), limit(1)
    assert allowed(counts, one, SECOND, "a", "bc")
    assert allowed(counts, one, SECOND, "ab", "c")
    assert not allowed(counts, one, SECOND, "a", "bc")


def test_quotas_outlive_the_process_and_shorter_limits_do_not() -> None:
    before, quota, quick = Counts(), limit(2, DAY), limit(2, name="default/quick/0")
    for _ in range(2):
        assert allowed(before, quota, SECOND, "a secret key")
        assert allowed(before, quick, SECOND)
    saved = before.unsaved()
    assert list(saved) == [name for name in saved if name.startswith("default/limit/0/")]
    assert len(saved) == 1
    assert "secret" not in repr(saved), "who was counted is nobody's business"
    assert before.unsaved() == {}
    after = Counts()
    after.restore({name: text for name, text in saved.items() if text})
    assert not allowed(after, quota, 2 * SECOND, "a secret key")
    assert allowed(after, quota, 2 * SECOND, "another key")
    assert allowed(after, limit(3, DAY), 2 * SECOND, "a secret key"), "another limit counts anew"


def test_what_is_given_back_is_forgotten() -> None:
    counts, quota = Counts(), limit(1, DAY)
    allowed(counts, quota, SECOND)
    counts.unsaved()
    counts.sweep(2 * SECOND)
    assert len(counts) == 1
    counts.sweep(SECOND + 86_400 * SECOND)
    assert len(counts) == 0
    assert list(counts.unsaved().values()) == [None]


def test_saved_counts_that_cannot_be_read_count_anew() -> None:
    counts = Counts()
    counts.restore({"a": b"{", "b": b"[1, 2]", "c": b'[1, 2, 3, "4"]', "d": b"[0, 0, 0, 0]", "e": b"[true, 1, 1, 1]"})
    assert len(counts) == 0


def test_there_are_never_more_counts_than_fit() -> None:
    counts, one = Counts(), limit(1, DAY)
    counts.restore({f"default/limit/0/{n}": b"[1, 86400000000000, 1, 1000000000000000000]" for n in range(MOST)})
    assert allowed(counts, one, SECOND, "new")
    assert len(counts) == MOST
    assert not allowed(counts, one, SECOND, "new"), "the newest stays"
