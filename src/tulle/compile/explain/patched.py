"""EnvoyFilters on the way of a request: what they change is told, but what follows from it cannot be."""

from __future__ import annotations

from collections.abc import Iterator

from tulle.compile.explain.entry import Entry
from tulle.compile.explain.trace import Step, Trace, place, rule
from tulle.model import patch_names
from tulle.model.patches import Patch, PatchSet
from tulle.model.proxy import Direction, HttpConnections, ProxyView
from tulle.model.routing import DirectResponse, Redirect, Route, RouteTable

_ELSEWHERE = "it changes what this proxy does in Envoy's own words, but nothing that this request meets"
_HTTP_MANAGER = "http_connection_manager"
_LISTENING = frozenset({"LISTENER", "LISTENER_FILTER", "FILTER_CHAIN", "NETWORK_FILTER", "HTTP_FILTER", "EXTENSION_CONFIG"})
_WAYS = {Redirect: "REDIRECT", DirectResponse: "DIRECT_RESPONSE"}
_DONE = {"ADD": "adds to", "REMOVE": "removes from or takes away", "REPLACE": "replaces a part of"}


def steps(seen: ProxyView, entry: Entry, trace: Trace) -> tuple[Step, ...]:
    """A step for each change that holds for the proxy."""
    if seen.patches is None:
        return ()
    by = seen.patches
    return tuple(_step(patch, next(_met(patch, by, seen, entry, trace), "")) for patch in by.patches)


def _step(patch: Patch, what: str) -> Step:
    """`what` the request meets on its way that is changed; empty where nothing is."""
    does = _DONE.get(patch.operation, "inserts into" if patch.operation.startswith("INSERT") else "changes")
    why = f"it {does} the {what} in Envoy's own words: what follows from that is not part of this explanation" if what else _ELSEWHERE
    return Step(rule=str(patch.source), source=place(patch.source), matched=bool(what), why=why)


def _met(patch: Patch, by: PatchSet, seen: ProxyView, entry: Entry, trace: Trace) -> Iterator[str]:
    if patch.apply_to in _LISTENING:
        yield from _listening(patch, by.gateway, entry)
    elif patch.apply_to == "CLUSTER" and patch.operation != "ADD":
        names = (trace.cluster, *(share.name for share in trace.weighted_clusters))
        yield from (f"cluster {name}" for name in names if name and _is_cluster(patch, name, by))
    elif trace.route_config and patch_names.in_context(patch, _context(by.gateway, entry)):
        yield from _routing(patch, seen, entry, trace)


def _context(gateway: bool, entry: Entry) -> str:
    if gateway:
        return "GATEWAY"
    return "SIDECAR_INBOUND" if entry.listener.direction is Direction.INBOUND else "SIDECAR_OUTBOUND"


def _is_cluster(patch: Patch, name: str, by: PatchSet) -> bool:
    context = patch_names.context_of(name, gateway=by.gateway)
    return patch_names.in_context(patch, context) and patch_names.matches_cluster(patch.match, name, by.services)


def _listening(patch: Patch, gateway: bool, entry: Entry) -> Iterator[str]:
    listener, chain, match, context = entry.listener, entry.chosen.chain, patch.match, _context(gateway, entry)
    ports = {listener.port, listener.declared_port}.union(*(patch_names.ports_of(c.name) for c in listener.chains))
    here = patch_names.in_context(patch, context) and patch_names.named_listener(match, listener.name, context)
    new = patch.apply_to == "LISTENER" and patch.operation == "ADD"
    if new or not here or match.listener_port not in (0, *ports):
        return
    if patch.apply_to in ("LISTENER", "LISTENER_FILTER"):
        yield f"listener {listener.name}"
    elif chain is not None and match.chain in ("", chain.name) and (not match.sni or match.sni in chain.server_names):
        http = isinstance(chain.serve, HttpConnections)
        wants_http = patch.apply_to in ("HTTP_FILTER", "EXTENSION_CONFIG") or match.filter.endswith(_HTTP_MANAGER)
        if http == wants_http or not (wants_http or match.filter):
            yield f"filter chain {chain.name}"


def _routing(patch: Patch, seen: ProxyView, entry: Entry, trace: Trace) -> Iterator[str]:
    match, name = patch.match, trace.route_config or ""
    if not patch_names.matches_table(match, name):
        return
    if patch.apply_to == "ROUTE_CONFIGURATION" and patch_names.has_port(match, name):
        yield f"route table {name}"
    table = _table(seen, entry, name)
    host = next((h for h in table.virtual_hosts if h.name == trace.virtual_host), None) if table else None
    if host is None or not patch_names.named_host(match, host.name, host.domains, name):
        return
    if patch.apply_to == "VIRTUAL_HOST" and patch.operation != "ADD":
        yield f"virtual host {host.name}"
    elif patch.apply_to == "HTTP_ROUTE":
        if patch.operation in ("ADD", "INSERT_FIRST"):
            yield f"virtual host {host.name}"
        yield from (f"route {trace.route}" for r in host.routes if trace.route == (r.name or rule(r.source, "")) and _is_route(patch, r))


def _is_route(patch: Patch, route: Route) -> bool:
    way = _WAYS.get(type(route.action), "ROUTE")
    return patch.match.route in ("", route.name) and patch.match.route_action in ("ANY", way)


def _table(seen: ProxyView, entry: Entry, name: str) -> RouteTable | None:
    serve = entry.chosen.chain.serve if entry.chosen.chain else None
    if isinstance(serve, HttpConnections) and isinstance(serve.routes, RouteTable):
        return serve.routes
    return next((t for t in seen.route_tables if t.name == name), None)
