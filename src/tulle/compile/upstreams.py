"""Services made reachable on addresses of the workload's own."""

from __future__ import annotations

from tulle.compile import names
from tulle.compile import tcp as tcp_routes
from tulle.compile.memo import Memo
from tulle.compile.mesh_hosts import service_routes
from tulle.compile.outbound import Outbound
from tulle.compile.routes import Place
from tulle.compile.sni import told_apart
from tulle.compile.sniffing import with_requests
from tulle.model.proxy import Direction, FilterChain, HttpConnections, Listener, Node, TcpConnections, Upstream
from tulle.model.resource import Source
from tulle.model.routing import RouteTable, VirtualHost
from tulle.model.service import Protocol, port_key


def upstreams(node: Node, found: Outbound, memo: Memo) -> tuple[tuple[Listener, ...], tuple[RouteTable, ...]]:
    """A service that is not known, or not shown to the node, leads nowhere: connections to it are closed."""
    made = [_upstream(u, found, memo, node.id) for u in sorted(_distinct(node), key=lambda u: (u.bind, u.bind_port, u.udp))]
    return tuple(listener for listener, _ in made), tuple(table for _, table in made if table)


def _distinct(node: Node) -> list[Upstream]:
    own = ((p.listen_address, p.listen, p.protocol is Protocol.UDP) for p in node.inbound)
    taken = {(*(node.http_proxy or ("", 0)), False), *own}
    by_place = {(u.bind, u.bind_port, u.udp): u for u in reversed(node.upstreams)}
    return [u for place, u in by_place.items() if place not in taken]


def _upstream(upstream: Upstream, found: Outbound, memo: Memo, owner: str) -> tuple[Listener, RouteTable | None]:
    scope = found.scope
    host = _host(upstream, found)
    backend = found.by_host.get(host)
    steering = scope.steering(host) if backend else None
    made_from = (upstream, backend, scope.tuning(host), *scope.footing(steering))
    name = ("upstream", owner, upstream.bind, upstream.bind_port, upstream.udp, scope.id)
    return memo.get(name, made_from, lambda: _made(upstream, host, found))


def _host(upstream: Upstream, found: Outbound) -> str:
    """The full name of the service meant: people also write `name.namespace`."""
    scope = found.scope
    host = names.resolve(upstream.host, scope.namespace, scope.domain)
    forms = (host, f"{host}.svc.{scope.domain}", f"{host}.{scope.domain}")
    return next((form for form in forms if form in found.by_host), host)


def _made(upstream: Upstream, host: str, found: Outbound) -> tuple[Listener, RouteTable | None]:
    backend = found.by_host.get(host)
    dialled = backend.service.virtual if backend else ()
    place = Place(scope=found.scope, port=upstream.port, udp=upstream.udp, dialled=dialled)
    port = backend.service.port(port_key(upstream.port, udp=upstream.udp)) if backend else None
    if backend is None or port is None:
        return _listener(upstream, tcp_routes.connections(tcp_routes.NOWHERE, place)), None
    steering = found.scope.steering(host)
    serve, source = tcp_routes.to_service(backend, steering, place)
    of_bytes = told_apart(_listener(upstream, serve, source), steering, place)
    if not (port.protocol.is_http or port.protocol is Protocol.AUTO):
        return of_bytes, None
    routes, skipped = service_routes(backend, steering, place)
    name = f"{upstream.bind}_{upstream.bind_port}"
    virtual_host = VirtualHost(name=f"{host}:{port.number}", domains=("*",), routes=routes, skipped=skipped)
    table, requests = RouteTable(name=name, virtual_hosts=(virtual_host,)), HttpConnections(stat_prefix=name, routes=name)
    if port.protocol is Protocol.AUTO:
        if source and not any(route.source for route in routes):
            return of_bytes, None  # a rule for connections is for all of them where none is for requests
        return with_requests(of_bytes, requests), table
    return _listener(upstream, requests), table


def _listener(upstream: Upstream, serve: HttpConnections | TcpConnections, source: Source | None = None) -> Listener:
    return Listener(
        name=names.listener_name(upstream.bind, upstream.bind_port, udp=upstream.udp),
        address=upstream.bind,
        port=upstream.bind_port,
        direction=Direction.OUTBOUND,
        chains=(FilterChain(name=serve.stat_prefix, serve=serve, source=source),),
        sources=(source,) if source else (),
        udp=upstream.udp,
    )
