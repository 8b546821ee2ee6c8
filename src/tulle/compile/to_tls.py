"""Where a gateway sends plain requests for hosts that it serves over TLS only (`httpsRedirect`).

Whoever names no port in the host came by the usual one, and goes to the usual one: what stands in front of the gateway may lead both to
others. Whoever names a port has called the gateway itself, so the redirect names the port on which this serves the host over TLS.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tulle.compile import names
from tulle.compile.served import Served
from tulle.model.resource import Key
from tulle.model.routing import Compare, HeaderMatch, Redirect, Route, RouteMatch, StringMatch, VirtualHost

_PLAIN = HeaderMatch(name="x-forwarded-proto", match=StringMatch(compare=Compare.EXACT, value="https"), invert=True)
_NAMES_PORT = HeaderMatch(name=":authority", match=StringMatch(compare=Compare.REGEX, value=r"(\[.*\]|[^:]*):[0-9]+"))
USUAL = Route(name="https", match=RouteMatch(headers=(_PLAIN,)), action=Redirect(scheme="https"))
"""Takes every plain request of a virtual host."""

Doors = tuple[tuple[Key, int, tuple[str, ...]], ...]
"""Of each server of TLS its Gateway, its port and its hosts."""


def doors(served: Iterable[Served]) -> Doors:
    """The servers of TLS at one proxy."""
    there = (server for server in served if server.protocol.is_tls and not server.dropped)
    return tuple((server.gateway, server.port, tuple(host for _, host in server.hosts)) for server in there)


def port(host: str, plain: Iterable[tuple[Key, int]], secure: Doors) -> int:
    """The port of TLS for a host of plain servers; 0 where there is none, or where the usual ports are served. `plain`: Gateways and ports.

    Where there are several, that of the same Gateway goes first, then the usual one, then the oldest.
    """
    own = {gateway for gateway, _ in plain}
    fitting = [(gateway, at) for gateway, at, hosts in secure if any(names.covers(pattern, host) for pattern in hosts)]
    if not fitting:
        return 0
    _, found = min(fitting, key=lambda one: (one[0] not in own, one[1] != 443))
    return 0 if found == 443 and all(at == 80 for _, at in plain) else found


def redirecting(host: VirtualHost, at: int) -> VirtualHost:
    """Sends plain requests to a port of TLS, or to the usual one for 0."""
    if not at:
        return replace(host, require_tls=True)
    named = Route(name="https-port", match=RouteMatch(headers=(_PLAIN, _NAMES_PORT)), action=Redirect(scheme="https", port=at))
    return replace(host, routes=(named, USUAL, *host.routes))
