"""A gateway: a proxy without a workload, where traffic from outside enters."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from random import Random

from tulle.agent.envoy import Envoy, Options, cores, prepared
from tulle.agent.farewell import end, first
from tulle.agent.guard import Guard
from tulle.agent.ports import may_bind_low, may_send_as_others
from tulle.agent.proxy_start import started_as_said
from tulle.agent.reporter import Reporter
from tulle.agent.spec import AgentSettings
from tulle.model.identity import Labels, Locality
from tulle.model.proxy import Node, Role

DEFAULT_LABELS = Labels({"app": "istio-ingressgateway", "istio": "ingressgateway"})
"""Those that published Gateway documents select."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySpec:
    """One gateway to run on this machine."""

    name: str = "ingressgateway"
    namespace: str = "istio-system"
    labels: Labels = DEFAULT_LABELS
    bind: str = "127.0.0.1"
    service_account: str = "default"
    locality: Locality = Locality()


def gateway_node(spec: GatewaySpec, *, privileged_ports: bool, transparent: bool = False, instance: str = "") -> Node:
    """What the gateway says of itself."""
    return Node(
        id=f"gateway~{spec.name}",
        role=Role.GATEWAY,
        namespace=spec.namespace,
        labels=spec.labels,
        service=spec.name,
        service_account=spec.service_account,
        ip="127.0.0.1" if spec.bind in ("0.0.0.0", "::") else spec.bind,
        locality=spec.locality,
        instance=instance,
        privileged_ports=privileged_ports,
        transparent=transparent,
        bind=spec.bind,
    )


class GatewayProxy:
    """Runs one gateway. `ready` is set once its Envoy serves."""

    def __init__(self, spec: GatewaySpec, settings: AgentSettings) -> None:
        self.spec = spec
        self.settings = settings
        self.ready = asyncio.Event()
        self.node = gateway_node(
            spec, privileged_ports=may_bind_low(spec.bind), transparent=may_send_as_others(), instance=secrets.token_hex(8)
        )
        self.envoy: Envoy | None = None

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> int:
        """Until `stop`; then drains, unless in a hurry. 0. Raises OSError when its directory cannot be had."""
        hurry = hurry or asyncio.Event()
        with ExitStack() as held:
            guard = held.enter_context(Guard())
            wanted = await started_as_said(self._options(), self.node, self.settings)
            config, options = held.enter_context(prepared(self.node, self.settings, wanted))
            envoy = self.envoy = Envoy(options=options, config=config, guard=guard, say=self.say)
            envoy.unit.changed = lambda up: self.ready.set() if up else None
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(envoy.unit.run())
                dice = Random()  # noqa: S311 - spreads reports, guards nothing
                reporter = Reporter.beside(envoy, self.settings, id=self.node.id, address=self.node.ip, dice=dice)
                reporting = tasks.create_task(reporter.run())
                await stop.wait()
                reporting.cancel()
                await first(reporter.leave(), hurry.wait())
                await first(envoy.drain(None, self.settings.drain, may_end_early=True), hurry.wait())
                await end(envoy, running, hurry)
        return 0

    def _options(self) -> Options:
        boot = self.settings.boot()
        return Options(concurrency=self.settings.concurrency or cores(), log_level=self.settings.log_level, boot=boot)

    def say(self, what: str) -> Callable[[str], None]:
        return lambda line: self.settings.sink(self.spec.name, what + line)
