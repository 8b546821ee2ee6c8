"""How results become the status of a check. Values in, values out: time is an argument, and everything runs on its own words.

A result counts when enough of its kind came in a row. The counters begin full, so that the very first result counts at once:

    result    counter         full at                     status
    passing   successes + 1   success_before_passing      passing
    warning   successes + 1   success_before_passing      warning
    failing   failures + 1    failures_before_critical    critical
    failing   failures + 1    failures_before_warning     warning, unless critical

Results of the other kind empty a counter. What a client tells of a TTL check, and what an alias finds, counts as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import blake2b

from tulle.model.service import Health
from tulle.registry.catalog import Check, CheckKey, CheckKind, Probe, worst

SHORTEST_INTERVAL = 1.0
SHORTEST_REAP = 60.0
"""Seconds for which a check must be critical before its service is taken out, whatever it says itself."""
EXPIRED = "TTL expired"
_TIMEOUTS = {CheckKind.SCRIPT: 30.0, CheckKind.OS_SERVICE: 30.0}
_TIMEOUT = 10.0


class Outcome(Enum):
    """Of one run."""

    PASSING = "passing"
    WARNING = "warning"
    FAILING = "failing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    outcome: Outcome
    output: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a check stands after its results so far."""

    status: Health
    successes: int
    failures: int
    critical_since: float | None = None
    expires: float | None = None
    """When the word of a TTL check ends."""


Rule = tuple[Outcome, Callable[[Standing, Probe], bool], Health]


def _enough_successes(standing: Standing, probe: Probe) -> bool:
    return standing.successes >= probe.success_before_passing


def _enough_for_critical(standing: Standing, probe: Probe) -> bool:
    return standing.failures >= probe.failures_before_critical


def _enough_for_warning(standing: Standing, probe: Probe) -> bool:
    return standing.failures >= (probe.failures_before_warning or probe.failures_before_critical)


RULES: tuple[Rule, ...] = (
    (Outcome.PASSING, _enough_successes, Health.PASSING),
    (Outcome.WARNING, _enough_successes, Health.WARNING),
    (Outcome.FAILING, _enough_for_critical, Health.CRITICAL),
    (Outcome.FAILING, _enough_for_warning, Health.WARNING),
)
"""The first that fits gives the status; where none does it stays."""
AT_ONCE = {Outcome.PASSING: Health.PASSING, Outcome.WARNING: Health.WARNING, Outcome.FAILING: Health.CRITICAL}


def begun(probe: Probe, status: Health, now: float) -> Standing:
    """A check that is new here, with the status that it came with."""
    return Standing(
        status=status,
        successes=probe.success_before_passing,
        failures=probe.failures_before_critical,
        critical_since=now if status is Health.CRITICAL else None,
        expires=now + probe.ttl if probe.ttl else None,
    )


def after(standing: Standing, probe: Probe, outcome: Outcome, now: float) -> Standing:
    """The next standing, after one more result."""
    if probe.kind in (CheckKind.TTL, CheckKind.ALIAS):
        return _moved(standing, AT_ONCE[outcome], now, expires=now + probe.ttl if probe.ttl else None)
    if outcome is Outcome.FAILING:
        counted = replace(standing, failures=standing.failures + 1, successes=0)
    else:
        counted = replace(standing, successes=standing.successes + 1, failures=0)
    status = next((status for which, holds, status in RULES if which is outcome and holds(counted, probe)), standing.status)
    return _moved(counted, status, now, expires=None)


def expired(standing: Standing, now: float) -> Standing | None:
    """The standing of a TTL check of which nobody told in time; None while there is time, or once it has expired."""
    if standing.expires is None or now < standing.expires:
        return None
    return _moved(standing, Health.CRITICAL, now, expires=None)


def expiry_output(last: str) -> str:
    return f"{EXPIRED} (last output before timeout follows): {last}" if last else EXPIRED


def _moved(standing: Standing, status: Health, now: float, *, expires: float | None) -> Standing:
    since = None if status is not Health.CRITICAL else now if standing.critical_since is None else standing.critical_since
    return replace(standing, status=status, critical_since=since, expires=expires)


def to_be_taken_out(standing: Standing, check: Check, now: float) -> bool:
    """Whether the service of a check was critical for so long that it leaves the registry."""
    limit = check.probe.deregister_after
    if not check.service_id or limit <= 0 or standing.critical_since is None:
        return False
    return now - standing.critical_since >= max(limit, SHORTEST_REAP)


# Times


def interval(probe: Probe) -> float:
    return max(probe.interval, SHORTEST_INTERVAL)


def timeout(probe: Probe) -> float:
    """Seconds that one run may take."""
    return probe.timeout or _TIMEOUTS.get(probe.kind, _TIMEOUT)


def first_delay(key: CheckKey, every: float) -> float:
    """Seconds until the first run, in [0, every): the same for the same check, and spread evenly over many."""
    digest = blake2b("\0".join(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64 * every


def next_run(due: float, every: float, now: float) -> float:
    """When a check that was due at `due` and is done `now` runs again: in step with itself, without making up for missed runs."""
    behind = max(0.0, now - due)
    return due + (int(behind / every) + 1) * every


# Outputs


def last_bytes(output: bytes, limit: int, captured: int | None = None) -> str:
    """The end of what a program wrote, of which there were `captured` bytes in all."""
    total = len(output) if captured is None else captured
    if total <= limit:
        return output.decode(errors="replace")
    return f"Captured {limit} of {total} bytes\n...\n{output[len(output) - min(limit, len(output)) :].decode(errors='replace')}"


# Aliases


def of_alias(checks: Iterable[Check], *, known: bool) -> Result:
    """What the checks of another service, or node, say together. `known`: it is there at all."""
    if not known:
        return Result(outcome=Outcome.FAILING, output="Service not found.")
    found = tuple(checks)
    if not found:
        return Result(outcome=Outcome.PASSING, output="No checks found.")
    status = worst([check.status for check in found])
    if status is Health.PASSING:
        return Result(outcome=Outcome.PASSING, output="All checks passing.")
    guilty = next(check for check in found if check.status is status)
    outcome = Outcome.FAILING if status is Health.CRITICAL else Outcome.WARNING
    return Result(outcome=outcome, output=f'Aliased check "{guilty.name or guilty.id}" failing: {guilty.output}')
