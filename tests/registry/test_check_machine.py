"""How results of checks become their status: as transcripts, and as properties of any series of results."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.model.service import Health
from tulle.registry import checks
from tulle.registry.catalog import Check, Probe
from tulle.registry.checks import Outcome

LETTERS = {"p": Outcome.PASSING, "w": Outcome.WARNING, "f": Outcome.FAILING}
SHOWN = {Health.PASSING: "P", Health.WARNING: "W", Health.CRITICAL: "C"}


def series(results: str, probe: Probe, status: Health = Health.CRITICAL) -> str:
    """The status after each result."""
    standing = checks.begun(probe, status, 0.0)
    shown = []
    for at, letter in enumerate(results):
        standing = checks.after(standing, probe, LETTERS[letter], float(at))
        shown.append(SHOWN[standing.status])
    return "".join(shown)


@pytest.mark.parametrize(
    ("limits", "results", "expected"),
    [
        ((0, 0, 0), "pwfpfw", "PWCPCW"),
        ((0, 0, 3), "pfffpff", "PPPCPPP"),
        ((0, 0, 3), "fp", "CP"),
        ((3, 0, 0), "pfppp", "PCCCP"),
        ((3, 0, 0), "fppwp", "CCCWP"),
        ((3, 0, 2), "pfppfpp", "PPPPPPP"),
        ((0, 1, 3), "pffff", "PWWCC"),
        ((0, 2, 4), "pffffp", "PPWWCP"),
        ((2, 1, 2), "pffpp", "PWCCP"),
    ],
)
def test_thresholds(limits: tuple[int, int, int], results: str, expected: str) -> None:
    passing, warning, critical = limits
    probe = Probe(
        http="http://x", interval=1.0, success_before_passing=passing, failures_before_warning=warning, failures_before_critical=critical
    )
    assert series(results, probe) == expected


def test_what_is_told_counts_at_once() -> None:
    told = Probe(ttl=10.0, success_before_passing=5, failures_before_critical=5)
    assert series("pwfp", told) == "PWCP"


def test_a_word_that_ends() -> None:
    probe = Probe(ttl=0.1)
    standing = checks.after(checks.begun(probe, Health.CRITICAL, 0.0), probe, Outcome.PASSING, 1.0)
    assert checks.expired(standing, 1.09) is None
    late = checks.expired(standing, 1.12)
    assert late is not None
    assert (late.status, late.critical_since) == (Health.CRITICAL, 1.12)
    assert checks.expired(late, 5.0) is None
    assert checks.after(late, probe, Outcome.PASSING, 6.0).status is Health.PASSING
    assert checks.expiry_output("") == "TTL expired"
    assert checks.expiry_output("fine") == "TTL expired (last output before timeout follows): fine"


@pytest.mark.parametrize(
    ("limit", "service", "now", "gone"),
    [
        (0.0, "web", 1e9, False),
        (90.0, "web", 99.0, False),
        (90.0, "web", 100.0, True),
        (1.0, "web", 69.9, False),
        (1.0, "web", 70.0, True),
        (90.0, "", 1e9, False),
    ],
)
def test_what_stays_critical_is_taken_out(limit: float, service: str, now: float, gone: bool) -> None:
    check = Check(node="n", id="c", service_id=service, probe=Probe(http="http://x", interval=1.0, deregister_after=limit))
    standing = checks.begun(check.probe, Health.PASSING, 0.0)
    for at in (10.0, 20.0, 30.0):
        standing = checks.after(standing, check.probe, Outcome.FAILING, at)
    assert standing.critical_since == 10.0
    assert checks.to_be_taken_out(standing, check, now) is gone
    assert not checks.to_be_taken_out(checks.after(standing, check.probe, Outcome.PASSING, 40.0), check, 1e9)


limits = st.integers(0, 4)


@given(results=st.text("pwf", min_size=1, max_size=30), passing=limits, warning=limits, critical=limits, start=st.sampled_from(Health))
def test_any_series(results: str, passing: int, warning: int, critical: int, start: Health) -> None:
    probe = Probe(
        tcp="x:1",
        interval=1.0,
        success_before_passing=passing,
        failures_before_warning=min(warning, critical),
        failures_before_critical=critical,
    )
    shown = series(results, probe, start)
    good = {"p": "P", "w": "W"}
    assert shown[0] == ("C" if results[0] == "f" else good[results[0]]), "the first result counts at once"
    for at, letter in enumerate(results):
        row = at - len(results[: at + 1].rstrip("f" if letter == "f" else "pw")) + 1
        if letter == "f" and row >= max(critical, 1):
            assert shown[at] == "C"
        if letter != "f" and row >= max(passing, 1):
            assert shown[at] == good[letter]
        before = shown[at - 1] if at else SHOWN[start]
        assert shown[at] in {before, "C", "W"} if letter == "f" else shown[at] in {before, good[letter]}


def test_ten_thousand_checks_do_not_run_together() -> None:
    every = 10.0
    delays = [checks.first_delay(("node", f"service:web-{i}"), every) for i in range(10_000)]
    assert 0 <= min(delays) < max(delays) < every
    slots = [0] * 100
    for delay in delays:
        slots[int(delay / every * 100)] += 1
    assert 50 < min(slots) <= max(slots) < 160
    assert delays[7] == checks.first_delay(("node", "service:web-7"), every)


@given(due=st.floats(0, 1e6), every=st.floats(1, 3600), late=st.floats(0, 1e5))
def test_runs_keep_step(due: float, every: float, late: float) -> None:
    following = checks.next_run(due, every, due + late)
    assert due + late < following + 1e-3
    assert following - (due + late) <= every + 1e-3
    steps = (following - due) / every
    assert abs(steps - round(steps)) < 1e-3


def test_outputs_are_limited() -> None:
    assert checks.last_bytes(b"short", 10) == "short"
    assert checks.last_bytes(b"0123456789abc", 10) == "Captured 10 of 13 bytes\n...\n3456789abc"
    assert checks.last_bytes(b"6789", 4, captured=10) == "Captured 4 of 10 bytes\n...\n6789"


def _check(name: str, status: Health, output: str = "") -> Check:
    return Check(node="n", id=name, name=name, status=status, output=output)


def test_aliases() -> None:
    good, poor, bad = _check("a", Health.PASSING), _check("b", Health.WARNING, "slow"), _check("c", Health.CRITICAL, "down")
    found = [
        checks.of_alias(them, known=known)
        for them, known in (((), False), ((), True), ((good,), True), ((good, poor), True), ((poor, bad), True))
    ]
    assert [(r.outcome, r.output) for r in found] == [
        (Outcome.FAILING, "Service not found."),
        (Outcome.PASSING, "No checks found."),
        (Outcome.PASSING, "All checks passing."),
        (Outcome.WARNING, 'Aliased check "b" failing: slow'),
        (Outcome.FAILING, 'Aliased check "c" failing: down'),
    ]


def test_times() -> None:
    assert checks.interval(Probe(interval=0.01)) == 1.0
    assert (checks.timeout(Probe(args=("x",))), checks.timeout(Probe(http="x")), checks.timeout(Probe(http="x", timeout=2.5))) == (
        30.0,
        10.0,
        2.5,
    )
