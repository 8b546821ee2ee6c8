"""Who calls workloads in plain text: what their agents tell of addresses, with the names that the mesh has for those."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from tulle.compile import Built
from tulle.compile.migration import PlainCaller
from tulle.compile.whereabouts import Whereabouts
from tulle.model.mesh import Inputs
from tulle.model.proxy import Node
from tulle.registry.agents import Agents
from tulle.registry.registry import Registry
from tulle.server.fleet import Fleet


class Running(Protocol):
    """The state of a control plane."""

    fleet: Fleet
    built: Built
    agents: Agents
    registry: Registry

    @property
    def inputs(self) -> Inputs: ...


def plain_callers(running: Running) -> Iterator[tuple[Node, PlainCaller]]:
    """By connected proxy, the latest first."""
    nodes = [member.node for _, member in sorted(running.fleet.members.items())]
    where = _whereabouts(running, nodes)
    for node in nodes:
        if (agent := running.agents.known.get(node.id.removeprefix("sidecar~"))) is None:
            continue
        for told in agent.report.plain:
            whom = where.whom(told.address, agent.node)
            last = datetime.fromisoformat(told.last)
            yield node, PlainCaller(port=told.port, whom=whom, calls=told.calls, refused=told.refused, last=last)


def _whereabouts(running: Running, nodes: list[Node]) -> Whereabouts:
    catalog = running.registry
    machines = {kept.value.address: name for name, kept in sorted(catalog.tables.nodes.items(), reverse=True)}
    return Whereabouts(running.built.mesh, running.inputs.registrations.values(), nodes, machines, catalog.node.name)
