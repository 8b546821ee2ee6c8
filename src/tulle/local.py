"""A whole mesh on this machine: the control plane, a gateway, and the workloads of a mesh file, started and stopped together."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from ssl import SSLContext

from tulle.agent import rundir
from tulle.agent.gateway import GatewayProxy, GatewaySpec
from tulle.agent.sidecar import Sidecar
from tulle.agent.spec import AgentSettings, WorkloadSpec
from tulle.compile import gateway_addresses
from tulle.control import Control
from tulle.credentials import Credentials
from tulle.http_client import SECURE
from tulle.model.resource import Key
from tulle.model.service import Protocol
from tulle.secure import blind_context, context_of
from tulle.settings import Settings
from tulle.store.document import File, Report

APPLIED = "up/applied"
"""Where the store keeps which documents were put into force by the last plan."""
_SCHEMES = {Protocol.HTTPS: "https", Protocol.TLS: "tls", Protocol.UDP: "udp"}
Announce = Callable[[str], None]
"""Takes a line for the person at the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start."""

    settings: Settings
    database: str
    agent: AgentSettings
    gateway: GatewaySpec | None = None
    gateway_concurrency: int = 0
    """Worker threads of the gateway; 0 for one per core."""
    workloads: Sequence[WorkloadSpec] = ()
    files: Sequence[File] = ()
    """Documents to put into force at the start."""


class _Own(Credentials):
    """Of agents beside their control plane."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._known: tuple[int, SSLContext] | None = None

    def headers(self) -> Mapping[str, str]:
        first = self._control.first_token
        return {"authorization": f"Bearer {first.reveal().decode()}"} if first else {}

    def context(self) -> SSLContext | None:
        authority = self._control.authority
        if self._control.settings.api_cert:
            return blind_context()  # it is this very process that is called
        if self._known is None or self._known[0] != authority.generation:
            self._known = (authority.generation, context_of(authority.bundle()))
        return self._known[1]


def _api(settings: Settings) -> str:
    return f"{SECURE if settings.api_is_tls else ''}{settings.api}"


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
            agent = replace(self.plan.agent, xds=socket, api=_api(self.plan.settings), credentials=_Own(self.control))
            self.gateway = (
                GatewayProxy(self.plan.gateway, replace(agent, concurrency=self.plan.gateway_concurrency)) if self.plan.gateway else None
            )
            self.sidecars = tuple(Sidecar(spec, agent) for spec in self.plan.workloads)
            await self._run(stop, hurry)
        return 0

    async def _run(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        control_stop = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.control.run(control_stop))
            await self.control.ready.wait()  # if it fails instead, the group cancels this
            await self._apply()
            units = [unit for unit in (self.gateway, *self.sidecars) if unit]
            running = [tasks.create_task(unit.run(stop, hurry)) for unit in units]
            watching = tasks.create_task(self._until_ready())
            await stop.wait()
            watching.cancel()
            if running:
                await asyncio.wait(running)
            control_stop.set()

    async def _apply(self) -> None:
        """Puts the plan's documents into force, and takes out those of the plan before that this one does not have."""
        self.report = await self.control.documents.apply(self.plan.files)
        for line in self.report.violations + self.report.warnings:
            if not line.resource.startswith("Mesh/"):  # that a mesh file is none of the documents need not be said of the one that runs
                self._announce(str(line))
        keys = [result.key for result in self.report.results]
        before = await self.control.store.get(APPLIED)
        earlier = [Key(kind=kind, namespace=namespace, name=name) for kind, namespace, name in json.loads(before.value if before else "[]")]
        if gone := [key for key in earlier if key not in keys]:
            await self.control.documents.delete(gone)
        now = json.dumps([[key.kind, key.namespace, key.name] for key in keys]).encode()
        if before is None or before.value != now:
            await self.control.store.put(APPLIED, now)

    def served(self) -> Iterator[str]:
        """Where the gateway takes calls, for people."""
        if self.gateway is None:
            return
        node = self.gateway.node
        for server in gateway_addresses(self.control.built.mesh, node):
            if not server.dropped:
                moved = f" (port {server.declared_port}; ports below 1024 need more rights)" if server.port != server.declared_port else ""
                yield f"{_SCHEMES.get(server.protocol, 'http' if server.protocol.is_http else 'tcp')}://{node.ip}:{server.port}{moved}"

    async def _until_ready(self) -> None:
        units: Iterable[Sidecar | GatewayProxy] = (unit for unit in (self.gateway, *self.sidecars) if unit)
        for unit in units:
            await unit.ready.wait()
        await self.control.live.wait_acknowledged(self.control.revision, 5.0)
        await self.control.firewall.settled()
        self.ready.set()
