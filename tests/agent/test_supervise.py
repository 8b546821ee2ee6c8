"""The restart machine: its table, and what holds whatever happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.agent.supervise import (
    Begin,
    Command,
    Elapsed,
    End,
    Event,
    Exited,
    Hurry,
    Kill,
    Phase,
    Policy,
    Restart,
    Start,
    Started,
    State,
    Step,
    Stop,
    Terminate,
    Wait,
    step,
)

ALWAYS = Policy(first_delay=1.0, max_delay=8.0, stable_after=10.0)
CRASH = Exited(code=1, at=0.0)


def play(policy: Policy, *events: Event) -> tuple[State, list[Command]]:
    """Feeds events to a new machine. The last state, and all commands in order."""
    state, told = State(), []
    for event in events:
        state, commands = step(policy, state, event)
        told += commands
    return state, told


def test_a_crash_is_followed_by_a_wait_and_a_new_start() -> None:
    state, told = play(ALWAYS, Begin(), Started(at=0.0), CRASH, Elapsed(), Started(at=2.0))
    assert told == [Start(), Wait(delay=1.0), Start()]
    assert state.phase is Phase.RUNNING


def test_short_runs_make_waits_longer_up_to_the_longest() -> None:
    run = (Started(at=0.0), CRASH, Elapsed())
    _, told = play(ALWAYS, Begin(), *run * 6)
    assert [c.delay for c in told if isinstance(c, Wait)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_stable_run_makes_earlier_failures_forgotten() -> None:
    short = (Started(at=0.0), CRASH, Elapsed())
    long = (Started(at=100.0), Exited(code=1, at=110.0), Elapsed())
    _, told = play(ALWAYS, Begin(), *short * 3, *long, *short)
    assert [c.delay for c in told if isinstance(c, Wait)] == [1.0, 2.0, 4.0, 1.0, 2.0]


def test_a_program_that_cannot_be_started_is_tried_again() -> None:
    _, told = play(ALWAYS, Begin(), Exited(code=127, at=500.0), Elapsed(), Exited(code=127, at=501.0))
    assert told == [Start(), Wait(delay=1.0), Start(), Wait(delay=2.0)]


@pytest.mark.parametrize(
    ("restart", "code", "last"),
    [
        (Restart.ALWAYS, 0, Wait(delay=1.0)),
        (Restart.ALWAYS, 3, Wait(delay=1.0)),
        (Restart.ON_FAILURE, 0, End(code=0)),
        (Restart.ON_FAILURE, 3, Wait(delay=1.0)),
        (Restart.ON_FAILURE, -9, Wait(delay=1.0)),
        (Restart.NEVER, 0, End(code=0)),
        (Restart.NEVER, 3, End(code=3)),
    ],
)
def test_the_policy_says_which_exits_are_followed_by_a_start(restart: Restart, code: int, last: Command) -> None:
    policy = Policy(restart=restart, first_delay=1.0)
    assert play(policy, Begin(), Started(at=0.0), Exited(code=code, at=1.0))[1][-1] == last


@pytest.mark.parametrize(
    ("before", "told"),
    [
        ((), [End(code=0)]),
        ((Begin(),), []),
        ((Begin(), Started(at=0.0)), [Terminate()]),
        ((Begin(), Started(at=0.0), CRASH), [End(code=0)]),
    ],
    ids=["new", "starting", "running", "waiting"],
)
def test_a_stop_in_every_phase(before: tuple[Event, ...], told: list[Command]) -> None:
    state, _ = play(ALWAYS, *before)
    assert list(step(ALWAYS, state, Stop())[1]) == told


def test_what_started_after_the_stop_is_ended() -> None:
    assert play(ALWAYS, Begin(), Stop(), Started(at=0.0), Exited(code=-15, at=1.0))[1] == [Start(), Terminate(), End(code=-15)]


def test_a_program_that_does_not_end_is_killed() -> None:
    told = play(ALWAYS, Begin(), Started(at=0.0), Stop(), Hurry(), Exited(code=-9, at=1.0))[1]
    assert told == [Start(), Terminate(), Kill(), End(code=-9)]


def test_hurry_alone_kills_at_once() -> None:
    assert play(ALWAYS, Begin(), Started(at=0.0), Hurry(), Exited(code=-9, at=1.0))[1] == [Start(), Kill(), End(code=-9)]


@given(failures=st.integers(0, 10_000), jitter=st.floats(0, 1), first=st.floats(0.01, 5), longest=st.floats(5, 100))
def test_every_delay_is_within_its_bounds(failures: int, jitter: float, first: float, longest: float) -> None:
    policy = Policy(first_delay=first, max_delay=longest)
    delay = policy.delay(failures, jitter)
    assert first / 2 <= delay <= longest
    assert delay <= policy.delay(failures + 1, jitter)


EVENTS = st.one_of(
    st.sampled_from([Begin(), Elapsed(), Stop(), Hurry()]),
    st.builds(Started, at=st.floats(0, 1e6)),
    st.builds(Exited, code=st.integers(-15, 127), at=st.floats(0, 1e6), jitter=st.floats(0, 1)),
)


@given(events=st.lists(EVENTS, max_size=40), restart=st.sampled_from(Restart))
def test_whatever_happens_the_end_is_the_end_and_is_told_once(events: list[Event], restart: Restart) -> None:
    state, told = State(), []
    for event in events:
        before = state.phase
        state, commands = step(Policy(restart=restart), state, event)
        told += commands
        if before is Phase.ENDED:
            assert state.phase is Phase.ENDED
            assert not commands
    assert sum(isinstance(command, End) for command in told) == (state.phase is Phase.ENDED)


@given(events=st.lists(EVENTS, max_size=40))
def test_after_a_stop_nothing_is_started(events: list[Event]) -> None:
    steps: list[Step] = [(State(), ())]
    for event in [Begin(), Stop(), *events]:
        steps.append(step(ALWAYS, steps[-1][0], event))
    assert not [command for _, commands in steps[3:] for command in commands if isinstance(command, Start | Wait)]
