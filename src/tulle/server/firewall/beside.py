"""The process that looks at requests, as the control plane sees it: started for the first Firewall, started again when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from tulle.logs import Log
from tulle.model.firewall import SOCKET, Firewall
from tulle.server.firewall.findings import Finding, Tally
from tulle.server.firewall.wire import LONGEST_LINE, SERVICE, spoken

STARTS_WITHIN = 10.0
"""Seconds for which a mesh that starts waits for the process."""
SILENCE = 20.0
"""Seconds for which the process may say nothing, not even that it is there."""
AGAIN = (0.1, 5.0)
"""Seconds before it is started again: at first, and at most."""
MOST = 256
"""Requests of proxies on other machines, whose questions this process only passes on."""

_OPTIONS = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000))

_log = Log("firewall")


class Beside:
    """`tally`: what it did and found since the control plane's start. `starts`: how often it was started."""

    def __init__(self, socket: str, changed: Callable[[str, Mapping[str, str]], None]) -> None:
        """`socket`: the path on which the process serves.

        `changed` is told why no Firewall can be in force, empty where they can, and why some cannot, by name.
        """
        self.tally = Tally()
        self.starts = 0
        self.running = False
        self.heard = 0
        """Lines that the process has said."""
        self._socket = socket
        self._changed = changed
        self._wanted = asyncio.Event()
        self._ready = asyncio.Event()
        self._firewalls: tuple[Firewall, ...] = ()
        self._process: asyncio.subprocess.Process | None = None
        self._channel: grpc.aio.Channel | None = None
        self._bound = asyncio.Semaphore(MOST)

    @property
    def pid(self) -> int:
        """Of the process; 0 where there is none."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Begins, if it has not begun: there is a Firewall."""
        self._wanted.set()

    async def settled(self) -> None:
        """Returns when requests are looked at, if they are to be; at the latest after a while."""
        if self._wanted.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STARTS_WITHIN):
                    await self._ready.wait()

    def know(self, firewalls: tuple[Firewall, ...]) -> None:
        """Those that are in force from now on."""
        if firewalls == self._firewalls:
            return
        self._firewalls = firewalls
        if firewalls:
            self.start()
        self._speak()

    def _speak(self) -> None:
        if self._process and self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.write(spoken(self._firewalls))

    async def run(self) -> None:
        """Until it is cancelled. Whatever becomes of the process, who started it goes on."""
        await self._wanted.wait()
        pause = AGAIN[0]
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                why = f"exit code {await self._once()}"
            except TimeoutError:
                why = "it says nothing any more"
            except Exception as error:  # noqa: BLE001 - the pump: a process of another version may say anything
                why = f"{type(error).__name__}: {error}"
            long = asyncio.get_running_loop().time() - begun > AGAIN[1]
            pause = AGAIN[0] if long else min(2 * pause, AGAIN[1])
            _log.warning("the process of the firewalls has ended; it is started again", why=why, seconds=pause)
            await asyncio.sleep(pause)

    async def _once(self) -> int:
        # -P: whatever lies in the folder from which all this was started is no part of it.
        command = (sys.executable, "-P", "-m", "tulle.server.firewall.worker", self._socket)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=LONGEST_LINE, start_new_session=True)
        self._process, self.starts = process, self.starts + 1
        try:
            if self._firewalls:
                self._speak()
            await self._listen(process)
            return await process.wait()
        finally:
            self.running = False
            self._process = None
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        while heard := await self._heard(process):
            self.heard += 1
            said = json.loads(heard)
            if "missing" in said:
                self.running = True
                self._ready.set()
                self._changed(said["missing"], said.get("broken", {}))
            if "tally" in said:
                before = self.tally.untold
                for found in self.tally.add(said["tally"]):
                    tell(found)
                if self.tally.untold > before:
                    _log.warning("firewall", untold=self.tally.untold - before)

    async def _heard(self, process: asyncio.subprocess.Process) -> bytes:
        """A line, or nothing at the end. Raises TimeoutError when the process has nothing to say for too long."""
        async with asyncio.timeout(SILENCE):
            return await process.stdout.readline() if process.stdout else b""

    def handler(self) -> grpc.GenericRpcHandler:
        """For proxies on other machines: passes their questions on, as they are."""
        return grpc.method_handlers_generic_handler(SERVICE, {"Process": grpc.stream_stream_rpc_method_handler(self._pass_on)})

    async def _pass_on(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        if self._bound.locked():
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests at once")
        async with self._bound:
            self._channel = self._channel or grpc.aio.insecure_channel(f"unix:{self._socket}", options=_OPTIONS)
            call = self._channel.stream_stream(f"/{SERVICE}/Process")(messages, metadata=context.invocation_metadata())
            try:
                async for answer in call:
                    yield answer
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details() or "")

    async def close(self) -> None:
        if self._channel:
            await self._channel.close()


@asynccontextmanager
async def beside(xds_socket: str, changed: Callable[[str, Mapping[str, str]], None]) -> AsyncIterator[Beside]:
    """Ready to be started while the block runs. Without a socket for proxies of this machine, it has a directory of its own."""
    with ExitStack() as held:
        if not xds_socket:
            xds_socket = held.enter_context(tempfile.TemporaryDirectory(prefix="tulle-")) + "/xds"
        made = Beside(xds_socket + SOCKET, changed)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(made.run())
            yield made
            running.cancel()
        await made.close()


def tell(found: Finding) -> None:
    """The line of the audit. The log quotes what callers sent, so that it cannot look like another line or field."""
    _log.warning(
        "firewall",
        firewall=found.firewall,
        outcome=found.outcome,
        rules=found.rules,
        classes=found.classes,
        severity=found.severity,
        score=found.score,
        status=found.status,
        method=found.method,
        host=found.host,
        path=found.path,
        client=found.client,
        request=found.request_id,
    )
