"""A machine with definition files: it reports that it lives, keeps what the files define in the catalog, and checks it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from tulle.agent.definitions import RemoteCatalog
from tulle.agent.farewell import first
from tulle.agent.reporter import Reporter
from tulle.credentials import NOBODY, Credentials
from tulle.server.consul.defining import Definitions


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """`ready` is set once the files were read."""

    api: str
    node: str
    address: str
    directory: Path
    scripts: bool
    ready: asyncio.Event
    credentials: Credentials = NOBODY

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event | None = None) -> int:
        """Until `stop`; then what the files define is taken out. 0. Raises NotADirectoryError."""
        hurry = hurry or asyncio.Event()
        catalog = RemoteCatalog(
            api=self.api, trusted=self.credentials, node=self.node, address=self.address, clock=time.monotonic, scripts=self.scripts
        )
        definitions = Definitions(self.directory, catalog, self.node, scripts=self.scripts)
        reporter = Reporter(api=self.api, id=f"agent~{self.node}", node=self.node, address=self.address, credentials=self.credentials)
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(reporter.run())
            await first(reporter.heard.wait(), stop.wait())
            await definitions.reload()
            running = [reporting, tasks.create_task(definitions.run()), tasks.create_task(catalog.run())]
            self.ready.set()
            await stop.wait()
            for task in running:
                task.cancel()
        await first(self._leave(catalog, reporter), hurry.wait())
        return 0

    async def _leave(self, catalog: RemoteCatalog, reporter: Reporter) -> None:
        await catalog.clear()
        await reporter.leave()
