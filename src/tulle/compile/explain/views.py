"""Explanations over a whole mesh, or over what one proxy is to do."""

from __future__ import annotations

from dataclasses import replace

from tulle.compile import Mesh, view
from tulle.compile.explain.entry import Entry, enter, table
from tulle.compile.explain.outcome import Backends, route, to_cluster
from tulle.compile.explain.request import Request
from tulle.compile.explain.trace import Share, Step, Trace, place
from tulle.model.proxy import Listener, Node, ProxyView, TcpConnections


def explain(mesh: Mesh, node: Node, request: Request) -> Trace:
    """Where a request goes that enters the mesh at this proxy. Raises UnusableRequestError where no listener takes it."""
    return explain_view(view(mesh, node), node, request)


def explain_view(seen: ProxyView, node: Node, request: Request) -> Trace:
    """The same, from what a proxy is to do."""
    entry = enter(seen, node, request)
    backends = Backends.of(seen)
    serve = entry.chain.serve
    trace = _connection(serve, backends) if isinstance(serve, TcpConnections) else route(table(seen, serve), entry.wire, backends)
    return replace(trace, listener=entry.listener.name, filter_chain=entry.chain.name or None, steps=(_entered(entry), *trace.steps))


def _entered(entry: Entry) -> Step:
    listener, chain = entry.listener, entry.chain
    source = chain.source or next(iter(listener.sources), None)
    return Step(rule=f"listener {listener.name}", source=place(source), matched=True, why=_address_of(listener))


def _address_of(listener: Listener) -> str:
    declared = f", declared as port {listener.declared_port}" if listener.declared_port not in (0, listener.port) else ""
    return f"the request enters at {listener.address}:{listener.port}{declared}"


def _connection(serve: TcpConnections, backends: Backends) -> Trace:
    """Whole connections are passed on; what is inside is not looked at."""
    step = Step(rule="TCP", matched=True, why="the listener passes whole connections on and does not look at requests")
    trace = Trace(steps=(step,))
    if len(serve.clusters) == 1:
        return to_cluster(trace, serve.clusters[0].cluster, backends)
    targets = backends.targets
    shares = (Share(name=c.cluster, weight=c.weight, endpoints=targets.get(c.cluster, ())) for c in serve.clusters)
    return replace(trace, weighted_clusters=tuple(shares))
