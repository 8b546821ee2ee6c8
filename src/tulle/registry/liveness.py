"""Whether an agent lives, by the reports that it sends. Pure: time, in seconds, is an argument.

state     event      next
alive     heard      alive
alive     silent     failed     no report for `silence`
alive     left       gone
failed    heard      alive
failed    left       gone
failed    overdue    gone       no report for `reap`
gone      heard      alive
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

SILENCE = 10.0
REAP = 72 * 3600.0


class State(Enum):
    ALIVE = "alive"
    FAILED = "failed"
    GONE = "gone"


class Event(Enum):
    HEARD = "heard"
    SILENT = "silent"
    LEFT = "left"
    OVERDUE = "overdue"


NEXT: Mapping[tuple[State, Event], State] = {
    (State.ALIVE, Event.HEARD): State.ALIVE,
    (State.ALIVE, Event.SILENT): State.FAILED,
    (State.ALIVE, Event.LEFT): State.GONE,
    (State.FAILED, Event.HEARD): State.ALIVE,
    (State.FAILED, Event.LEFT): State.GONE,
    (State.FAILED, Event.OVERDUE): State.GONE,
    (State.GONE, Event.HEARD): State.ALIVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    silence: float = SILENCE
    """Seconds without a report after which an agent has failed."""
    reap: float = REAP
    """Seconds without a report after which it is forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What is known of one agent."""

    state: State = State.GONE
    heard: float = 0.0
    """When it reported last."""

    def after(self, event: Event, now: float) -> Life:
        """What does not happen in a state changes nothing."""
        state = NEXT.get((self.state, event), self.state)
        return replace(self, state=state, heard=now if event is Event.HEARD else self.heard)

    def due(self, limits: Limits, now: float) -> Event | None:
        """What has happened by the mere passing of time."""
        quiet = now - self.heard
        if self.state is State.ALIVE and quiet >= limits.silence:
            return Event.SILENT
        return Event.OVERDUE if self.state is State.FAILED and quiet >= limits.reap else None

    def excused(self, seconds: float) -> Life:
        """For a time in which nobody listened, whether anybody spoke or not."""
        return replace(self, heard=self.heard + seconds)
