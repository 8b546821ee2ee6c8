"""The agents that report: an agent that falls silent takes its instance down with it, and the last one of a machine its whole node.

A node with agents has the check `serfHealth`, as in Consul: critical when none of them is heard of, passing when one is back. After a long
silence the node is taken out. The node of this very process lives as long as it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tulle.logs import Log
from tulle.model.frozen import FrozenMap
from tulle.model.service import Health
from tulle.registry import transitions
from tulle.registry.catalog import AGENT_HEALTH, SERF_HEALTH, Check, Node, NodeName
from tulle.registry.liveness import Event, Life, Limits, State
from tulle.registry.port import Write
from tulle.registry.registry import Registry
from tulle.registry.tables import Tables
from tulle.registry.transitions import Entering

TICK = 0.25
AGENT = "tulle-agent"
"""Metadata of a node that has agents, so that a control plane that starts knows for which to wait."""
ALIVE = "Agent alive and reachable"
LOST = "Agent not live or unreachable"
_log = Log("agents")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejection:
    """An instance that a proxy sends nothing to for a while, as it failed there."""

    cluster: str
    """The proxy's name of the service: `outbound|9080|v1|reviews.default.svc.cluster.local`."""
    address: str
    port: int
    reason: str
    since: str
    """Time of day, as ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Connections to a port of the agent's workload since its proxy started."""

    port: int
    mutual: int
    """With the mesh's mutual TLS."""
    plain: int
    last: str
    """When one in plain text was last noticed, as ISO 8601; empty for never. Those that were refused count here, too."""
    refused: int = 0
    """In plain text, where only mutual TLS is taken."""
    failed: int = 0
    """Those that began TLS and came to nothing."""
    requests: int = 0
    errors: int = 0
    """Requests that were answered 5xx."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainCaller:
    """Calls in plain text to a port of the agent's workload from one address since the agent started."""

    port: int
    address: str
    """An IP address, as the workload's machine sees it."""
    calls: int = 0
    """Requests that were answered, on a port for HTTP; on others connections."""
    refused: int = 0
    """Connections that were refused."""
    last: str
    """When the last of either was noticed, as ISO 8601."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What failed of the calls of the agent's workload to a service since its proxy started."""

    cluster: str
    """The proxy's name of the service."""
    unreached: int
    """Connections that could not be made."""
    errors: int
    """Requests that were answered 5xx."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A certificate that the agent's proxy says that it shows."""

    serial: str
    """In hex, without leading zeros."""
    names: tuple[str, ...]
    not_before: str
    """As ISO 8601; likewise the next."""
    not_after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an agent says of itself."""

    id: str
    node: NodeName = ""
    """Empty for the node of the control plane."""
    address: str = "127.0.0.1"
    ejected: tuple[Ejection, ...] = ()
    """What its proxy has ejected."""
    callers: tuple[Callers, ...] = ()
    plain: tuple[PlainCaller, ...] = ()
    calls: tuple[Calls, ...] = ()
    certificates: tuple[Shown, ...] = ()
    holds: str = ""
    """A fingerprint of what it holds of the mesh's authority, where its machine has joined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    report: Report
    node: NodeName
    life: Life


class Agents:
    """`run` notices silence until it is cancelled. All times are of the registry's clock."""

    def __init__(self, registry: Registry, limits: Limits) -> None:
        self.known: dict[str, Agent] = {}
        self._registry = registry
        self._limits = limits
        self._changing = asyncio.Lock()

    @property
    def every(self) -> float:
        """Seconds between reports: two may be lost."""
        return self._limits.silence / 3.5

    async def heard(self, report: Report) -> None:
        """An agent reports. Returns when the catalog shows that it lives."""
        node = report.node or self._registry.node.name
        before = self.known.get(report.id)
        life = (before.life if before else Life()).after(Event.HEARD, self._registry.clock())
        self.known[report.id] = Agent(report=report, node=node, life=life)
        if before is None or before.life.state is not State.ALIVE or before.node != node or not self._stands(node):
            await self._settle(report.id)

    async def there(self, node: NodeName, address: str) -> None:
        """Puts a node into the catalog that is not there yet: something on it has registered, and its agent is about to report."""
        if node and node not in self._registry.tables.nodes:
            self._expect(node, address)
            await self._registry.change(lambda tables: _living(tables, Node(name=node, address=address)))

    def _expect(self, node: NodeName, address: str) -> None:
        """A node is to be heard of in time, whichever of its agents reports."""
        if not any(agent.node == node for agent in self.known.values()):
            life = Life().after(Event.HEARD, self._registry.clock())
            self.known[f"{node}/"] = Agent(report=Report(id=f"{node}/", node=node, address=address), node=node, life=life)

    async def left(self, identifier: str) -> bool:
        """An agent ends. Whether it was known."""
        known = self.known.get(identifier)
        if known is None:
            return False
        self.known[identifier] = replace(known, life=known.life.after(Event.LEFT, self._registry.clock()))
        await self._settle(identifier)
        return True

    async def run(self) -> None:
        self._remember()
        last = self._registry.clock()
        while True:
            await asyncio.sleep(TICK)
            now = self._registry.clock()
            if now - last > self._limits.silence / 2:
                # It was this process that was not there: its agents could not be heard.
                self.known = {key: replace(agent, life=agent.life.excused(now - last)) for key, agent in self.known.items()}
            last = now
            try:
                await self.look(now)
            except Exception:  # noqa: BLE001 - the pump: it is tried again at the next look
                _log.exception("what is known of agents cannot be written")

    def _remember(self) -> None:
        """Nodes that had agents before this process began: they have as much time as any other to be heard of."""
        for name, kept in self._registry.tables.nodes.items():
            if AGENT in kept.value.meta:
                self._expect(name, kept.value.address)

    async def look(self, now: float) -> None:
        """What time brings about."""
        for identifier, agent in list(self.known.items()):
            if self._is_left_over(agent):
                await self._settle(identifier)
            if event := agent.life.due(self._limits, now):
                self.known[identifier] = replace(agent, life=agent.life.after(event, now))
                if event is Event.SILENT:
                    _log.warning("an agent is not heard of", agent=identifier, node=agent.node)
                await self._settle(identifier)

    def _is_left_over(self, agent: Agent) -> bool:
        """Whether a check is on an instance that is not there any more."""
        tables, key = self._registry.tables, (agent.node, agent.report.id)
        return key not in tables.services and (agent.node, AGENT_HEALTH + agent.report.id) in tables.checks

    def _stands(self, node: NodeName) -> bool:
        """Whether the catalog has the node, as living."""
        serf = self._registry.tables.checks.get((node, SERF_HEALTH))
        return node in self._registry.tables.nodes and serf is not None and serf.value.status is Health.PASSING

    async def _settle(self, identifier: str) -> None:
        """Makes the catalog say what is known of an agent, and of its node."""
        async with self._changing:
            agent = self.known[identifier]
            if agent.life.state is State.ALIVE:
                self.known.pop(f"{agent.node}/", None)
            others = [a.life.state for key, a in self.known.items() if a.node == agent.node and key != identifier]
            if agent.life.state is State.GONE:
                del self.known[identifier]
            await self._registry.change(lambda tables: _settling(tables, agent, others, self._registry.node.name))

    def ejections(self) -> Mapping[str, Sequence[Ejection]]:
        """By the id of the agent that told of them."""
        return {key: a.report.ejected for key, a in self.known.items() if a.report.ejected and a.life.state is State.ALIVE}


Decide = Callable[[Tables], Sequence[Write]]


def _settling(tables: Tables, agent: Agent, others: Iterable[State], own: NodeName) -> list[Write]:
    state = agent.life.state
    states = {state, *others}
    if agent.node == own:
        return _of_instance(tables, agent)
    if State.ALIVE in states:
        return _living(tables, Node(name=agent.node, address=agent.report.address)) + _of_instance(tables, agent)
    if State.FAILED in states:
        return _failing(tables, agent.node) + _of_instance(tables, agent)
    return transitions.leave_node(tables, agent.node)


def _of_instance(tables: Tables, agent: Agent) -> list[Write]:
    """The check on the instance that the agent runs, if it runs one: there while the agent is not."""
    key = (agent.node, agent.report.id)
    check = Check(
        node=agent.node,
        id=AGENT_HEALTH + agent.report.id,
        name="Agent Health Status",
        status=Health.CRITICAL,
        output=LOST,
        service_id=agent.report.id,
    )
    if agent.life.state is State.FAILED and key in tables.services:
        return transitions.enter_check(tables, check)
    return transitions.leave_check(tables, check)


def _living(tables: Tables, node: Node) -> list[Write]:
    marked = replace(node, meta=FrozenMap({AGENT: "true"}))
    serf = Check(node=node.name, id=SERF_HEALTH, name="Serf Health Status", status=Health.PASSING, output=ALIVE)
    return transitions.enter(tables, Entering(node=marked, keep_node=True, checks=(serf,)))


def _failing(tables: Tables, node: NodeName) -> list[Write]:
    kept = tables.checks.get((node, SERF_HEALTH))
    return transitions.told(tables, kept.value, Health.CRITICAL, LOST) if kept else []
