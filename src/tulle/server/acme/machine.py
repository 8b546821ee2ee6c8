"""What is to be done next for a Certificate, and what became of it: a pure machine; clock and dice are arguments.

     IDLE --order--> ORDERED --answer--> ANSWERED --finalize--> FINALIZED --(certificate)--> IDLE
      ^                 |                   |  ^ look               |  ^ look
      +---- failure ----+-------------------+-----------------------+

Each stage lies in the store before the next begins, so that a control plane that starts again goes on where the last one was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from tulle.server.acme.progress import Issued, Progress, Stage, Task

LIFE_KEPT = 2 / 3
"""A certificate is renewed when this part of its life is over."""
SPREAD = 1 / 30
"""Of its life: so much earlier, at most, by luck."""
PATIENCE = timedelta(minutes=15)
"""An order that takes longer has failed."""
_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
LOOKS = tuple(timedelta(seconds=s) for s in (0.5, 1, 2, 4, 8, 15))
"""Between two looks at an order, where the authority says nothing else; the last for all that follow."""
RETRIES = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60, 120, 240, 480, 720))
"""After failures in a row. At Let's Encrypt five tries an hour may fail for one host."""
LONGEST_WAIT = 30 * _DAY
"""However long an authority asks to be left alone."""


AFTER_LATE = timedelta(hours=1)
_LATE = "the certificate that came is to be renewed already: is the clock of this machine right?"


class Doing(Enum):
    REST = "rest"
    """Nothing, until `until`, or until something changes."""
    ORDER = "order"
    ANSWER = "answer"
    LOOK = "look"
    """Ask the authority how far it is. What it is ready for is done, and a certificate that is there is taken."""
    RESTORE = "restore"
    """Put the certificate that there is into the Secret again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a document asks for."""

    asked: str
    """A fingerprint of all that makes another certificate necessary when it changes."""
    way: str
    """The same of all that says how to come by it, too."""
    renew_before: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    doing: Doing
    until: datetime | None = None


class Standing(Enum):
    """Of an order, in the authority's words (RFC 8555, section 7.1.6)."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"


def renewal(issued: Issued, renew_before: timedelta | None) -> datetime:
    """When the certificate is to be renewed. A `renew_before` that is not shorter than its life cannot be meant."""
    life = issued.not_after - issued.not_before
    if renew_before is not None and renew_before < life:
        return issued.not_after - renew_before
    return issued.not_before + life * (LIFE_KEPT - SPREAD * issued.luck)


def is_needed(progress: Progress, wanted: Wanted, now: datetime) -> bool:
    """Whether another certificate is."""
    issued = progress.issued
    if progress.forced or issued is None or issued.asked != wanted.asked:
        return True
    return now >= renewal(issued, wanted.renew_before)


def decide(progress: Progress, wanted: Wanted, held: str, now: datetime) -> Action:
    """The next step. What was begun for something else than is wanted now must be given up first (`restarted`).

    `held`: the fingerprint of the certificate in the Secret; empty where there is none.
    """
    last = progress.issued
    if last and held != last.fingerprint and last.asked == wanted.asked and now < last.not_after:
        return Action(doing=Doing.RESTORE)
    if progress.stage is Stage.IDLE and not is_needed(progress, wanted, now):
        return Action(doing=Doing.REST, until=renewal(last, wanted.renew_before) if last else None)
    if progress.due and progress.due > now:
        return Action(doing=Doing.REST, until=progress.due)
    return Action(doing=_NEXT[progress.stage])


_NEXT = {Stage.IDLE: Doing.ORDER, Stage.ORDERED: Doing.ANSWER, Stage.ANSWERED: Doing.LOOK, Stage.FINALIZED: Doing.LOOK}


def is_stale(progress: Progress, wanted: Wanted) -> bool:
    """Whether what is under way, or has failed, was for something else, or by another way."""
    return bool(progress.way) and progress.way != wanted.way


def restarted(progress: Progress) -> Progress:
    """Nothing is under way, and nothing has failed."""
    return Progress(issued=progress.issued, forced=progress.forced, terms=progress.terms)


def forced(progress: Progress) -> Progress:
    """A new certificate is wanted now, whatever failed before; an order that is under way goes on."""
    if progress.stage is not Stage.IDLE:
        return replace(progress, forced=True)
    return replace(progress, forced=True, due=None, error="")


def ordered(progress: Progress, wanted: Wanted, *, order: str, finalize: str, tasks: Iterable[Task], terms: str, now: datetime) -> Progress:
    return replace(
        progress,
        stage=Stage.ORDERED,
        asked=wanted.asked,
        way=wanted.way,
        order=order,
        finalize=finalize,
        tasks=tuple(tasks),
        terms=terms,
        since=now,
        due=None,
        looks=0,
    )


def answered(progress: Progress, now: datetime) -> Progress:
    return replace(progress, stage=Stage.ANSWERED, due=now + LOOKS[0] if progress.tasks else None, looks=0)


def finalized(progress: Progress, now: datetime) -> Progress:
    """The answers are not needed any more."""
    return replace(progress, stage=Stage.FINALIZED, tasks=(), due=now + LOOKS[0], looks=0)


def is_to_finalize(progress: Progress, standing: Standing) -> bool:
    return progress.stage is Stage.ANSWERED and standing is Standing.READY


def looked(progress: Progress, retry_after: timedelta | None, now: datetime) -> Progress:
    """The authority is not done yet, and may have said when to ask again."""
    pause = LOOKS[min(progress.looks, len(LOOKS) - 1)]
    if retry_after is not None:
        pause = min(max(retry_after, _SECOND), PATIENCE)
    return replace(progress, looks=progress.looks + 1, due=now + pause)


def is_too_late(progress: Progress, now: datetime) -> bool:
    return progress.since is not None and now - progress.since > PATIENCE


def issued(progress: Progress, wanted: Wanted, what: Issued, now: datetime) -> Progress:
    """It is there. One that ought to be renewed already when it comes is no reason to ask again and again."""
    done = Progress(issued=what, terms=progress.terms)
    if now < renewal(what, wanted.renew_before):
        return done
    return replace(done, way=wanted.way, error=_LATE, failed=now, due=now + AFTER_LATE)


def failed(progress: Progress, wanted: Wanted, error: str, retry_after: timedelta | None, now: datetime, luck: float) -> Progress:
    """Nothing is under way; the next try is later the more have failed, and never sooner than the authority allows.

    `luck`, from 0 to 1, makes it up to a tenth later still.
    """
    pause = RETRIES[min(progress.failures, len(RETRIES) - 1)]
    if retry_after is not None:
        pause = max(pause, min(retry_after, LONGEST_WAIT))
    return replace(
        restarted(progress),
        way=wanted.way,
        failures=progress.failures + 1,
        error=error,
        failed=now,
        due=now + pause * (1 + luck / 10),
    )
