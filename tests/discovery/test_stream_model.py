"""Any interleaving of changes, lag, refusals and reconnects: a model Envoy never misses what it uses, and ends with the snapshot.

Hypothesis finds small examples; the seeded walks below are many times faster and go deeper.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from support.model_envoy import TYPES, ModelEnvoy
from tulle.discovery import (
    CDS,
    EDS,
    LDS,
    RDS,
    Acknowledged,
    Command,
    Complete,
    Event,
    Mode,
    Offer,
    Rejected,
    Remind,
    Reminded,
    Send,
    Shared,
    Stream,
)
from tulle.discovery.kinds import WHOLE
from tulle.translate.snapshot import Bundle, Entry, Snapshot, content_hash

CLUSTERS = [f"c{n}" for n in range(5)]
TABLES = [f"r{n}" for n in range(3)]
USES = {CDS: {LDS, RDS}, EDS: {CDS, LDS, RDS}, RDS: {LDS, RDS}, LDS: set()}
LISTENERS = [f"l{n}" for n in range(3)]


def entry(type_url: str, name: str, *said: object) -> Entry:
    body = " ".join(map(str, (name, *said))).encode()
    return Entry(type_url=type_url, name=name, version=content_hash(body), body=body)


@st.composite
def snapshots(draw: st.DrawFn, poison: bool = True) -> list[Entry]:
    """The entries of a sound snapshot: what is named is there, and no table is without a listener."""
    version = st.integers(0, 2)
    spoiled = st.sampled_from([()] * 12 + [("poison",)]) if poison else st.just(())
    names = draw(st.lists(st.sampled_from(CLUSTERS), unique=True, min_size=1))
    out = []
    for name in names:
        static = draw(st.sampled_from([False, False, False, True]))
        out.append(entry(CDS, name, draw(version), "static" if static else "eds", *draw(spoiled)))
        if not static:
            out.append(entry(EDS, name, draw(version), *draw(spoiled)))
    tables = draw(st.lists(st.sampled_from(TABLES), unique=True))
    targets = st.lists(st.sampled_from(names), min_size=1, max_size=2)
    out.extend(entry(RDS, name, draw(version), *draw(targets), *draw(spoiled)) for name in tables)
    served = set()
    for name in draw(st.lists(st.sampled_from(LISTENERS), unique=True, min_size=len(tables))) if tables else []:
        left = [t for t in tables if t not in served] or tables
        served.add(left[0])
        out.append(entry(LDS, name, draw(version), left[0], *draw(spoiled)))
    return out


@dataclass
class Line:
    """A client and its stream."""

    client: ModelEnvoy
    stream: Stream
    reminders: list[int] = field(default_factory=list)
    acked: dict[str, Snapshot] = field(default_factory=dict)
    complete: Snapshot | None = None
    rejected: set[tuple[str, str]] = field(default_factory=set)
    steady: bool = True
    """Nothing excuses a missing resource."""

    def feed(self, event: Event) -> None:
        for command in self.stream.on(event):
            self.take(command)
        assert all(self.stream.acknowledged(type_url) is snapshot for type_url, snapshot in self.acked.items())

    def take(self, command: Command) -> None:
        match command:
            case Send():
                self.client.inbox.append(command)
            case Remind():
                self.reminders.append(command.token)
            case Acknowledged():
                self.acked[command.type_url] = command.snapshot
            case Complete():
                self.complete = command.snapshot
                self.serves(command.snapshot)
            case Rejected():
                self.rejected |= {(command.type_url, e.name) for e in command.entries}
                assert all(b"poison" in e.body for e in command.entries)
                assert command.type_url not in WHOLE or all(b"poison" not in e.body for e in command.replaced.values())

    def serves(self, snapshot: Snapshot) -> None:
        """All listeners are in service, each with all that it uses."""
        assert not any(b"poison" in entry.body for entry in snapshot)
        said = {entry.name: entry.body.decode() for entry in snapshot.entries(LDS)}
        assert said.items() <= self.client.active.items()
        assert not self.steady or not self.client.missing()


class World(RuleBasedStateMachine):
    """Two proxies with a shared part and a part of their own."""

    mode = Mode.DELTA
    poison = True

    def __init__(self) -> None:
        super().__init__()
        self.shared = Shared(limit=2000)
        self.entries: dict[tuple[str, str, str], Entry] = {}
        self.bundle = Bundle(entries={})
        self.poisoned: set[tuple[str, str]] = set()
        self.snapshot = self._snapshot([entry(CDS, "c0", 0, "eds"), entry(EDS, "c0", 0)])
        self.lines = [self._line() for _ in range(2)]

    def _line(self) -> Line:
        client = ModelEnvoy(self.mode)
        client.connect()
        return Line(client, Stream(self.mode, self.snapshot, self.shared))

    def _snapshot(self, entries: list[Entry]) -> Snapshot:
        """Entries that did not change are the same objects, and so are bundles of which nothing changed."""
        self.poisoned |= {(e.type_url, e.name) for e in entries if b"poison" in e.body}
        kept = [self.entries.setdefault((e.type_url, e.name, e.version), e) for e in entries]
        halves = []
        for half in (0, 1):
            of = [e for e in kept if (e.type_url in (CDS, EDS)) == bool(half)]
            before = next((b for b in self.snapshot.bundles if list(b) == of), None) if hasattr(self, "snapshot") else None
            halves.append(before or Bundle.of(of))
        return Snapshot(bundles=tuple(halves))

    @rule(data=st.data())
    def change(self, data: st.DataObject) -> None:
        self.snapshot = self._snapshot(data.draw(snapshots(poison=self.poison)))
        for line in self.lines:
            line.feed(Offer(snapshot=self.snapshot))

    @rule(at=st.integers(0, 1))
    def client_reads(self, at: int) -> None:
        if self.lines[at].client.inbox:
            self.lines[at].client.read()

    @rule(at=st.integers(0, 1))
    def server_reads(self, at: int) -> None:
        if self.lines[at].client.outbox:
            self.lines[at].feed(self.lines[at].client.outbox.popleft())

    @rule(at=st.integers(0, 1))
    def exchange(self, at: int) -> None:
        """As much as there is."""
        exchange(self.lines[at])

    @precondition(lambda self: any(line.reminders for line in self.lines))
    @rule()
    def time_passes(self) -> None:
        for line in self.lines:
            if line.reminders and not line.client.inbox and not line.client.outbox:
                line.feed(Reminded(token=line.reminders.pop(0)))

    @rule(at=st.integers(0, 1))
    def reconnect(self, at: int) -> None:
        line = self.lines[at]
        line.client.connect()
        line.stream = Stream(self.mode, self.snapshot, self.shared)
        line.reminders.clear()
        line.acked.clear()
        # A client of this protocol cannot say what it holds, so what has gone meanwhile goes before the routes have changed.
        line.steady = self.mode is Mode.DELTA

    @rule()
    def settle(self) -> None:
        for line in self.lines:
            converge(line, self.snapshot)
            line.steady |= not any(b"poison" in e.body for e in self.snapshot)

    @invariant()
    def nothing_in_use_is_missing(self) -> None:
        for line in self.lines:
            if line.steady:
                assert line.client.missing() <= self.excused()

    def excused(self) -> set[tuple[str, str]]:
        names = {name for type_url, name in self.poisoned if type_url in (CDS, EDS)}
        return {(t, n) for n in names for t in (CDS, EDS)}

    @invariant()
    def at_most_one_response_of_a_kind_is_under_way(self) -> None:
        for line in self.lines:
            kinds = [send.type_url for send in line.client.inbox]
            assert len(kinds) == len(set(kinds))

    def teardown(self) -> None:
        self.settle()


def exchange(line: Line) -> None:
    for _ in range(200):
        while line.client.outbox:
            line.feed(line.client.outbox.popleft())
        if not line.client.inbox:
            return
        line.client.read()
    raise AssertionError("client and server never have done")


def converge(line: Line, snapshot: Snapshot) -> None:
    """All that is under way arrives, and time passes: the client must hold the snapshot, but for what it refused."""
    exchange(line)
    for _ in range(20):
        if line.reminders:
            line.feed(Reminded(token=line.reminders.pop(0)))
            exchange(line)
    assert not line.reminders, "the stream waits without end"
    client = line.client
    client.lose_patience()
    bad = {(e.type_url, e.name) for e in snapshot if b"poison" in e.body}
    refused = {type_url for type_url, _ in bad}
    for type_url in TYPES:
        covered = client.asked.get(type_url)
        wanted = {e.name: e.body.decode() for e in snapshot.entries(type_url) if covered is None or e.name in covered}
        has = {name: held.body for name, held in client.resources[type_url].items()}
        sound = {name: body for name, body in wanted.items() if (type_url, name) not in bad}
        assert {name: body for name, body in has.items() if name in sound} == sound
        # What old listeners, routes and clusters may use stays as long as their successors are refused.
        assert has.keys() <= wanted.keys() or refused & USES[type_url]
    if not bad:
        assert line.stream.idle
        assert line.complete is snapshot
        assert not client.warming
        assert all(line.acked[t] is snapshot for t in (CDS, LDS))
    assert bad <= line.rejected | {(t, n) for t, n in bad if t in client.asked and n not in client.asked[t]}


class DeltaWorld(World):
    mode = Mode.DELTA


class SotwWorld(World):
    mode = Mode.SOTW


class CleanDeltaWorld(World):
    mode = Mode.DELTA
    poison = False


class CleanSotwWorld(World):
    mode = Mode.SOTW
    poison = False


for world in (DeltaWorld, SotwWorld, CleanDeltaWorld, CleanSotwWorld):
    world.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, report_multiple_bugs=False)

TestDelta = DeltaWorld.TestCase
TestSotw = SotwWorld.TestCase
TestCleanDelta = CleanDeltaWorld.TestCase
TestCleanSotw = CleanSotwWorld.TestCase


def walked_entries(dice: random.Random, *, poison: bool) -> list[Entry]:
    """As `snapshots`, of fewer names, so that they meet more often."""

    def spoiled() -> tuple[str, ...]:
        return ("poison",) if poison and dice.random() < 0.08 else ()

    names = dice.sample(CLUSTERS[:3], dice.randint(1, 3))
    out = []
    for name in names:
        static = dice.random() < 0.2
        out.append(entry(CDS, name, dice.randint(0, 1), "static" if static else "eds", *spoiled()))
        if not static:
            out.append(entry(EDS, name, dice.randint(0, 1), *spoiled()))
    tables = dice.sample(TABLES[:2], dice.randint(0, 2))
    out.extend(entry(RDS, name, dice.randint(0, 1), dice.choice(names), *spoiled()) for name in tables)
    serving = dice.sample(LISTENERS[:2], max(len(tables), dice.randint(0, 2))) if tables else []
    out.extend(entry(LDS, name, dice.randint(0, 1), tables[at % len(tables)], *spoiled()) for at, name in enumerate(serving))
    return out


def walk(world: World, dice: random.Random, steps: int) -> None:
    line = world.lines[0]
    for _ in range(steps):
        match dice.choices(("change", "read", "serve", "wait", "cut", "exchange"), (15, 35, 35, 5, 3, 3))[0]:
            case "change":
                world.snapshot = world._snapshot(walked_entries(dice, poison=world.poison))
                line.feed(Offer(snapshot=world.snapshot))
            case "read":
                world.client_reads(0)
            case "serve":
                world.server_reads(0)
            case "wait":
                world.time_passes()
            case "cut" if world.mode is Mode.DELTA:
                world.reconnect(0)
            case "exchange":
                world.exchange(0)
        world.nothing_in_use_is_missing()
        world.at_most_one_response_of_a_kind_is_under_way()
    world.lines = [line]
    world.settle()
    world.nothing_in_use_is_missing()


@pytest.mark.parametrize("made", [DeltaWorld, SotwWorld, CleanDeltaWorld, CleanSotwWorld])
def test_seeded_walks(made: type[World]) -> None:
    for seed in range(1000):
        walk(made(), random.Random(seed), 25)
