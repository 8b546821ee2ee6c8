"""What control plane and agents know of the way to mutual TLS alone, put together: `compile.migration` decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tulle.compile import names
from tulle.compile.edges import edges
from tulle.compile.migration import APP, Counts, Group, Heard, PlainCaller, Step, groups, plan
from tulle.model.proxy import Node
from tulle.registry.agents import Callers, Calls
from tulle.server.plain_text import Running, plain_callers


class Migration:
    def __init__(self, running: Running) -> None:
        self._running = running

    def plain(self) -> Iterator[tuple[Node, PlainCaller]]:
        """By connected proxy, who calls its workload in plain text."""
        return plain_callers(self._running)

    def steps(self, quiet: timedelta) -> tuple[Step, ...]:
        """What to do with each group of workloads."""
        mesh, nodes = self._running.built.mesh, self._nodes()
        plain: dict[str, list[PlainCaller]] = {}
        for node, caller in self.plain():
            plain.setdefault(node.id, []).append(caller)
        found = (self._counted(group, plain) for group in groups(mesh, nodes, edges(mesh, nodes)))
        return plan(found, datetime.now(UTC), quiet)

    def counts(self, namespace: str, name: str) -> Counts | None:
        """What went wrong with calls to a group since its proxies started; None for one that is not there."""
        found = groups(self._running.built.mesh, self._nodes())
        group = next((g for g in found if (g.namespace, g.name) == (namespace, name)), None)
        if group is None:
            return None
        callers, calls = list(self._callers(group)), list(self._calls(group))
        return Counts(
            refused=sum(c.refused for c in callers),
            failed=sum(c.failed for c in callers),
            requests=sum(c.requests for c in callers),
            errors=sum(c.errors for c in callers),
            unreached=sum(c.unreached for c in calls),
            call_errors=sum(c.errors for c in calls),
        )

    def refused(self, namespace: str, name: str) -> dict[str, int]:
        """By caller, so many connections in plain text a group has refused since its agents started."""
        found: dict[str, int] = {}
        for node, caller in self.plain():
            if caller.refused and (node.namespace, node.labels.get(APP)) == (namespace, name):
                found[str(caller.whom)] = found.get(str(caller.whom), 0) + caller.refused
        return found

    def _nodes(self) -> list[Node]:
        return [member.node for member in self._running.fleet.members.values()]

    def _counted(self, group: Group, plain: Mapping[str, Iterable[PlainCaller]]) -> Group:
        """A connection is counted when it begins, but those who call on it do so for as long as it stands."""
        counted = list(self._callers(group))
        callers = sorted((caller for proxy in group.proxies for caller in plain.get(proxy, ())), key=lambda c: c.last, reverse=True)
        times = [*(datetime.fromisoformat(c.last) for c in counted if c.last), *(c.last for c in callers)]
        heard = Heard(connections=sum(c.plain + c.refused for c in counted), last=max(times, default=None), callers=tuple(callers))
        return replace(group, heard=heard, connections=sum(c.mutual for c in counted))

    def _callers(self, group: Group) -> Iterator[Callers]:
        for proxy in group.proxies:
            agent = self._running.agents.known.get(proxy.removeprefix("sidecar~"))
            yield from agent.report.callers if agent else ()

    def _calls(self, group: Group) -> Iterator[Calls]:
        hosts = frozenset(group.hosts)
        reports: Iterable[tuple[Calls, ...]] = (agent.report.calls for agent in self._running.agents.known.values())
        yield from (call for calls in reports for call in calls if names.is_outbound(call.cluster) and _host(call) in hosts)


def _host(call: Calls) -> str:
    return call.cluster.rpartition("|")[2]
