"""The process that looks at requests, so that what happens to it happens to it alone: `python -m tulle.server.firewall.worker SOCKET`.

On its standard input it is told which Firewalls are in force, a line of JSON each time; on its standard output it tells what it counts and
finds. It ends with its input, and by itself when a look takes so long that only a fault can be the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import grpc.aio

from tulle.model.firewall import Firewall
from tulle.server.firewall.engine import missing
from tulle.server.firewall.service import FirewallService
from tulle.server.firewall.wire import LONGEST_LINE, line, understood

TELLS_EVERY = 0.25
"""Seconds."""
LOOKS_AGAIN = 40
"""Times that it tells until it looks again for the library, where that is missing."""
SIGNS_OF_LIFE = 4
"""Times that it tells until it says at least that it is there."""
STUCK = 10.0
"""Seconds after which a look at one request will not end."""
OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 16 << 20))


class Worker:
    """Serves until its input ends."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._service = FirewallService()
        self._reader, self._writer = reader, writer
        self._firewalls: tuple[Firewall, ...] = ()
        self._missing = ""

    def watch(self) -> None:
        """In a thread of its own, as a look may hold up all else."""
        while self._service.longest() < STUCK:
            time.sleep(1)
        sys.stderr.write("tulle: a look at a request does not end, so the process of the firewalls does\n")
        os._exit(3)

    async def run(self, socket: str) -> None:
        threading.Thread(target=self.watch, name="watch", daemon=True).start()
        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((self._service.handler(),))
        server.add_insecure_port(f"unix:{socket}")
        await server.start()
        self._say({"missing": missing()})
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(self._tell())
            while heard := await self._reader.readline():
                await self._take(understood(json.loads(heard)))
            telling.cancel()
        await server.stop(0.5)

    async def _take(self, firewalls: tuple[Firewall, ...]) -> None:
        """Those whose rules are wrong, or whose engine is not there, are told of."""
        self._firewalls = firewalls
        self._service.know(firewalls)
        broken = {f.name: why for f in firewalls if (why := await self._service.broken(f))}
        self._missing = missing()
        self._say({"broken": broken, "missing": self._missing})

    async def _tell(self) -> None:
        turns = 0
        while True:
            await asyncio.sleep(TELLS_EVERY)
            turns += 1
            # Who does not listen must not fill the memory of who looks.
            if self._writer.transport.get_write_buffer_size() < LONGEST_LINE and (said := self._service.tally.spoken()):
                self._say({"tally": said})
            elif not turns % SIGNS_OF_LIFE:
                self._say({})
            if self._missing and not turns % LOOKS_AGAIN and not missing():
                await self._take(self._firewalls)

    def _say(self, said: dict[str, Any]) -> None:
        self._writer.write(line(said))


async def _main(socket: str) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, sys.stdout)
    await Worker(reader, asyncio.StreamWriter(transport, protocol, None, loop)).run(socket)


if __name__ == "__main__":
    # Nobody else of this machine is to ask: the socket is made with this.
    os.umask(0o077)
    Path(sys.argv[1]).unlink(missing_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_main(sys.argv[1]))
