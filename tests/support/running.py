"""Tulle's own programs, run as a user runs them, each in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TULLE = str(Path(sys.executable).with_name("tulle"))


FIRST_PORT, LAST_PORT = 10_000, 13_999
"""Apart from those of clients, those that agents give to applications (from 20000), and those that pages of the documentation name."""


def _share() -> range:
    """The ports of this worker: no two look in the same place, nor one for a port that another lets go for a moment."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return range(FIRST_PORT + number, LAST_PORT + 1, workers)


def _in_turn(share: range) -> Iterator[int]:
    """Without end, begun where another run of the tests hardly begins."""
    start = os.getpid() * 97 % len(share)
    return itertools.cycle([*share[start:], *share[:start]])


_PORTS = _in_turn(_share())


def free_port() -> int:
    """A port that nobody listens on; the one that was given longest ago."""
    for port in itertools.islice(_PORTS, len(_share())):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


@dataclass(kw_only=True)
class Place:
    """Where a mesh of a test lives: folder and ports. Several processes may share it, one after the other."""

    folder: Path
    api: int = field(default_factory=free_port)
    xds: int = field(default_factory=free_port)
    gateway: int = field(default_factory=free_port)
    dns: int = field(default_factory=free_port)

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "TULLE_API": f"127.0.0.1:{self.api}",
            "TULLE_XDS": f"127.0.0.1:{self.xds}",
            "TULLE_DNS": f"127.0.0.1:{self.dns}",
            "TULLE_SERVER": f"http://127.0.0.1:{self.api}",
            "TULLE_STATE_DIR": str(self.folder / "state"),
            "XDG_RUNTIME_DIR": "",
        }
        return os.environ | own

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    async def tulle(self, *arguments: str) -> tuple[int, str]:
        """Runs a command to its end: exit code, and all that it printed."""
        process = await asyncio.create_subprocess_exec(
            TULLE, *arguments, env=self.environment, cwd=self.folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    async def get(self, path: str) -> Any:
        """JSON of the API. Raises OSError while nobody listens."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.api)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
        if b" 200 " not in head.splitlines()[0]:
            raise OSError(head.splitlines()[0].decode())
        return json.loads(body)

    async def until(self, path: str, holds: Any, seconds: float = 120) -> Any:
        """The first answer of the API for which `holds` holds."""
        answer: Any = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    with contextlib.suppress(OSError):
                        answer = await self.get(path)
                        if holds(answer):
                            return answer
                    await asyncio.sleep(0.02)
        raise AssertionError(f"{path} did not become as expected in {seconds} s; last: {json.dumps(answer, indent=1)[:4000]}")

    async def status(self, kind: str, name: str, namespace: str = "default") -> dict[str, dict[str, str]]:
        """A document's conditions, by type."""
        found = await self.get(f"/api/v1/resources/{kind}/{namespace}/{name}")
        return {c["type"]: c for c in found["status"]["conditions"]}


@dataclass
class Running:
    """A long-running command. `kill` is the hard end that no program can prepare for."""

    process: asyncio.subprocess.Process
    log: Path

    async def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@asynccontextmanager
async def running(place: Place, *arguments: str, environment: Mapping[str, str] | None = None) -> AsyncIterator[Running]:
    """A command that runs until the block ends, then is asked to end and must do so with 0 or by that signal."""
    log = place.folder / f"{arguments[0]}-{len(list(place.folder.glob('*.log')))}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            TULLE, *arguments, env=environment or place.environment, cwd=place.folder, stdout=output, stderr=output
        )
    try:
        yield Running(process, log)
    except BaseException as error:
        error.add_note(f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}")
        raise
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                async with asyncio.timeout(60):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
                raise
