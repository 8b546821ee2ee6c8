"""`tulle mtls strict`: turns workloads to mutual TLS alone, one after the other, and back where that makes calls fail.

The policy on trial bears an annotation that says until when, so that whoever finds it knows what it is: what a run leaves that was cut off,
the next one takes back.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from tulle.cli import client, output
from tulle.cli.failure import Failure
from tulle.compile.migration import Counts, Way, Window, verdict
from tulle.resources.yaml import write

MADE_BY = {"tulle.dev/made-by": "tulle-mtls-strict"}
TRIAL = "tulle.dev/trial-until"
KIND = "PeerAuthentication"
LOOK = 1.0
"""Seconds between two looks at what was counted."""
REPORTS = 3
"""So many reports of agents lie in the time that is looked at beforehand, at least."""
_MARGIN = timedelta(seconds=60)
"""After the end of a trial, until it counts as abandoned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What was counted since the proxies started."""

    counts: Counts
    refused: Mapping[str, int]
    """Connections, by caller."""
    every: float
    """Seconds between two reports of it."""

    def refused_since(self, before: _Seen) -> tuple[str, ...]:
        return tuple(caller for caller, count in self.refused.items() if count > before.refused.get(caller, 0))


@dataclass(kw_only=True)
class Turning:
    """One run. `watch`: seconds for which each workload is on trial."""

    at: client.Client
    watch: float
    stop_at_first: bool = False
    say: Callable[[str], None] = output.out
    """Takes a line on what became of a workload."""
    _before: dict[str, tuple[float, _Seen]] = field(default_factory=dict)

    def run(self, steps: Iterable[Mapping[str, Any]]) -> bool:
        """Whether all that were to be turned are STRICT now."""
        turned = [step for step in steps if step["way"] == Way.TURN.value]
        with _ended_in_order():
            self._look_beforehand(turned)
            for step in turned:
                if not self._try(step) and self.stop_at_first:
                    return False
        return all(step.get("done") for step in turned)

    def _look_beforehand(self, steps: list[Mapping[str, Any]]) -> None:
        every = 0.0
        for step in steps:
            seen = self._seen(step)
            every = seen.every
            self._before[_name(step)] = time.monotonic(), seen
        if steps:
            pause = min(self.watch, every * REPORTS)
            output.err(f"looking for {pause:.0f}s at how calls fare now")
            time.sleep(pause)

    def _try(self, step: Any) -> bool:
        name = _name(step)
        until = datetime.now(UTC) + timedelta(seconds=self.watch)
        output.err(f"{name}: STRICT, on trial for {self.watch:g}s")
        begun, first = self._before[name]
        seen, start = self._seen(step), time.monotonic()
        before = Window(seconds=start - begun, counts=seen.counts.since(first.counts))
        try:
            self._apply(step, {TRIAL: f"{until:%Y-%m-%dT%H:%M:%SZ}"})
            why = self._watched(step, before, start, seen)
            if not why:
                self._apply(step, {})
        except BaseException as error:
            self._back(step, "interrupted" if isinstance(error, KeyboardInterrupt) else "the run cannot go on")
            raise
        if why:
            self._back(step, why)
            return False
        step["done"] = True
        self.say(f"{name}: STRICT")
        return True

    def _watched(self, step: Mapping[str, Any], before: Window, start: float, then: _Seen) -> str:
        """Why it is to go back; empty where all went well."""
        end = time.monotonic() + max(self.watch, then.every * 2)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(LOOK, left))
            now = self._seen(step)
            during = Window(seconds=time.monotonic() - start, counts=now.counts.since(then.counts))
            if why := verdict(before, during, now.refused_since(then)):
                return why
        return ""

    def _seen(self, step: Mapping[str, Any]) -> _Seen:
        found = self.at.get(f"/api/v1/mtls/workloads/{quote(step['namespace'], safe='')}/{quote(step['name'], safe='')}")
        return _Seen(counts=Counts(**found["counts"]), refused=found["refused"], every=float(found["every"]))

    def _apply(self, step: Mapping[str, Any], annotations: Mapping[str, str]) -> None:
        text = write(document(step, annotations))
        files = [{"path": "tulle mtls strict", "text": text}]
        answer = self.at.post("/api/v1/apply", {"files": files, "namespace": step["namespace"], "wait": "30s"})
        if "error" in answer:
            raise Failure(f"{_name(step)}: the policy is not in force: {answer['error']}")

    def _back(self, step: Mapping[str, Any], why: str) -> None:
        delete(self.at, step["namespace"], step["document"])
        self.say(f"{_name(step)}: back as before: {why}")


def document(step: Mapping[str, Any], annotations: Mapping[str, str]) -> dict[str, Any]:
    """The policy that turns a group of workloads."""
    metadata = {"name": step["document"], "namespace": step["namespace"], "labels": MADE_BY}
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": KIND,
        "metadata": metadata | ({"annotations": dict(annotations)} if annotations else {}),
        "spec": {"selector": {"matchLabels": {"app": step["name"]}}, "mtls": {"mode": "STRICT"}},
    }


def delete(at: client.Client, namespace: str, name: str) -> None:
    """Takes a policy back. Raises Failure that says how to do it by hand."""
    try:
        at.post("/api/v1/delete", {"resources": [{"kind": KIND, "namespace": namespace, "name": name}], "wait": "30s"})
    except Failure as error:
        raise Failure(f"{error}\n{name} is still in force: take it back with `{_by_hand(namespace, name)}`") from None


def _by_hand(namespace: str, name: str) -> str:
    return f"tulle delete peerauthentication/{name} -n {namespace}"


def trials(at: client.Client) -> Iterator[tuple[str, str, str]]:
    """Namespace, name and end of each trial that stands."""
    for item in at.get("/api/v1/resources/peerauthentication")["items"]:
        metadata = item["metadata"]
        if until := (metadata.get("annotations") or {}).get(TRIAL):
            yield metadata["namespace"], metadata["name"], until


def undo_abandoned(at: client.Client) -> None:
    """Undoes what a run left that was cut off. Raises Failure where another run may be under way."""
    for namespace, name, until in trials(at):
        if datetime.now(UTC) < datetime.fromisoformat(until) + _MARGIN:
            by_hand = _by_hand(namespace, name)
            raise Failure(f"{name} in {namespace} is on trial until {until}: wait, or, where nobody is at it any more, `{by_hand}`")
        delete(at, namespace, name)
        output.err(f"{name} in {namespace} was left on trial by a run that was cut off: taken back")


def _name(step: Mapping[str, Any]) -> str:
    return f"{step['namespace']}/{step['name']}"


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """To be asked to end is no other than Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        raise Failure("interrupted", 130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
