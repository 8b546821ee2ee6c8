"""The names of a control plane, put together: sockets, zone, and the server once there is a question."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from tulle.compile.mesh import Mesh
from tulle.dns.rules import rules_of
from tulle.dns.sockets import DnsListenError, Sockets, listen
from tulle.dns.upstream import Upstream
from tulle.dns.zone import Directory, Gathered, Hosts, Machine, Zone, hosts
from tulle.logs import Log
from tulle.settings import Settings

if TYPE_CHECKING:
    from tulle.dns.server import DnsServer

_log = Log("dns")


class Known(NamedTuple):
    """What names can stand for at a moment."""

    mesh: Mesh
    directory: Directory
    server: Machine
    """The machine that answers."""


class Names:
    """Answers names from what `known` says; `changed` is to be called when it may say something else."""

    def __init__(self, settings: Settings, known: Callable[[], Known], gather: Callable[[Any], Awaitable[Gathered]]) -> None:
        """`gather` asks other datacenters, and prepared queries."""
        self._settings = settings
        self._gather = gather
        self._known = known
        self._server: DnsServer | None = None
        self._hosts: tuple[Mesh, Hosts] | None = None

    def listen(self) -> Sockets | None:
        """None where no names are to be answered, or where nobody asked for the port and it cannot be had.

        Raises DnsListenError when the port that was asked for cannot be had.
        """
        if self._settings.dns is None:
            return None
        try:
            return listen(self._settings.dns)
        except DnsListenError as error:
            if self._settings.dns_required:
                raise
            _log.warning("names are not answered", error=str(error))
            return None

    def changed(self) -> None:
        if self._server:
            self._server.changed()

    async def serve(self, sockets: Sockets) -> None:
        """Until it is cancelled. What it takes to answer is loaded at the first question: most meshes start without any."""
        await _readable(sockets)
        loaded = await asyncio.to_thread(import_module, "tulle.dns.server")
        rules = rules_of(self._settings)
        upstream = Upstream(self._settings.dns_recursors)
        dice = random.Random()  # noqa: S311 - for balance only
        self._server = loaded.server(rules, dice, self.zone, upstream, self._gather)
        await self._server.serve(sockets)

    def zone(self) -> Zone:
        """The zone as it is now. Hosts are gathered anew only when there are others."""
        known = self._known()
        backends = known.mesh.structure.backends
        if self._hosts is None or self._hosts[0].structure.backends is not backends:
            self._hosts = (known.mesh, hosts(known.mesh))
        return Zone(directory=known.directory, hosts=self._hosts[1], mesh=known.mesh, server=known.server)


async def _readable(sockets: Sockets) -> None:
    """Returns when there is something to read."""
    loop = asyncio.get_running_loop()
    come = asyncio.Event()
    both = (sockets.udp, sockets.tcp)
    for one in both:
        loop.add_reader(one, come.set)
    try:
        await come.wait()
    finally:
        for one in both:
            loop.remove_reader(one)
