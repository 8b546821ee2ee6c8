"""One workload in the mesh: its proxy, its program, its place in the registry, from the first to the last moment.

Start: the ports, the proxy, then the application, then the registration, which passes as soon as the application takes connections and the
proxy listens. The application's or the proxy's end makes it critical at once; both are started again.

End, so that no request is lost: out of the registry, and wait until the other proxies know; the proxy tells callers that are still
connected to go elsewhere; the application is asked to end while its own calls still have a proxy; the proxy goes last.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from tulle.agent.elsewhere import Elsewhere, until_accepting
from tulle.agent.envoy import Envoy, Options, prepared
from tulle.agent.farewell import end, first
from tulle.agent.guard import Guard
from tulle.agent.jwt_file import JwtFile
from tulle.agent.ports import Ports, is_local
from tulle.agent.process import Program, Unit, launch
from tulle.agent.proxy_start import started_as_said
from tulle.agent.registry_client import Registrar
from tulle.agent.reporter import Reporter
from tulle.agent.spec import AgentSettings, WorkloadPort, WorkloadSpec
from tulle.agent.supervise import Policy
from tulle.model.proxy import InboundPort, Node, Role
from tulle.model.service import Health, Protocol, RegisteredPort, Registration

HTTP_PROXY_PORT = 15001
_OWN = ("TOKEN", "TOKEN_FILE", "JOIN_TOKEN", "JOIN_TOKEN_FILE", "JOIN_CERT", "JOIN_KEY", "CERT_FILE", "KEY_FILE", "RATE_LIMIT_STORE")
OWN = frozenset(f"TULLE_{name}" for name in _OWN)
"""Variables that are for the agent, or a control plane beside it, alone: the application is not told."""
LOOPBACK = "127.0.0.1"
SILENT = 3.0
"""Seconds without being ready after which an instance appears in the registry as critical, and its user is told what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A workload with all its ports settled."""

    spec: WorkloadSpec
    ports: tuple[WorkloadPort, ...]
    """Each with a target."""
    node: Node
    jwt_file: str = ""
    """Where the application finds a token with its identity; empty where it wants none."""

    @property
    def registration(self) -> Registration:
        ports = (
            RegisteredPort(number=port.number, target=inbound.listen, name=port.name, protocol=port.protocol)
            for port, inbound in zip(self.ports, self.node.inbound, strict=True)
        )
        return self.spec.registration(tuple(ports), self.node.id)

    @property
    def listening(self) -> frozenset[int]:
        """The ports on which callers reach the proxy."""
        return frozenset(port.listen for port in self.node.inbound)

    @property
    def program(self) -> Program:
        """The application, told of its port and of its proxy."""
        return Program(
            args=tuple(self._filled(word) for word in self.spec.command),
            env=self._environment(os.environ),
            directory=self.spec.directory,
        )

    def _filled(self, word: str) -> str:
        return word.replace("{port}", str(self.ports[0].target)) if self.ports else word

    def _environment(self, around: Mapping[str, str]) -> dict[str, str]:
        local = "localhost,127.0.0.1,::1"
        names = {
            # Or their lines would come late, in blocks: what they write to is a pipe.
            "PYTHONUNBUFFERED": around.get("PYTHONUNBUFFERED", "1"),
            "TULLE_SERVICE": self.spec.service,
            "TULLE_NAMESPACE": self.spec.namespace,
            "TULLE_VERSION": self.spec.version,
            "TULLE_INSTANCE": self.spec.id,
        }
        if self.ports:
            names["PORT"] = str(self.ports[0].target)
        if self.jwt_file:
            names["TULLE_JWT_FILE"] = self.jwt_file
        if self.node.http_proxy:
            proxy = "http://{}:{}".format(*self.node.http_proxy)
            names |= {"http_proxy": proxy, "HTTP_PROXY": proxy, "no_proxy": local, "NO_PROXY": local}
        around = {name: value for name, value in around.items() if name not in OWN}
        return {**around, **names, **{name: self._filled(value) for name, value in self.spec.environment.items()}}


def plan(spec: WorkloadSpec, ports: Ports, dice: Random) -> Plan:
    """Settles the ports of a workload; those of its proxy are held in `ports`. Raises OSError when one cannot be had."""
    bind = spec.address if is_local(spec.address) else "0.0.0.0"
    chosen = tuple(replace(port, target=port.target or ports.hold_for_application(LOOPBACK, dice, udp=port.is_udp)) for port in spec.ports)
    inbound = tuple(
        InboundPort(
            service_port=port.number,
            listen=ports.hold(bind, udp=port.is_udp),
            target=port.target,
            protocol=port.protocol,
            listen_address=bind,
        )
        for port in chosen
    )
    for upstream in spec.upstreams:
        ports.hold(upstream.bind, upstream.bind_port, udp=upstream.udp)
    node = Node(
        id=f"sidecar~{spec.id}",
        role=Role.SIDECAR,
        namespace=spec.namespace,
        labels=spec.all_labels,
        service=spec.service,
        service_account=spec.service_account,
        ip=spec.address,
        locality=spec.locality,
        inbound=inbound,
        instance=f"{dice.getrandbits(64):016x}",
        http_proxy=(LOOPBACK, ports.hold_preferred(LOOPBACK, HTTP_PROXY_PORT)),
        upstreams=spec.upstreams,
    )
    return Plan(spec=spec, ports=chosen, node=node)


class Sidecar:
    """Runs one workload with its proxy. `ready` is set once the registry has it as passing; without a service, once it is up."""

    def __init__(self, spec: WorkloadSpec, settings: AgentSettings) -> None:
        self.spec = spec
        self.settings = settings
        self.ready = asyncio.Event()
        self.plan: Plan | None = None
        """Once `run` has settled the ports."""
        self.envoy: Envoy | None = None
        self._dice = Random()  # noqa: S311 - spreads ports and delays, guards nothing

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> int:
        """Until `stop`: 0. Or until the application ends and is not to be started again: its exit code, negative for a signal.

        `hurry` cuts the farewell short. Cancelled, it ends all programs at once. Raises OSError when a port or a directory cannot be had.
        """
        with ExitStack() as held:
            chosen = self.plan = plan(self.spec, held.enter_context(Ports()), self._dice)
            guard = held.enter_context(Guard())
            wanted = await started_as_said(self._options(chosen), chosen.node, self.settings)
            config, options = held.enter_context(prepared(chosen.node, self.settings, wanted))
            chosen = self.plan = self._with_jwt_file(chosen, config.parent)
            self.envoy = Envoy(options=options, config=config, guard=guard, say=self.say)
            return await _Life(self, chosen, self.envoy, guard).run(stop, hurry or asyncio.Event())

    def _with_jwt_file(self, chosen: Plan, private: Path) -> Plan:
        wish = self.spec.jwt
        return replace(chosen, jwt_file=str(Path(wish.path or private / "jwt").absolute())) if wish else chosen

    def _options(self, chosen: Plan) -> Options:
        return Options(
            concurrency=self.settings.concurrency or 1,
            log_level=self.settings.log_level,
            boot=self.settings.boot(),
            ports=chosen.listening,
        )

    def say(self, what: str = "") -> Callable[[str], None]:
        return lambda line: self.settings.sink(self.spec.name, what + line)

    def application(self, chosen: Plan, guard: Guard) -> Unit | Elsewhere:
        # Whether an application receives datagrams, nobody can tell from outside.
        targets = tuple((LOOPBACK, port.target) for port in chosen.ports if not port.is_udp)
        if not self.spec.command:
            return Elsewhere(targets)
        return Unit(
            start=lambda: launch(chosen.program, guard, self.say()),
            policy=Policy(restart=self.spec.restart, first_delay=self.spec.first_delay),
            grace=self.settings.grace,
            report=self.say("[tulle] "),
            probe=lambda: until_accepting(targets),
            dice=self._dice,
        )

    def reporter(self, envoy: Envoy) -> Reporter:
        inbound = {p.listen: p.service_port for p in self.plan.node.inbound if p.protocol is not Protocol.UDP} if self.plan else {}
        return Reporter.beside(envoy, self.settings, id=self.spec.id, address=self.spec.address, dice=self._dice, inbound=inbound)

    def jwt_file(self, chosen: Plan) -> JwtFile | None:
        if not self.spec.jwt:
            return None
        return JwtFile(
            path=Path(chosen.jwt_file),
            audiences=self.spec.jwt.audiences,
            api=self.settings.api,
            workload=f"{self.spec.namespace}/{self.spec.service_account}",
            report=self.say("[tulle] "),
            credentials=self.settings.credentials,
            dice=self._dice,
        )

    def registrar(self) -> Registrar | None:
        if not self.spec.service:
            return None
        at = self.settings
        return Registrar(
            api=at.api,
            id=self.spec.id,
            ttl=at.ttl,
            renew=at.renew,
            report=self.say("[tulle] "),
            credentials=at.credentials,
            dice=self._dice,
        )


class _Life:
    """What happens between the first and the last moment of a sidecar whose ports and files are there."""

    def __init__(self, sidecar: Sidecar, chosen: Plan, envoy: Envoy, guard: Guard) -> None:
        self.settings = sidecar.settings
        self.plan = chosen
        self.envoy = envoy
        self.ready = sidecar.ready
        self.report = sidecar.say("[tulle] ")
        self.app = sidecar.application(chosen, guard)
        self.registrar = sidecar.registrar()
        self.reporter = sidecar.reporter(envoy)
        self.jwt_file = sidecar.jwt_file(chosen)
        self.proxy_up = asyncio.Event()
        self.announced = False
        self.app.changed = self.changed
        envoy.unit.changed = self.changed

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event) -> int:
        async with asyncio.TaskGroup() as tasks:
            proxy = tasks.create_task(self.envoy.unit.run())
            app = tasks.create_task(self.work(stop))
            telling = [tasks.create_task(part) for part in self.telling()]
            await first(stop.wait(), asyncio.wait([app]))
            ended = app.done()
            await first(self.leave(ended=ended), hurry.wait())
            for task in telling:
                task.cancel()
            await first(self.reporter.leave(), hurry.wait())
            code = await end(self.app, app, hurry)
            await end(self.envoy, proxy, hurry)
            return code if ended else 0

    def telling(self) -> tuple[Coroutine[Any, Any, None], ...]:
        registrar = self.registrar
        tokens = (self.jwt_file.run(),) if self.jwt_file else ()
        registering = (registrar.run(), self.until_passing(registrar)) if registrar else ()
        return (self.watch_silence(), self.reporter.run(), *tokens, *registering)

    async def work(self, stop: asyncio.Event) -> int:
        # An application that calls others as soon as it starts needs its proxy for that, and perhaps a token.
        await first(self.callable(), stop.wait(), asyncio.sleep(self.settings.hold))
        return await self.app.run()

    async def callable(self) -> None:
        await self.proxy_up.wait()
        if self.jwt_file:
            await self.jwt_file.there.wait()

    def changed(self, _up: bool) -> None:
        if self.envoy.unit.up:
            self.proxy_up.set()
        up = self.app.up and self.envoy.unit.up
        if up and not self.registrar:
            self.ready.set()
        if up or self.announced:
            self.announce(Health.PASSING if up else Health.CRITICAL)

    def announce(self, health: Health) -> None:
        self.announced = True
        if self.registrar:
            self.registrar.announce(replace(self.plan.registration, health=health, node=self.settings.node))

    async def until_passing(self, registrar: Registrar) -> None:
        await registrar.until(lambda taken: taken.health is Health.PASSING)
        self.ready.set()

    async def watch_silence(self) -> None:
        await asyncio.sleep(SILENT)
        if not self.announced:
            self.announce(Health.CRITICAL)
            self.report(f"not ready yet: {self.missing()}")

    def missing(self) -> str:
        if not self.envoy.unit.up:
            return f"its proxy waits for a configuration from the control plane at {self.settings.xds}"
        wanted = ", ".join(f"{LOOPBACK}:{port.target}" for port in self.plan.ports if not port.is_udp)
        told = " (told to it as PORT and {port}; if it listens elsewhere, give the port as SERVICE:APPLICATION)"
        return f"the application does not take connections on {wanted}" + (told if self.plan.spec.command else "")

    async def leave(self, *, ended: bool) -> None:
        left = await self.registrar.leave(self.settings.leave) if self.registrar else True
        if not ended:
            await self.envoy.drain(self.plan.listening, self.settings.drain, may_end_early=left)
