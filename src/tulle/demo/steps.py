"""The stations of the tour: what each asks of the mesh, and how it measures whether the mesh does it."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tulle.demo.odds import bounds
from tulle.demo.traffic import Sample, Traffic, gather, statuses


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the tour sends its requests."""

    gateway: Traffic
    ratings: Traffic
    """ratings, by way of productpage's sidecar."""
    echoes: tuple[Traffic, ...]
    """Each instance of echo, through its own sidecar: to heal one that gets no requests from anybody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    measured: str
    ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One station: `file` is applied before it measures, and undone afterwards."""

    name: str
    file: str
    asked: str
    measure: Callable[[Places], Awaitable[Finding]]


async def header_routing(places: Places) -> Finding:
    signed_in = await places.gateway.one("/login", method="POST", body=b"username=jason&passwd=")
    cookie = signed_in.answer.header("set-cookie").split(";")[0]
    jason = await places.gateway.many(20, "/productpage", (("cookie", cookie),))
    others = await places.gateway.many(20, "/productpage")
    black = sum("stars black" in sample.text for sample in jason)
    plain = sum("Reviews served by" in sample.text and "stars" not in sample.text for sample in others)
    return Finding(measured=f"{black} of 20 for jason, {plain} of 20 for others", ok=black == plain == 20)


async def traffic_split(places: Places) -> Finding:
    samples = await places.gateway.many(1000, "/hello")
    versions = Counter(sample.text.partition(",")[0].removeprefix("Hello version: ") for sample in samples)
    low, high = bounds(1000, 0.1)
    ok = low <= versions["v2"] <= high and versions["v1"] + versions["v2"] == 1000
    return Finding(measured=f"{versions['v1']} and {versions['v2']} of 1000 (chance: {low} to {high})", ok=ok)


async def retries(places: Places) -> Finding:
    run = uuid.uuid4().hex
    samples = await gather(50, lambda index: places.gateway.one(f"/echo/flaky/{run}-{index}?times=1"))
    good = statuses(samples)[200]
    return Finding(measured=f"{good} of 50 answered 200", ok=good == 50)


async def timeouts(places: Places) -> Finding:
    samples = await places.gateway.many(10, "/echo/delay/5")
    late = statuses(samples)[504]
    ok = late == 10 and all(0.45 <= sample.seconds < 4.5 for sample in samples)
    return Finding(measured=f"{late} of 10 answered 504, after {span(samples)}", ok=ok)


async def delay(places: Places) -> Finding:
    samples = await places.ratings.many(10, "/ratings/0")
    good = statuses(samples)[200]
    ok = good == 10 and all(0.95 <= sample.seconds < 10 for sample in samples)
    return Finding(measured=f"{good} of 10 answered 200, after {span(samples)}", ok=ok)


async def abort(places: Places) -> Finding:
    jason = statuses(await places.ratings.many(50, "/ratings/0", (("end-user", "jason"),)))[500]
    counted = statuses(await places.ratings.many(500, "/ratings/0"))
    low, high = bounds(500, 0.1)
    ok = jason == 50 and low <= counted[500] <= high and counted[200] + counted[500] == 500
    return Finding(measured=f"{jason} of 50; {counted[500]} of 500 (chance: {low} to {high})", ok=ok)


async def outlier_ejection(places: Places) -> Finding:
    told = await places.gateway.one("/echo/fail?on=true&seconds=60", method="POST")
    sick = json.loads(told.answer.body)["instance"] if told.answer.status == 200 else ""
    try:
        errors = await until_ejected(places.gateway)
        after = await places.gateway.many(200, "/echo/")
    finally:
        for echo in places.echoes:
            await echo.one("/fail?on=false", method="POST")
    good = statuses(after)[200]
    instances = {json.loads(sample.answer.body)["instance"] for sample in after if sample.answer.status == 200}
    ok = bool(sick) and errors >= 3 and good == 200 and sick not in instances
    return Finding(measured=f"{errors} errors, then {200 - good} in 200 requests", ok=ok)


async def until_ejected(gateway: Traffic, patience: float = 30.0) -> int:
    """Sends one request after another until twenty in a row succeed; returns how many failed before."""
    errors = streak = 0
    deadline = time.monotonic() + patience
    while streak < 20 and time.monotonic() < deadline:
        failed = (await gateway.one("/echo/")).answer.status != 200
        errors += failed
        streak = 0 if failed else streak + 1
    return errors


def span(samples: Sequence[Sample]) -> str:
    """The shortest and the longest time, in seconds."""
    times = sorted(sample.seconds for sample in samples)
    return f"{times[0]:.2f} to {times[-1]:.2f} s"


STEPS: tuple[Step, ...] = (
    Step(
        name="header routing",
        file="header-routing.yaml",
        asked="jason sees reviews v2, all others v1",
        measure=header_routing,
    ),
    Step(name="traffic split", file="traffic-split.yaml", asked="90 % to v1, 10 % to v2", measure=traffic_split),
    Step(name="retries", file="retries.yaml", asked="3 retries; every first try fails", measure=retries),
    Step(name="timeout", file="timeouts.yaml", asked="504 after 0.5 s; echo takes 5 s", measure=timeouts),
    Step(name="delay", file="delay.yaml", asked="calls to ratings take 1 s longer", measure=delay),
    Step(name="abort", file="abort.yaml", asked="ratings fail for jason, else 10 %", measure=abort),
    Step(name="outlier ejection", file="outlier-ejection.yaml", asked="out after 3 errors in a row", measure=outlier_ejection),
)
