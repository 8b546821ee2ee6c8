"""Listeners that a Sidecar resource asks for: its `egress` items that have a port, and are to be dialled there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tulle.compile import names, protocols
from tulle.compile import tcp as tcp_routes
from tulle.compile.catalog import Backend
from tulle.compile.routes import Place
from tulle.compile.scope import Scope, egress_of
from tulle.model.proxy import Direction, FilterChain, HttpConnections, Listener, TcpConnections
from tulle.model.resource import Source
from tulle.model.routing import RouteTable, VirtualHost
from tulle.model.service import Protocol
from tulle.resources.networking.sidecar import CaptureMode, Egress

LOOPBACK = "127.0.0.1"
HTTP_PROXY = "HTTP_PROXY"
"""The protocol of a port for requests with whole URLs, and for CONNECT."""
HostsOf = Callable[[list[Backend], int], tuple[VirtualHost, ...]]
"""Virtual hosts for services on one port, or on every one, that for all other hosts included."""
EVERY_PORT = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    listener: Listener
    table: RouteTable | None = None


def opens(item: Egress) -> bool:
    """Whether an item makes a listener: others would need interception, or are for datagrams, which upstreams carry."""
    if item.port is None or protocols.named(item.port.protocol or "") is Protocol.UDP:
        return False
    return item.bind is not None or item.capture_mode is CaptureMode.NONE


def listeners(scope: Scope, hosts_of: HostsOf) -> tuple[Opened, ...]:
    """By address and port, the first item of each."""
    if scope.sidecar is None:
        return ()
    found: dict[str, Opened] = {}
    for index, item in enumerate(scope.sidecar.spec.egress):
        if opens(item):
            opened = _opened(scope, item, scope.sidecar.at(f"spec.egress[{index}]"), hosts_of)
            found.setdefault(opened.listener.name, opened)
    return tuple(found[name] for name in sorted(found))


def _opened(scope: Scope, item: Egress, source: Source, hosts_of: HostsOf) -> Opened:
    number = item.port.number if item.port else 0
    bind = (item.bind or LOOPBACK).removeprefix("unix://")
    unix = bind.startswith(("/", "@"))
    name = bind if unix else names.listener_name(bind, number)
    protocol = protocols.named(item.port.protocol or "") if item.port else None
    backends = list(_offered(scope, item, number))
    table = None
    if (protocol or _spoken(backends, number)).is_http:
        everything = _takes_every_port(item)
        hosts = hosts_of(backends, EVERY_PORT if everything else number)
        table = RouteTable(name=name, virtual_hosts=hosts, ignore_port_in_host=not everything)
        serve: HttpConnections | TcpConnections = HttpConnections(stat_prefix=name, routes=name, forward_proxy=True)
    else:
        serve = _tcp(scope, backends, number)
    chain = FilterChain(name=name, serve=serve, source=source)
    address = {"address": bind, "port": 0 if unix else number}
    listener = Listener(name=name, **address, direction=Direction.OUTBOUND, chains=(chain,), sources=(source,))  # type: ignore[arg-type]
    return Opened(listener=listener, table=table)


def barren(scope: Scope, item: Egress) -> str:
    """Why no service is behind the listener that an item makes; empty where one is, or where it makes none."""
    if item.port is None or not opens(item) or any(_offered(scope, item, item.port.number)):
        return ""
    has = ", ".join(map(str, sorted({p.number for b in _named(scope, item) for p in b.ports}))) or "none"
    return f"no service of these hosts has port {item.port.number} (their ports: {has})"


def _named(scope: Scope, item: Egress) -> Iterator[Backend]:
    shown = egress_of((item,), scope.namespace)
    return shown.among(scope.backends) if shown else iter(())


def _takes_every_port(item: Egress) -> bool:
    """A forward proxy of its own, and a Unix socket without a port, are for services on all their ports."""
    return item.port is not None and ((item.port.protocol or "").upper() == HTTP_PROXY or item.port.number == EVERY_PORT)


def _offered(scope: Scope, item: Egress, number: int) -> Iterator[Backend]:
    """The services that the item names and that have its port."""
    return (b for b in _named(scope, item) if _takes_every_port(item) or any(p.number == number for p in b.ports))


def _spoken(backends: list[Backend], number: int) -> Protocol:
    port = next((p for b in backends for p in b.ports if p.number == number), None)
    return port.protocol if port else Protocol.TCP


def _tcp(scope: Scope, backends: list[Backend], number: int) -> TcpConnections:
    """Connections say nothing of the service that they are for, so the first one gets them."""
    place = Place(scope=scope, port=number, dialled=backends[0].service.virtual if backends else ())
    if not backends:
        return tcp_routes.connections(tcp_routes.NOWHERE, place)
    return tcp_routes.to_service(backends[0], scope.steering(backends[0].key.host), place)[0]
