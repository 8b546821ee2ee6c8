"""Agents that live, fall silent, come back, leave and are forgotten: the table, and what it does to the catalog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.consul import Consul, running_consul
from tulle.model.service import Registration
from tulle.registry.agents import Agents, Report
from tulle.registry.liveness import NEXT, Event, Life, Limits, State

LIMITS = Limits(silence=10, reap=100)
STEPS = [
    # state before, event, state after
    (State.GONE, Event.HEARD, State.ALIVE),
    (State.GONE, Event.SILENT, State.GONE),
    (State.GONE, Event.LEFT, State.GONE),
    (State.GONE, Event.OVERDUE, State.GONE),
    (State.ALIVE, Event.HEARD, State.ALIVE),
    (State.ALIVE, Event.SILENT, State.FAILED),
    (State.ALIVE, Event.LEFT, State.GONE),
    (State.ALIVE, Event.OVERDUE, State.ALIVE),
    (State.FAILED, Event.HEARD, State.ALIVE),
    (State.FAILED, Event.SILENT, State.FAILED),
    (State.FAILED, Event.LEFT, State.GONE),
    (State.FAILED, Event.OVERDUE, State.GONE),
]


@pytest.mark.parametrize(("before", "event", "after"), STEPS)
def test_every_event_in_every_state(before: State, event: Event, after: State) -> None:
    life = Life(state=before, heard=5).after(event, 7)
    assert life == Life(state=after, heard=7 if event is Event.HEARD else 5)


def test_the_steps_are_all_there_are() -> None:
    assert {(before, event) for before, event, _ in STEPS} == {(state, event) for state in State for event in Event}
    assert set(NEXT) <= {(before, event) for before, event, _ in STEPS}


@pytest.mark.parametrize(
    ("state", "quiet", "event"),
    [
        (State.ALIVE, 9.9, None),
        (State.ALIVE, 10, Event.SILENT),
        (State.FAILED, 99.9, None),
        (State.FAILED, 100, Event.OVERDUE),
        (State.GONE, 1000, None),
    ],
)
def test_what_time_brings(state: State, quiet: float, event: Event | None) -> None:
    assert Life(state=state, heard=50).due(LIMITS, 50 + quiet) is event
    assert Life(state=state, heard=50).excused(5).due(LIMITS, 50 + quiet + 5) is event


@given(st.lists(st.floats(0, 30), max_size=30))
def test_who_reports_in_time_never_fails(pauses: list[float]) -> None:
    life, now = Life().after(Event.HEARD, 0), 0.0
    for pause in pauses:
        now += pause
        due = life.due(LIMITS, now)
        assert (due is Event.SILENT) == (now - life.heard >= 10)
        life = (life.after(due, now) if due else life).after(Event.HEARD, now)
        assert life.state is State.ALIVE


# In the catalog


class Stage:
    """A registry whose time stands still unless it is moved."""

    def __init__(self, consul: Consul) -> None:
        self.consul = consul
        self.now = 1000.0
        consul.registry.clock = lambda: self.now
        self.agents = Agents(consul.registry, LIMITS)

    def heard(self, identifier: str, node: str = "m1") -> None:
        self.consul.call(self.agents.heard(Report(id=identifier, node=node, address="10.0.0.1")))

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.consul.call(self.agents.look(self.now))

    def serf(self, node: str = "m1") -> str:
        checks = {check["CheckID"]: check for check in self.consul.get(f"/v1/health/node/{node}").json}
        return str(checks["serfHealth"]["Status"]) if checks else "gone"

    def passing(self, service: str) -> list[str]:
        return [entry["Service"]["ID"] for entry in self.consul.get(f"/v1/health/service/{service}?passing").json]

    def register(self, identifier: str, service: str, node: str = "m1") -> None:
        registration = Registration(id=identifier, service=service, node=node, address="10.0.0.1")
        self.consul.call(self.agents.there(node, "10.0.0.1"))
        revision = self.consul.call(self.consul.registrations.register(registration, 600))
        self.consul.call(self.consul.registry._reached(revision))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with running_consul(tmp_path) as consul:
        yield Stage(consul)


def test_a_machine_fails_with_its_last_agent(stage: Stage) -> None:
    stage.heard("web-1")
    stage.heard("gateway~edge")
    stage.register("web-1", "web")
    assert (stage.serf(), stage.passing("web")) == ("passing", ["web-1"])
    entry = stage.consul.get("/v1/health/service/web").json[0]
    assert (entry["Node"]["Node"], entry["Node"]["Address"]) == ("m1", "10.0.0.1")
    stage.later(6)
    stage.heard("gateway~edge")
    stage.later(6)
    assert (stage.serf(), stage.passing("web")) == ("passing", []), "the machine lives, the instance's own agent does not"
    (check,) = [c for c in stage.consul.get("/v1/health/checks/web").json if c["CheckID"] == "_agent_health:web-1"]
    assert (check["Status"], check["Output"]) == ("critical", "Agent not live or unreachable")
    stage.later(6)
    assert stage.serf() == "critical"
    assert stage.consul.registry.mesh()["web-1"].health.value == "critical"
    stage.heard("web-1")
    assert (stage.serf(), stage.passing("web")) == ("passing", ["web-1"])
    assert "web-1" not in stage.consul.registry.mesh(), "it speaks for itself again"


def test_machines_are_members(stage: Stage) -> None:
    def members() -> list[tuple[str, str, int]]:
        return [(one["Name"], one["Addr"], one["Status"]) for one in stage.consul.get("/v1/agent/members").json]

    stage.heard("a")
    stage.consul.put("/v1/catalog/register", {"Node": "external", "Address": "10.0.0.9"})
    assert members() == [("n1", "127.0.0.1", 1), ("m1", "10.0.0.1", 1)]
    stage.later(11)
    assert members() == [("n1", "127.0.0.1", 1), ("m1", "10.0.0.1", 4)]


def test_watchers_are_told_when_a_machine_fails(stage: Stage) -> None:
    stage.heard("web-1")
    stage.register("web-1", "web")
    before = stage.consul.get("/v1/health/service/web").index
    stage.later(11)
    after = stage.consul.get(f"/v1/health/service/web?index={before}&wait=10s")
    assert after.index > before
    assert {check["CheckID"] for check in after.json[0]["Checks"] if check["Status"] == "critical"} == {"serfHealth", "_agent_health:web-1"}


def test_a_machine_on_which_something_registered_and_no_agent_reports(stage: Stage) -> None:
    stage.register("web-1", "web")
    stage.later(9)
    assert (stage.serf(), stage.passing("web")) == ("passing", ["web-1"])
    stage.later(1)
    assert (stage.serf(), stage.passing("web")) == ("critical", [])


def test_a_machine_is_taken_out_with_what_runs_there(stage: Stage) -> None:
    stage.heard("web-1")
    stage.register("web-1", "web")
    assert stage.consul.call(stage.agents.left("web-1"))
    assert stage.consul.get("/v1/catalog/service/web").json == []
    assert stage.serf() == "gone"


def test_a_machine_that_leaves_in_order_is_gone(stage: Stage) -> None:
    stage.heard("a")
    stage.heard("b")
    assert stage.consul.call(stage.agents.left("a"))
    assert stage.serf() == "passing"
    assert stage.consul.call(stage.agents.left("b"))
    assert stage.serf() == "gone"
    assert not stage.consul.call(stage.agents.left("b"))


def test_a_machine_that_failed_for_long_is_forgotten_with_all_that_is_on_it(stage: Stage) -> None:
    stage.heard("a")
    stage.consul.put("/v1/catalog/register", {"Node": "m1", "SkipNodeUpdate": True, "Service": {"Service": "db", "Port": 1}})
    stage.later(50)
    assert (stage.serf(), stage.passing("db")) == ("critical", [])
    stage.later(49)
    assert stage.serf() == "critical"
    stage.later(1)
    assert (stage.serf(), stage.consul.get("/v1/catalog/service/db").json) == ("gone", [])
    assert stage.agents.known == {}


def test_the_control_planes_own_machine_lives_as_long_as_it(stage: Stage) -> None:
    stage.heard("web-1", node="")
    stage.register("web-1", "web", node="")
    stage.later(11)
    assert (stage.serf("n1"), stage.passing("web")) == ("passing", [])
    stage.later(100)
    assert (stage.serf("n1"), stage.passing("web")) == ("passing", ["web-1"]), "nobody speaks for it any more but its registration"


def test_nothing_is_left_of_an_instance_whose_registration_has_ended(stage: Stage) -> None:
    stage.heard("web-1")
    stage.register("web-1", "web")
    stage.later(11)
    revision = stage.consul.call(stage.consul.registrations.deregister("web-1"))
    stage.consul.call(stage.consul.registry._reached(revision))
    stage.later(1)
    assert [check["CheckID"] for check in stage.consul.get("/v1/health/state/critical").json] == ["serfHealth"]
    assert [check["CheckID"] for check in stage.consul.get("/v1/health/node/m1").json] == ["serfHealth"]


def test_a_control_plane_that_starts_waits_for_the_agents_it_knew(stage: Stage) -> None:
    stage.heard("a")
    again = Agents(stage.consul.registry, LIMITS)
    again._remember()
    stage.agents = again
    stage.later(9)
    assert stage.serf() == "passing"
    stage.later(2)
    assert stage.serf() == "critical"
    stage.heard("b")
    assert stage.serf() == "passing"
    assert set(again.known) == {"b"}
