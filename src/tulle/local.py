"""A whole mesh on this machine: the control plane, a gateway, and the workloads of a mesh file, started and stopped together."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from tulle.agent import rundir
from tulle.agent.gateway import GatewayProxy, GatewaySpec
from tulle.agent.sidecar import Sidecar
from tulle.agent.spec import AgentSettings, WorkloadSpec
from tulle.control import Control
from tulle.settings import Settings
from tulle.store.document import File, Report

Announce = Callable[[str], None]
"""Takes a line for the person at the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start."""

    settings: Settings
    database: str
    agent: AgentSettings
    gateway: GatewaySpec | None = None
    workloads: Sequence[WorkloadSpec] = ()
    files: Sequence[File] = ()
    """Documents to put into force at the start."""


class LocalMesh:
    """Runs a plan. `ready` is set when the gateway and all workloads are; `report` says by then what became of the documents."""

    def __init__(self, plan: Plan, announce: Announce) -> None:
        self.plan = plan
        self.ready = asyncio.Event()
        self.report = Report()
        self.control = Control(plan.settings, plan.database)
        self.gateway: GatewayProxy | None = None
        self.sidecars: tuple[Sidecar, ...] = ()
        self._announce = announce

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> int:
        """Until `stop`: then the workloads leave the mesh, the gateway drains, and the control plane ends last.

        Raises StoreError when the database cannot be used, OSError when an address or a directory cannot be had.
        """
        hurry = hurry or asyncio.Event()
        with ExitStack() as held:
            directory = held.enter_context(rundir.private(rundir.base(self.plan.agent.run_dir, os.environ)))
            socket = str(directory / "xds.sock")
            self.control = Control(self.plan.settings, self.plan.database, xds_socket=socket)
            agent = replace(self.plan.agent, xds=socket, api=str(self.plan.settings.api))
            self.gateway = GatewayProxy(self.plan.gateway, agent) if self.plan.gateway else None
            self.sidecars = tuple(Sidecar(spec, agent) for spec in self.plan.workloads)
            await self._run(stop, hurry)
        return 0

    async def _run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        control_stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.control.run(control_stop))
            await self.control.ready.wait()  # if it fails instead, the group cancels this
            self.report = await self.control.documents.apply(self.plan.files)
            tell = self.report.violations + self.report.warnings
            for line in tell:
                self._announce(str(line))
            units = [unit for unit in (self.gateway, *self.sidecars) if unit]
            running = [tasks.create_task(unit.run(stop, hurry)) for unit in units]
            watching = tasks.create_task(self._until_ready())
            await stop.wait()
            watching.cancel()
            if running:
                await asyncio.wait(running)
            control_stop.set()

    async def _until_ready(self) -> None:
        units: Iterable[Sidecar | GatewayProxy] = (unit for unit in (self.gateway, *self.sidecars) if unit)
        for unit in units:
            await unit.ready.wait()
        await self.control.live.wait_acknowledged(self.control.revision, 5.0)
        self.ready.set()
