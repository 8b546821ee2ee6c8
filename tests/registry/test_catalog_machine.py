"""The catalog after any changes: as a model has it, and the same as if it had been read anew from the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from support.consul import NODE, Consul, running_consul
from tulle.model.service import RegisteredPort, Registration
from tulle.registry.membership import in_mesh
from tulle.registry.registry import Registry
from tulle.registry.rows import PREFIXES
from tulle.registry.tables import Tables

NODES = st.sampled_from(["far", "near", NODE.name])
IDS = st.sampled_from(["one", "two", "other"])
NAMES = st.sampled_from(["Web", "web", "db", "not a label"])
CHECKS = st.sampled_from(["c1", "c2", "service:one"])
STATUSES = st.sampled_from(["passing", "warning", "critical"])
RANK = ["passing", "warning", "critical"]


@pytest.fixture(scope="module")
def consul(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consul]:
    with running_consul(tmp_path_factory.mktemp("consul")) as running:
        yield running


class CatalogMachine(RuleBasedStateMachine):
    consul: Consul

    def __init__(self) -> None:
        super().__init__()
        self.services: dict[tuple[str, str], tuple[str, int]] = {}
        """Name and port, by node and id."""
        self.checks: dict[tuple[str, str], tuple[str, str]] = {}
        """Service id (empty: the node's) and status, by node and id."""
        self.workloads: set[str] = set()

    def teardown(self) -> None:
        for node in ("far", "near"):
            self.leave_node(node)
        for node, identifier in list(self.services):
            self.leave_service(node, identifier)
        for node, identifier in list(self.checks):
            self.leave_check(node, identifier)
        for identifier in ("one", "two"):
            self.stop(identifier)

    def put(self, path: str, body: object, status: int = 200) -> None:
        answer = self.consul.put(f"/v1/{path}", body)
        assert answer.status == status, answer.text

    @rule(node=NODES, identifier=IDS, name=NAMES, port=st.integers(1, 3))
    def enter_service(self, node: str, identifier: str, name: str, port: int) -> None:
        address = NODE.address if node == NODE.name else "10.0.0.1"
        service = {"ID": identifier, "Service": name, "Port": port}
        self.put("catalog/register", {"Node": node, "Address": address, "SkipNodeUpdate": node == NODE.name, "Service": service})
        self.services[node, identifier] = (name, port)

    @rule(node=NODES, identifier=IDS)
    def leave_service(self, node: str, identifier: str) -> None:
        self.put("catalog/deregister", {"Node": node, "ServiceID": identifier})
        shown = node == NODE.name and identifier in self.workloads and (node, identifier) not in self.services
        if shown:
            self.workloads.discard(identifier)
        if self.services.pop((node, identifier), None) or shown:
            for key in [key for key, (service, _) in self.checks.items() if (key[0], service) == (node, identifier)]:
                del self.checks[key]

    @rule(node=NODES, identifier=CHECKS, service=st.sampled_from(["", "one", "two"]), status=STATUSES)
    def enter_check(self, node: str, identifier: str, service: str, status: str) -> None:
        known = not service or (node, service) in self.services or (node == NODE.name and service in self.workloads)
        there = node == NODE.name or node in self.nodes()
        address = {"Address": "10.0.0.1"} if node != NODE.name else {"SkipNodeUpdate": True}
        check = {"CheckID": identifier, "Name": identifier, "Status": status, "ServiceID": service}
        self.put("catalog/register", {"Node": node, **address, "Check": check}, 200 if known else 500)
        if known:
            self.checks[node, identifier] = (service, status)
        else:
            assert there == (node in self.nodes()), "what is refused leaves nothing behind"

    @rule(node=NODES, identifier=CHECKS)
    def leave_check(self, node: str, identifier: str) -> None:
        self.put("catalog/deregister", {"Node": node, "CheckID": identifier})
        self.checks.pop((node, identifier), None)

    @rule(node=st.sampled_from(["far", "near"]))
    def leave_node(self, node: str) -> None:
        self.put("catalog/deregister", {"Node": node})
        self.services = {key: value for key, value in self.services.items() if key[0] != node}
        self.checks = {key: value for key, value in self.checks.items() if key[0] != node}

    @rule(identifier=st.sampled_from(["one", "two"]))
    def run(self, identifier: str) -> None:
        """A workload of `tulle run`, which a service of the same id on this node hides."""
        ports = (RegisteredPort(number=80, target=8080),)
        registration = Registration(id=identifier, service="run", address="10.9.9.9", ports=ports)
        revision = self.consul.call(self.consul.registrations.register(registration, 3600.0))
        self.consul.call(_reached(self.consul.registry, revision))
        self.workloads.add(identifier)

    @rule(identifier=st.sampled_from(["one", "two"]))
    def stop(self, identifier: str) -> None:
        revision = self.consul.call(self.consul.registrations.deregister(identifier))
        self.workloads.discard(identifier)
        if revision is not None:
            self.consul.call(_reached(self.consul.registry, revision))

    def nodes(self) -> set[str]:
        return {node["Node"] for node in self.consul.get("/v1/catalog/nodes").json}

    @invariant()
    def what_is_asked_is_as_in_the_model(self) -> None:
        for name in ("web", "db"):
            found = {(e["Node"]["Node"], e["Service"]["ID"]): e for e in self.consul.get(f"/v1/health/service/{name}").json}
            expected = {key: value for key, value in self.services.items() if value[0].lower() == name}
            assert {key: (e["Service"]["Service"], e["Service"]["Port"]) for key, e in found.items()} == expected
            passing = {(e["Node"]["Node"], e["Service"]["ID"]) for e in self.consul.get(f"/v1/health/service/{name}?passing").json}
            assert passing == {key for key in expected if self.worst(*key) == "passing"}

    def worst(self, node: str, identifier: str) -> str:
        found = [status for (on, _), (service, status) in self.checks.items() if on == node and service in ("", identifier)]
        return max(found, key=RANK.index, default="passing")

    @invariant()
    def the_picture_is_the_one_that_a_restart_would_give(self) -> None:
        picture, mesh = self.consul.call(_pictures(self.consul))
        held = self.consul.registry.tables
        for name in (
            "nodes",
            "services",
            "checks",
            "instances",
            "services_of_node",
            "checks_of_node",
            "_checks_of_service",
            "kv",
            "sessions",
        ):
            now, anew = getattr(held, name), getattr(picture, name)
            if name in ("services", "checks"):
                now, anew = ({key: kept.value for key, kept in table.items()} for table in (now, anew))
            assert now == anew, name
        assert dict(self.consul.registry.mesh()) == mesh


async def _reached(registry: Registry, revision: int) -> None:
    await registry._reached(revision)


async def _pictures(consul: Consul) -> tuple[Tables, dict[str, Any]]:
    """The catalog made anew from the store, and what the mesh can send to of it."""
    listing = await consul.store.range("")
    await consul.registry._reached(listing.revision)
    tables = Tables(NODE.name)
    tables.apply(listing.revision, [(entry.key, entry) for entry in listing.entries if entry.key.startswith(PREFIXES)])
    meshed = dict(in_mesh(tables, key) for key in tables.services)
    return tables, {identity: registration for identity, registration in meshed.items() if registration}


def test_the_catalog(consul: Consul) -> None:
    machine = type("Machine", (CatalogMachine,), {"consul": consul})
    limits = settings(max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=[*HealthCheck])
    run_state_machine_as_test(machine, settings=limits)
