"""The machine that keeps a Certificate: what it does next, and when; no clock, no dice, no authority."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.model.challenges import Challenge, ChallengeType
from tulle.model.tls import Hidden
from tulle.server.acme import machine
from tulle.server.acme.machine import Action, Doing, Standing, Wanted
from tulle.server.acme.progress import Issued, Progress, Stage, Task, dump, load

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WANTED = Wanted(asked="this", way="so")
ISSUED = Issued(
    asked="this",
    fingerprint="f1",
    serial="1",
    issuer="CN=a",
    not_before=NOW - 30 * DAY,
    not_after=NOW + 60 * DAY,
    luck=0.0,
    chain="c",
    key=Hidden(b"k"),
)
TASK = Task(
    url="https://a/c", authorization="https://a/z", challenge=Challenge(kind=ChallengeType.HTTP_01, host="h", token="t", answer="t.p")
)
HELD = Progress(issued=ISSUED)
ORDERED = machine.ordered(HELD, WANTED, order="https://a/o", finalize="https://a/f", tasks=[TASK], terms="", now=NOW)
ANSWERED = machine.answered(ORDERED, NOW)
FINALIZED = machine.finalized(ANSWERED, NOW)
FAILED = machine.failed(ORDERED, WANTED, "no", None, NOW, 0.0)


@pytest.mark.parametrize(
    ("progress", "held", "after", "doing", "until"),
    [
        (Progress(), "", 0 * DAY, Doing.ORDER, None),
        (Progress(), "f1", 0 * DAY, Doing.ORDER, None),
        (HELD, "f1", 0 * DAY, Doing.REST, NOW + 30 * DAY),
        (HELD, "f1", 30 * DAY - HOUR, Doing.REST, NOW + 30 * DAY),
        (HELD, "f1", 30 * DAY, Doing.ORDER, None),
        (HELD, "", 0 * DAY, Doing.RESTORE, None),
        (HELD, "another", 0 * DAY, Doing.RESTORE, None),
        (HELD, "another", 60 * DAY, Doing.ORDER, None),
        (replace(HELD, issued=replace(ISSUED, asked="that")), "another", 0 * DAY, Doing.ORDER, None),
        (ANSWERED, "another", 0 * DAY, Doing.RESTORE, None),
        (machine.forced(HELD), "f1", 0 * DAY, Doing.ORDER, None),
        (replace(HELD, issued=replace(ISSUED, asked="that")), "f1", 0 * DAY, Doing.ORDER, None),
        (ORDERED, "f1", 0 * DAY, Doing.ANSWER, None),
        (ANSWERED, "f1", 0 * DAY, Doing.REST, NOW + machine.LOOKS[0]),
        (ANSWERED, "f1", HOUR, Doing.LOOK, None),
        (machine.answered(replace(ORDERED, tasks=()), NOW), "f1", 0 * DAY, Doing.LOOK, None),
        (FINALIZED, "f1", 0 * DAY, Doing.REST, NOW + machine.LOOKS[0]),
        (FINALIZED, "f1", HOUR, Doing.LOOK, None),
        (FAILED, "f1", 0 * DAY, Doing.REST, NOW + 30 * DAY),
        (replace(FAILED, issued=None), "", 0 * DAY, Doing.REST, NOW + machine.RETRIES[0]),
        (replace(FAILED, issued=None), "", HOUR, Doing.ORDER, None),
        (FAILED, "f1", 40 * DAY, Doing.ORDER, None),
        (machine.forced(FAILED), "f1", 0 * DAY, Doing.ORDER, None),
        (machine.forced(ANSWERED), "f1", 0 * DAY, Doing.REST, NOW + machine.LOOKS[0]),
    ],
)
def test_what_is_next(progress: Progress, held: str, after: timedelta, doing: Doing, until: datetime | None) -> None:
    assert machine.decide(progress, WANTED, held, NOW + after) == Action(doing=doing, until=until)


@pytest.mark.parametrize(
    ("luck", "before", "left"),
    [
        (0.0, None, 30 * DAY),
        (1.0, None, 33 * DAY),
        (0.5, None, timedelta(days=31, hours=12)),
        (1.0, 10 * DAY, 10 * DAY),
        (0.0, 90 * DAY, 30 * DAY),
        (0.0, 400 * DAY, 30 * DAY),
    ],
)
def test_renewal_is_after_two_thirds_or_as_long_before_the_end_as_was_said(luck: float, before: timedelta | None, left: timedelta) -> None:
    assert ISSUED.not_after - machine.renewal(replace(ISSUED, luck=luck), before) == left


def test_a_new_wish_gives_up_what_was_for_another_and_its_failures() -> None:
    assert not machine.is_stale(FAILED, WANTED)
    other = Wanted(asked="that", way="otherwise")
    assert not machine.is_stale(HELD, other)
    for progress in (ORDERED, ANSWERED, FINALIZED, FAILED):
        assert machine.is_stale(progress, other)
        again = machine.restarted(progress)
        assert again == HELD
        assert machine.decide(again, other, "f1", NOW).doing is Doing.ORDER


def test_failures_wait_longer_and_longer_and_never_less_than_the_authority_says() -> None:
    progress, pauses = HELD, []
    for _ in range(12):
        progress = machine.failed(progress, WANTED, "no", None, NOW, 0.0)
        assert progress.due
        pauses.append(progress.due - NOW)
    assert tuple(pauses[: len(machine.RETRIES)]) == machine.RETRIES
    assert set(pauses[len(machine.RETRIES) :]) == {machine.RETRIES[-1]}
    # Let's Encrypt: five failed validations an hour.
    begun = [sum(pauses[:n], timedelta()) for n in range(len(pauses))]
    assert max(sum(1 for t in begun if start <= t < start + HOUR) for start in begun) < 5
    for said, meant in ((2 * HOUR, 2 * HOUR), (timedelta(seconds=1), machine.RETRIES[0]), (9999 * DAY, machine.LONGEST_WAIT)):
        due = machine.failed(HELD, WANTED, "no", said, NOW, 0.0).due
        assert due == NOW + meant
    assert machine.failed(HELD, WANTED, "no", HOUR, NOW, 1.0).due == NOW + 1.1 * HOUR


def test_a_failure_keeps_what_was_issued_and_forgets_the_order() -> None:
    assert (FAILED.issued, FAILED.order, FAILED.tasks, FAILED.key, FAILED.stage) == (ISSUED, "", (), Hidden(b""), Stage.IDLE)
    assert (FAILED.error, FAILED.failures, FAILED.failed) == ("no", 1, NOW)


def test_answers_are_kept_no_longer_than_they_are_needed() -> None:
    assert [p.tasks for p in (ORDERED, ANSWERED, FINALIZED, machine.issued(FINALIZED, WANTED, ISSUED, NOW))] == [(TASK,), (TASK,), (), ()]


def test_looks_come_slower_unless_the_authority_says_when() -> None:
    progress, pauses = ANSWERED, []
    for _ in range(8):
        progress = machine.looked(progress, None, NOW)
        assert progress.due
        pauses.append(progress.due - NOW)
    assert tuple(pauses[: len(machine.LOOKS)]) == machine.LOOKS
    assert pauses[-1] == machine.LOOKS[-1]
    assert machine.looked(ANSWERED, timedelta(seconds=40), NOW).due == NOW + timedelta(seconds=40)
    assert machine.looked(ANSWERED, timedelta(0), NOW).due == NOW + timedelta(seconds=1)
    assert machine.looked(ANSWERED, 9 * DAY, NOW).due == NOW + machine.PATIENCE


def test_an_order_comes_to_an_end() -> None:
    assert not machine.is_too_late(ANSWERED, NOW + machine.PATIENCE)
    assert machine.is_too_late(ANSWERED, NOW + machine.PATIENCE + timedelta(seconds=1))
    assert machine.is_to_finalize(ANSWERED, Standing.READY)
    assert not machine.is_to_finalize(ANSWERED, Standing.PENDING)
    assert not machine.is_to_finalize(FINALIZED, Standing.READY)


def test_success_forgets_all_but_the_certificate() -> None:
    done = machine.issued(machine.forced(replace(FINALIZED, failures=3, error="x")), WANTED, replace(ISSUED, fingerprint="f2"), NOW)
    assert done == Progress(issued=replace(ISSUED, fingerprint="f2"))


def test_a_certificate_that_comes_too_late_is_not_asked_for_again_and_again() -> None:
    later = NOW + 31 * DAY
    done = machine.issued(FINALIZED, WANTED, ISSUED, later)
    assert machine.decide(done, WANTED, "f1", later) == Action(doing=Doing.REST, until=later + machine.AFTER_LATE)
    assert "clock" in done.error
    assert machine.decide(done, WANTED, "f1", later + 2 * HOUR).doing is Doing.ORDER
    assert machine.decide(done, replace(WANTED, renew_before=DAY), "f1", later) == Action(doing=Doing.REST, until=NOW + 59 * DAY)


times = st.datetimes(timezones=st.just(UTC))
texts = st.text(max_size=20)


@given(
    st.sampled_from(Stage), texts, st.none() | times, st.integers(0, 99), st.booleans(), st.floats(0, 1), st.lists(texts, max_size=3), texts
)
def test_what_is_stored_comes_back(
    stage: Stage, text: str, at: datetime | None, count: int, flag: bool, luck: float, hosts: list[str], key: str
) -> None:
    tasks = tuple(replace(TASK, challenge=replace(TASK.challenge, host=host, key=Hidden(key.encode()))) for host in hosts)
    progress = Progress(
        stage=stage,
        asked=text,
        way=text,
        order=text,
        finalize=text,
        key=Hidden(key.encode()),
        tasks=tasks,
        since=at,
        due=at,
        looks=count,
        failures=count,
        error=text,
        failed=at,
        forced=flag,
        terms=text,
        issued=replace(ISSUED, luck=luck) if flag else None,
    )
    assert load(dump(progress)) == progress


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"{}", dump(ORDERED).replace(b'"key":"', b'"key":7,"x":"', 1)])
def test_what_another_version_wrote_is_told_by_one_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        load(data)


def test_no_key_shows_itself() -> None:
    hidden = Hidden(b"very-secret")
    task = replace(TASK, challenge=replace(TASK.challenge, key=hidden, chain=hidden))
    assert "secret" not in repr(replace(ORDERED, key=hidden, tasks=(task,), issued=replace(ISSUED, key=hidden)))
