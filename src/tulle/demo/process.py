"""The mesh that the tour walks through: `tulle up` as a process of its own, exactly as a user starts it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from tulle.agent.farewell import first
from tulle.agent.guard import Guard
from tulle.demo import bookshop
from tulle.demo.api import Api, RefusedError
from tulle.demo.ports import Ports

START = 180.0
"""Seconds until every proxy must be there."""
END = 30.0
"""Seconds that everything gets to end by itself."""
LONGEST_PLACE = 40
TAIL = 40
"""Lines of output shown when the mesh does not start."""


class MeshError(Exception):
    """The mesh did not start, or ended by itself. The message says what is known."""


class Mesh:
    """The running mesh."""

    def __init__(self, *, folder: Path, ports: Ports, process: asyncio.subprocess.Process) -> None:
        self.folder = folder
        self.ports = ports
        self.api = Api(f"http://127.0.0.1:{ports.api}")
        self.process = process

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.ports.gateway}"

    async def until_ready(self, instances: int, progress: Callable[[str, int], None]) -> None:
        """Returns when all instances serve and all proxies know; `progress` hears what is awaited and how many serve. Raises MeshError."""
        try:
            async with asyncio.timeout(START):
                while (awaited := await self._awaited(instances)) is not None:
                    self._check()
                    progress(*awaited)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise MeshError(f"the mesh was not ready after {START:g} s; the end of its output:\n{self.tail()}") from None

    async def _awaited(self, instances: int) -> tuple[str, int] | None:
        """What is not there yet, with the number of instances that are; None when nothing is missing."""
        if why := await self.api.ready():
            return why, 0
        try:
            endpoints, proxies = await self.api.endpoints(), await self.api.proxies()
        except RefusedError as error:
            return str(error), 0
        there = sum(endpoint["health"] == "passing" for endpoint in endpoints)
        if there < instances:
            return "starting programs and proxies", there
        if len(proxies) <= instances or not all(proxy["current"] for proxy in proxies):
            return "telling the proxies", there
        return None

    async def until_ended(self) -> None:
        """Raises MeshError when the mesh ends though nobody asked it to."""
        await self.process.wait()
        self._check()

    def _check(self) -> None:
        if self.process.returncode is not None:
            raise MeshError(f"the mesh ended by itself with status {self.process.returncode}; the end of its output:\n{self.tail()}")

    def tail(self) -> str:
        """The last lines that the mesh wrote."""
        return "\n".join((self.folder / "up.log").read_text(errors="replace").splitlines()[-TAIL:])


@asynccontextmanager
async def running_mesh(ports: Ports, hurry: asyncio.Event) -> AsyncIterator[Mesh]:
    """Starts `tulle up` on the demo's mesh file in a directory of its own; ends it, and removes the directory, on leaving.

    Once `hurry` is set, it ends without patience.
    """
    with tempfile.TemporaryDirectory(prefix="tulle-demo-", dir=_short()) as name, Guard() as guard:
        folder = Path(name)
        bookshop.save(folder, ports)
        with (folder / "up.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tulle.cli.main", "up", str(folder / bookshop.MESH)),
                env=_environment(folder, ports),
                cwd=folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        guard.add(process.pid)
        mesh = Mesh(folder=folder, ports=ports, process=process)
        try:
            yield mesh
        finally:
            mesh.api.close()
            await _end(process, hurry)
            guard.remove(process.pid)


def _short() -> str | None:
    """Where temporary directories go, unless that is too deep for the Unix sockets in there (their paths end at 107 bytes)."""
    return "/tmp" if len(tempfile.gettempdir()) > LONGEST_PLACE else None  # noqa: S108 - the directory is made with a name of its own


def _environment(folder: Path, ports: Ports) -> dict[str, str]:
    """Nothing that the user set for another mesh, and `python` is the one that runs this."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TULLE_")}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "TULLE_API": f"127.0.0.1:{ports.api}",
        "TULLE_XDS": f"127.0.0.1:{ports.xds}",
        "TULLE_STATE_DIR": str(folder / "state"),
        "TULLE_RUN_DIR": str(folder / "run"),
    }


async def _end(process: asyncio.subprocess.Process, hurry: asyncio.Event) -> None:
    """Ctrl-C, and a second one for who is in a hurry; who does not end by that is ended."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(END):
            await first(process.wait(), hurry.wait())
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
