"""Explanations over a whole mesh, or over what one proxy is to do."""

from __future__ import annotations

from dataclasses import replace

from tulle.compile import Mesh, view
from tulle.compile.explain import connections, patched
from tulle.compile.explain.access import Caller, forwarded_for, remote_address
from tulle.compile.explain.entry import Entry, enter, is_meshed, table
from tulle.compile.explain.outcome import Backends, route
from tulle.compile.explain.request import Request
from tulle.compile.explain.trace import Step, Trace, place
from tulle.model.proxy import FilterChain, HttpConnections, Listener, Node, ProxyView, TcpConnections


def explain(mesh: Mesh, node: Node, request: Request) -> Trace:
    """Where a request goes that enters the mesh at this proxy. Raises UnusableRequestError where no listener takes it."""
    return explain_view(view(mesh, node), node, request)


def explain_view(seen: ProxyView, node: Node, request: Request) -> Trace:
    """The same, from what a proxy is to do."""
    entry = enter(seen, node, request)
    trace = _taken(seen, entry, request)
    steps = (*patched.steps(seen, entry, trace), _entered(entry), *entry.chosen.steps, *trace.steps)
    chain = entry.chosen.chain
    return replace(trace, listener=entry.listener.name, filter_chain=(chain.name or None) if chain else None, steps=steps)


def _taken(seen: ProxyView, entry: Entry, request: Request) -> Trace:
    chain = entry.chosen.chain
    if chain is None:
        return connections.closed("no filter chain takes the connection")
    start = connections.handshake(chain, entry.connection)
    if start.closed:
        return start
    if is_meshed(chain) and not request.principal:
        why = "a certificate of the mesh is wanted here, and the caller is not said to have one"
        return connections.closed(
            why, *start.steps, Step(rule="mutual TLS", matched=False, why=f"{why}: --source NAMESPACE/ACCOUNT names it")
        )
    caller = _caller(entry, chain, request)
    if isinstance(chain.serve, TcpConnections):
        return connections.passed(start, chain.serve, Backends.of(seen), caller, udp=entry.listener.udp)
    routes = table(seen, chain.serve)
    if entry.wire is None:
        return connections.requests_wanted(start, routes.name)
    trace = route(routes, entry.wire, Backends.of(seen), chain.serve, caller)
    return replace(trace, tls=start.tls, steps=(*start.steps, *trace.steps))


def _caller(entry: Entry, chain: FilterChain, request: Request) -> Caller:
    """A certificate counts only where one is asked for."""
    at = entry.connection
    hops = forwarded_for(entry.wire.headers) if entry.wire else ()
    return Caller(
        principal=request.principal if chain.tls and chain.tls.trust else "",
        source=at.source,
        remote=remote_address(at.source, hops, chain.serve) if isinstance(chain.serve, HttpConnections) else at.source,
        destination=at.destination,
        sni=at.sni,
    )


def _entered(entry: Entry) -> Step:
    listener, chain = entry.listener, entry.chosen.chain
    source = (chain.source if chain else None) or next(iter(listener.sources), None)
    return Step(rule=f"listener {listener.name}", source=place(source), matched=True, why=_address_of(listener))


def _address_of(listener: Listener) -> str:
    declared = f", declared as port {listener.declared_port}" if listener.declared_port not in (0, listener.port) else ""
    proxied = "; callers begin with a header of the PROXY protocol" if listener.proxy_protocol else ""
    offered = (
        f"; callers are told that they may come by HTTP/3 to port {listener.http3_port}"
        if listener.http3_port and not listener.quic
        else ""
    )
    place = f"{listener.address}:{listener.port}{'/udp' if listener.udp else ''}{' by QUIC' if listener.quic else ''}"
    return f"the request enters at {place}{declared}{proxied}{offered}"
