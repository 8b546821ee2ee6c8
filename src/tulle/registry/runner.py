"""The checks of this agent, run in their turn: spread over time, a bounded number at once, never one twice at a time."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from tulle.logs import Log
from tulle.model.service import Health
from tulle.registry import checks, probers
from tulle.registry.catalog import Check, CheckKey, CheckKind
from tulle.registry.checks import Outcome, Result, Standing

AT_ONCE = 512
"""Checks that are under way at the same time; more wait for their turn."""
RETRY = 1.0
"""Seconds after which the end of a word is told again that could not be told."""
SWEEP = 30.0
"""Seconds between looks for services that were critical for too long."""
ALIAS_INTERVAL = 1.0
_TOLD = {Health.PASSING: Outcome.PASSING, Health.WARNING: Outcome.WARNING, Health.CRITICAL: Outcome.FAILING}

_log = Log("checks")


class Results(Protocol):
    """Where results go, and what is done about services that stay critical."""

    async def told(self, check: Check, status: Health, output: str) -> None: ...
    async def take_out(self, check: Check) -> None:
        """The service of this check was critical for too long."""
        ...

    def alias(self, check: Check) -> Result:
        """What an alias finds now."""
        ...


@dataclass(slots=True)
class _Kept:
    check: Check
    standing: Standing
    turn: int
    """Tells this entry of the queue from older ones of the same check."""
    output: str = ""


class Runner:
    """`run` runs what `sync` was last given. `clock` counts seconds and never goes back."""

    def __init__(self, results: Results, clock: Callable[[], float], *, scripts: bool, defined_scripts: bool = False) -> None:
        """Whether checks may run programs: all, or those of definition files. Those that may not stay as they are."""
        self._results = results
        self._clock = clock
        self._scripts = scripts
        self._defined_scripts = scripts or defined_scripts
        self._kept: dict[CheckKey, _Kept] = {}
        self._queue: list[tuple[float, int, CheckKey]] = []
        self._turns = 0
        self._new = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def sync(self, wanted: Iterable[Check]) -> None:
        """From now on these. Those that stay the same go on as they were; a new status alone does not make a check another."""
        found = {check.key: check for check in wanted if self._runs(check)}
        for key in self._kept.keys() - found.keys():
            del self._kept[key]
        now = self._clock()
        for key, check in found.items():
            kept = self._kept.get(key)
            if kept and kept.check.probe == check.probe:
                kept.check = check
            else:
                self._turns += 1
                self._kept[key] = _Kept(check, checks.begun(check.probe, check.status, now), self._turns)
                self._put(now + self._first(check), key, self._turns)
        self._new.set()

    def heard(self, key: CheckKey, status: Health, output: str) -> None:
        """A client told the result of a TTL check: its time begins anew."""
        kept = self._kept.get(key)
        if kept and kept.check.probe.ttl:
            now = self._clock()
            kept.standing = checks.after(kept.standing, kept.check.probe, _TOLD[status], now)
            kept.output = output
            self._turns += 1
            kept.turn = self._turns
            self._put(now + kept.check.probe.ttl, key, kept.turn)
            self._new.set()

    def _runs(self, check: Check) -> bool:
        if check.probe.kind is CheckKind.SCRIPT:
            return self._defined_scripts if check.defined else self._scripts
        return check.probe.kind is not CheckKind.NONE

    def _first(self, check: Check) -> float:
        match check.probe.kind:
            case CheckKind.TTL:
                return check.probe.ttl
            case CheckKind.ALIAS:
                return 0.0
            case _:
                return checks.first_delay(check.key, checks.interval(check.probe))

    def _put(self, due: float, key: CheckKey, turn: int) -> None:
        heapq.heappush(self._queue, (due, turn, key))

    async def run(self) -> None:
        """Until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._sweep())
            while True:
                now = self._clock()
                while self._queue and self._queue[0][0] <= now:
                    due, turn, key = heapq.heappop(self._queue)
                    kept = self._kept.get(key)
                    if kept and kept.turn == turn:
                        tasks.create_task(self._one(kept, due))
                await self._rest(self._queue[0][0] - self._clock() if self._queue else None)

    async def _rest(self, seconds: float | None) -> None:
        """Until the next is due, or something is new."""
        self._new.clear()
        try:
            async with asyncio.timeout(None if seconds is None else max(0.0, seconds)):
                await self._new.wait()
        except TimeoutError:
            return

    async def _one(self, kept: _Kept, due: float) -> None:
        probe = kept.check.probe
        again = None if probe.kind is CheckKind.TTL else ALIAS_INTERVAL if probe.kind is CheckKind.ALIAS else checks.interval(probe)
        try:
            await self._step(kept)
        except Exception:  # noqa: BLE001 - the pump: whatever one check brings about, the others go on
            _log.exception("a check could not be run", check=kept.check.id)
            again = again or RETRY
        finally:
            if again and self._is_wanted(kept):
                self._put(checks.next_run(due, again, self._clock()), kept.check.key, kept.turn)
                self._new.set()

    async def _step(self, kept: _Kept) -> None:
        """What takes no time never waits for those that do."""
        probe = kept.check.probe
        match probe.kind:
            case CheckKind.TTL:
                await self._expire(kept)
            case CheckKind.ALIAS:
                await self._take(kept, self._results.alias(kept.check))
            case _:
                async with self._slots:
                    if self._is_wanted(kept):
                        await self._take(kept, await probers.run(probe))

    async def _expire(self, kept: _Kept) -> None:
        before = kept.standing
        if late := checks.expired(before, self._clock()):
            await self._results.told(kept.check, late.status, checks.expiry_output(kept.output))
            kept.standing = late if kept.standing is before else kept.standing

    async def _take(self, kept: _Kept, result: Result) -> None:
        if self._is_wanted(kept):
            kept.standing = checks.after(kept.standing, kept.check.probe, result.outcome, self._clock())
            await self._results.told(kept.check, kept.standing.status, result.output)

    def _is_wanted(self, kept: _Kept) -> bool:
        return self._kept.get(kept.check.key) is kept

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            now = self._clock()
            for kept in [k for k in self._kept.values() if checks.to_be_taken_out(k.standing, k.check, now)]:
                try:
                    await self._results.take_out(kept.check)
                    _log.warning("a service was critical for too long and is taken out", service=kept.check.service_id, check=kept.check.id)
                except Exception:  # noqa: BLE001 - the pump: it is tried again at the next look
                    _log.exception("a service could not be taken out", service=kept.check.service_id)
