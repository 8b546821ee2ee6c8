"""This agent's checks, as the registry holds them: run by the runner, their results told to the registry."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tulle.model.service import Health
from tulle.registry import checks, transitions
from tulle.registry.catalog import Check
from tulle.registry.checks import Result
from tulle.registry.registry import Registry
from tulle.registry.runner import Runner
from tulle.registry.transitions import Refused

GATHERING = 0.02
"""Seconds in which changes of checks gather before they are looked through."""


class Checking:
    """`run` lasts until it is cancelled; the registry must be ready."""

    def __init__(self, registry: Registry, *, scripts: bool, defined_scripts: bool = False) -> None:
        self._registry = registry
        self._runner = Runner(self, registry.clock, scripts=scripts, defined_scripts=defined_scripts)

    async def run(self) -> None:
        registry = self._registry
        registry.heard.append(self._runner.heard)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._runner.run(), name="checks")
                while True:
                    changed = registry.waiting.wait([("checks",)])
                    node = registry.node.name
                    self._runner.sync(kept.value for kept in registry.tables.checks.values() if kept.value.node == node)
                    await changed
                    await asyncio.sleep(GATHERING)
        finally:
            registry.heard.remove(self._runner.heard)

    async def told(self, check: Check, status: Health, output: str) -> None:
        with suppress(Refused):  # it was taken out meanwhile
            await self._registry.update(check.id, status, output, self._registry.clock(), check.node)

    async def take_out(self, check: Check) -> None:
        await self._registry.change(lambda tables: transitions.leave_service(tables, (check.node, check.service_id)))

    def alias(self, check: Check) -> Result:
        tables, probe = self._registry.tables, check.probe
        node = probe.alias_node or check.node
        if probe.alias_service:
            key = (node, probe.alias_service)
            found, known = tables.health_checks(key), key in tables.services
        else:
            found, known = tables.node_checks(node), node in tables.nodes
        return checks.of_alias((kept.value for kept in found if kept.value.key != check.key), known=known)
