"""What holds for all HTTP of the mesh, laid over the layers of a view: the form of paths, and firewalls of routes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from tulle.compile.memo import Memo
from tulle.compile.walls import NO_WALLS, Walls
from tulle.model.proxy import FilterChain, HttpConnections, Layer, Listener, ProxyView
from tulle.model.routing import RouteTable, VirtualHost
from tulle.model.screen import PathLevel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dressing:
    """Equal by identity: the same object while nothing of it changes."""

    level: PathLevel = PathLevel.BASE
    """Of paths, where no Guard says another."""
    walls: Walls = NO_WALLS

    def __bool__(self) -> bool:
        return self.level is not PathLevel.BASE or bool(self.walls.by_route)


PLAIN = Dressing()


def dressed(view: ProxyView, dressing: Dressing, memo: Memo) -> ProxyView:
    """Layers that proxies share stay shared."""
    if not dressing:
        return view
    made = (memo.get(("dressed", id(layer)), (layer, dressing), partial(_layer, layer, dressing)) for layer in view.layers)
    return replace(view, layers=tuple(made))


def _layer(layer: Layer, dressing: Dressing) -> Layer:
    listeners = tuple(_listener(x, dressing) for x in layer.listeners)
    tables = tuple(_table(x, dressing.walls) for x in layer.route_tables)
    if listeners == layer.listeners and all(a is b for a, b in zip(tables, layer.route_tables, strict=True)):
        return layer
    return replace(layer, listeners=listeners, route_tables=tables)


def _listener(listener: Listener, dressing: Dressing) -> Listener:
    return replace(listener, chains=tuple(_chain(chain, dressing) for chain in listener.chains))


def _chain(chain: FilterChain, dressing: Dressing) -> FilterChain:
    serve = chain.serve
    if not isinstance(serve, HttpConnections):
        return chain
    screen = replace(serve.screen, path=serve.screen.path or dressing.level, by_route=bool(dressing.walls.by_route))
    routes = serve.routes if isinstance(serve.routes, str) else _table(serve.routes, dressing.walls)
    return replace(chain, serve=replace(serve, screen=screen, routes=routes))


def _table(table: RouteTable, walls: Walls) -> RouteTable:
    hosts = tuple(_host(host, walls) for host in table.virtual_hosts)
    return table if all(a is b for a, b in zip(hosts, table.virtual_hosts, strict=True)) else replace(table, virtual_hosts=hosts)


def _host(host: VirtualHost, walls: Walls) -> VirtualHost:
    """The same one where none of its routes is meant."""
    found = [walls.at(route) for route in host.routes] if walls.by_route else []
    if not any(found):
        return host
    routes = tuple(replace(r, firewalls=firewalls) if firewalls else r for r, firewalls in zip(host.routes, found, strict=True))
    return replace(host, routes=routes)
