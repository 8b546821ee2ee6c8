"""When a program is started again, and how it is ended: events in, commands out.

No clock and no dice in here: the time and the jitter come with the events. The pump around it is `tulle.agent.process.Unit`.

    NEW --Begin--> STARTING --Started--> RUNNING --Exited--> WAITING --Elapsed--> STARTING ...
                                            |                   |
                                           Stop                Stop
                                            v                   v
                                        STOPPING --Exited--> ENDED

A program that the policy does not start again goes from RUNNING to ENDED by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any


class Restart(Enum):
    """Which exits are followed by a new start."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Times in seconds."""

    restart: Restart = Restart.ALWAYS
    first_delay: float = 0.2
    max_delay: float = 30.0
    stable_after: float = 10.0
    """A run that lasted this long makes earlier failures forgotten."""

    def delay(self, failures: int, jitter: float) -> float:
        """How long to wait after so many short runs in a row: doubling, up to `max_delay`. A jitter of 0..1 picks from its upper half."""
        full = min(self.max_delay, self.first_delay * 2.0 ** min(failures, 64))
        return full * (0.5 + jitter / 2)

    def starts_again(self, code: int) -> bool:
        return self.restart is Restart.ALWAYS or (self.restart is Restart.ON_FAILURE and code != 0)


class Phase(Enum):
    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    phase: Phase = Phase.NEW
    failures: int = 0
    """Short runs in a row."""
    started: float = 0.0
    """When the present run began, on the clock of the events."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Someone wants the program to run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The program ended, or could not be started (127, as in a shell)."""

    code: int
    at: float
    jitter: float = 1.0


@dataclass(frozen=True, slots=True)
class Elapsed:
    """The delay asked for with Wait is over."""


@dataclass(frozen=True, slots=True)
class Stop:
    """End it in peace."""


@dataclass(frozen=True, slots=True)
class Hurry:
    """End it at once: its time of grace is over, or someone is in a hurry."""


Event = Begin | Started | Exited | Elapsed | Stop | Hurry


@dataclass(frozen=True, slots=True)
class Start:
    """Start the program; answer with Started or Exited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Answer with Elapsed after so many seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask the program to end; answer with Hurry when its time of grace is over."""


@dataclass(frozen=True, slots=True)
class Kill:
    """End the program, whether it likes it or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Nothing more will happen. The code is that of the last run."""

    code: int


Command = Start | Wait | Terminate | Kill | End
Step = tuple[State, tuple[Command, ...]]


def step(policy: Policy, state: State, event: Event) -> Step:
    """The next state and what to do. An event that means nothing in this state changes nothing."""
    handler = TRANSITIONS.get((state.phase, type(event)))
    return handler(policy, state, event) if handler else (state, ())


def _start(_policy: Policy, state: State, _event: Event) -> Step:
    return replace(state, phase=Phase.STARTING), (Start(),)


def _started(_policy: Policy, state: State, event: Any) -> Step:
    return replace(state, phase=Phase.RUNNING, started=event.at), ()


def _exited(policy: Policy, state: State, event: Any) -> Step:
    if not policy.starts_again(event.code):
        return _ended(policy, state, event)
    stable = state.phase is Phase.RUNNING and event.at - state.started >= policy.stable_after
    failures = 0 if stable else state.failures
    waiting = replace(state, phase=Phase.WAITING, failures=failures + 1)
    return waiting, (Wait(delay=policy.delay(failures, event.jitter)),)


def _ended(_policy: Policy, state: State, event: Event) -> Step:
    code = event.code if isinstance(event, Exited) else 0
    return replace(state, phase=Phase.ENDED), (End(code=code),)


def _stop(_policy: Policy, state: State, _event: Event) -> Step:
    return replace(state, phase=Phase.STOPPING), (Terminate(),)


def _stop_when_started(_policy: Policy, state: State, _event: Event) -> Step:
    # There is no program yet to ask: it is asked when Started arrives.
    return replace(state, phase=Phase.STOPPING), ()


def _ask(_policy: Policy, state: State, _event: Event) -> Step:
    return state, (Terminate(),)


def _kill(_policy: Policy, state: State, _event: Event) -> Step:
    return replace(state, phase=Phase.STOPPING), (Kill(),)


TRANSITIONS: Mapping[tuple[Phase, type[Event]], Callable[[Policy, State, Any], Step]] = {
    (Phase.NEW, Begin): _start,
    (Phase.NEW, Stop): _ended,
    (Phase.NEW, Hurry): _ended,
    (Phase.STARTING, Started): _started,
    (Phase.STARTING, Exited): _exited,
    (Phase.STARTING, Stop): _stop_when_started,
    (Phase.STARTING, Hurry): _stop_when_started,
    (Phase.RUNNING, Exited): _exited,
    (Phase.RUNNING, Stop): _stop,
    (Phase.RUNNING, Hurry): _kill,
    (Phase.WAITING, Elapsed): _start,
    (Phase.WAITING, Stop): _ended,
    (Phase.WAITING, Hurry): _ended,
    (Phase.STOPPING, Started): _ask,
    (Phase.STOPPING, Hurry): _kill,
    (Phase.STOPPING, Exited): _ended,
}
"""What leads where. Pairs that are not here change nothing."""
