"""Where a request arrives: what the proxies beside the endpoints make of it, as far as they are known.

They are asked with the request as the first proxy sends it on: its path, host and headers as rewritten, and the first proxy's own identity
where the two speak mutual TLS. What happens on the way by chance, such as a retry, is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from tulle.compile import Mesh, names, view
from tulle.compile.explain.entry import BYTES, UnusableRequestError
from tulle.compile.explain.request import Request
from tulle.compile.explain.trace import Arrival, Rewritten, Target, Trace
from tulle.compile.explain.views import explain_view
from tulle.model.identity import Identity
from tulle.model.proxy import Cluster, InboundPort, Listener, Node, ProxyView, Role
from tulle.model.service import Endpoint

ASKED = 20
"""So many proxies are asked at most; those of one service mostly say the same."""
_UNCHANGED = Rewritten()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """One cluster that the request may go to."""

    cluster: Cluster
    targets: tuple[Target, ...]
    change: Rewritten


def explain_through(mesh: Mesh, node: Node, nodes: Iterable[Node], request: Request) -> Trace:
    """As `explain`, and on to the proxies beside the endpoints, of which `nodes` are known. Raises UnusableRequestError."""
    seen = view(mesh, node)
    trace = explain_view(seen, node, request)
    scheme = urlsplit(request.url).scheme
    if trace.closed or trace.direct_response or trace.redirect or scheme == "udp" or request.method == "CONNECT":
        return trace
    known = [other for other in nodes if other.role is Role.SIDECAR]
    found = list(_arrivals(mesh, seen, node, known, request, trace))
    return replace(trace, arrivals=tuple(_together(found)))


def _arrivals(mesh: Mesh, seen: ProxyView, node: Node, known: list[Node], request: Request, trace: Trace) -> Iterator[Arrival]:
    asked = 0
    for way in _ways(seen, trace):
        endpoints = {_key(e.address, e.port): e for e in _endpoints(seen, way.cluster)}
        for target in way.targets:
            asked += 1
            if asked > ASKED:
                return
            endpoint = endpoints.get(target.address)
            beside = _beside(known, way.cluster, target, endpoint)
            if beside:
                yield _asked(mesh, *beside, _sent_on(mesh, seen, node, way, endpoint, request, trace))
            elif endpoint and endpoint.mtls:
                why = "it is not known here what its proxy is to do: it is not connected, or not among the files"
                yield Arrival(proxies=(target.workload or target.address,), unknown=why)


def _ways(seen: ProxyView, trace: Trace) -> Iterator[_Way]:
    clusters = {cluster.name: cluster for cluster in seen.clusters}
    if trace.cluster in clusters:
        yield _Way(cluster=clusters[trace.cluster], targets=trace.endpoints, change=trace.rewritten or _UNCHANGED)
    for share in trace.weighted_clusters:
        if share.weight and share.name in clusters:
            yield _Way(cluster=clusters[share.name], targets=share.endpoints, change=share.rewritten or _UNCHANGED)


def _endpoints(seen: ProxyView, cluster: Cluster) -> tuple[Endpoint, ...]:
    group = next((g for g in seen.endpoints if g.name == cluster.name), None)
    return cluster.endpoints or (group.endpoints if group else ())


def _key(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _beside(known: list[Node], cluster: Cluster, target: Target, endpoint: Endpoint | None) -> tuple[Node, InboundPort] | None:
    """The proxy that takes connections at an endpoint, by the workload's name or else by the address, and the port of it that does."""
    if endpoint is None:
        return None
    dialled = cluster.name.split("|")[1] if names.is_outbound(cluster.name) else ""
    for node in known:
        named = target.workload and node.id == f"sidecar~{target.workload}"
        for port in node.inbound:
            at_port = port.listen == endpoint.port or (named and str(port.service_port) == dialled)
            if at_port and (named or endpoint.address in (port.listen_address, node.ip)):
                return node, port
    return None


def _sent_on(mesh: Mesh, seen: ProxyView, node: Node, way: _Way, endpoint: Endpoint | None, request: Request, trace: Trace) -> Request:
    """The request as it leaves the first proxy, the place that it is for left open."""
    meshed = way.cluster.mesh_tls is not None and endpoint is not None and endpoint.mtls
    domain = mesh.structure.settings.trust_domains[0]
    own = Identity(trust_domain=domain, namespace=node.namespace, service_account=node.service_account).uri()
    listener = next((x for x in seen.listeners if x.name == trace.listener), None)
    onward = replace(request, principal=own if meshed else "", address=_address(node, listener, request), sni="", alpn=())
    url = urlsplit(request.url)
    if url.scheme in BYTES:
        if url.scheme == "tls" and trace.tls is None and not meshed:
            return replace(request, address=onward.address, headers=())
        return replace(onward, url=f"tcp://{url.hostname}:{url.port}", headers=())
    named = next((value for name, value in request.headers if name.lower() == "host"), url.netloc.rpartition("@")[2])
    path = way.change.path or (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = _headers(node, request, way.change)
    return replace(onward, url=f"http://{url.netloc}{path}", headers=(("host", way.change.host or named), *headers))


def _headers(node: Node, request: Request, change: Rewritten) -> tuple[tuple[str, str], ...]:
    """A gateway says for whom it asks."""
    kept = tuple((n, v) for n, v in request.headers if n.lower() != "host" and n.lower() not in change.headers)
    added = tuple((name, value) for name, value in change.headers.items() if value is not None)
    callers = (("x-forwarded-for", request.address or "127.0.0.1"),) if node.role is Role.GATEWAY else ()
    return (*kept, *added, *callers)


def _address(node: Node, listener: Listener | None, request: Request) -> str:
    """Where the connection comes from, as the endpoint's machine sees it."""
    return request.address if listener and listener.original_source is not None else node.ip


def _asked(mesh: Mesh, beside: Node, port: InboundPort, request: Request) -> Arrival:
    try:
        found = explain_view(view(mesh, beside), beside, replace(request, connect_to=(port.listen_address, port.listen)))
    except UnusableRequestError as error:
        return Arrival(proxies=(beside.id,), unknown=str(error))
    return Arrival(
        proxies=(beside.id,), allowed=found.allowed, closed=found.closed, direct_response=found.direct_response, steps=found.steps
    )


def _together(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """Proxies that say the same are one, whatever their listeners are called."""
    found: dict[object, Arrival] = {}
    for one in arrivals:
        key = (one.allowed, one.closed, one.direct_response, one.unknown)
        first = found.get(key)
        found[key] = replace(first, proxies=tuple(dict.fromkeys((*first.proxies, *one.proxies)))) if first else one
    yield from found.values()
