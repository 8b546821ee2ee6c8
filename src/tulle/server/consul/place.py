"""Where this agent stands, and what it may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tulle.server.consul.wan import NO_WAN, Wan


async def nothing() -> None:
    """There is nothing to be read anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    datacenter: str
    leader: str
    """`address:port`, as clients are told who leads."""
    server_port: int = 8300
    scripts: bool = False
    """Whether checks registered over the API may run programs here."""
    acl: str = "allow"
    """What requests may do that no rule speaks of: `allow` or `deny`; `off` where access is not controlled."""

    remote: bool = False
    """Whether other machines reach this API."""
    wan: Wan = NO_WAN
    """The other datacenters."""
    reload: Callable[[], Awaitable[object]] = nothing
    """Reads this agent's definition files anew."""
