"""Where a request enters a proxy: which listener and chain take it, and how it goes over the wire there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from tulle.compile.explain.request import Headers, Request, Wire
from tulle.model.proxy import FilterChain, HttpConnections, Listener, Node, ProxyView, Role
from tulle.model.routing import RouteTable

PORTS = {"http": 80, "https": 443}


class UnusableRequestError(ValueError):
    """The request cannot be explained; the message says what to ask instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    listener: Listener
    chain: FilterChain
    wire: Wire


def parse(request: Request) -> SplitResult:
    """The URL of a request. Raises UnusableRequestError."""
    try:
        url = urlsplit(request.url)
        port = url.port
    except ValueError as error:
        raise UnusableRequestError(f"{request.url!r} is not a URL: {error}") from None
    if url.scheme in ("tls", "tcp", "udp"):
        raise UnusableRequestError(f"{url.scheme}:// is not covered yet: explain takes http:// and, from a sidecar, https:// URLs")
    if url.scheme not in PORTS or not url.hostname or port == 0:
        raise UnusableRequestError(f"{request.url!r} is not a URL that can be explained: write http://host[:port]/path")
    return url


def enter(view: ProxyView, node: Node, request: Request) -> Entry:
    """The listener that takes a request. Raises UnusableRequestError where there is none."""
    url = parse(request)
    port = url.port or PORTS[url.scheme]
    if request.connect_to:
        listener = _at(view.listeners, *request.connect_to)
    elif node.role is Role.GATEWAY:
        listener = _on_gateway(view.listeners, port)
    else:
        listener = _forward_proxy(view.listeners, node)
    chain = _chain(listener)
    if url.scheme == "https" and not _proxies(chain):
        raise UnusableRequestError("https:// is not covered yet here: it needs TLS on the listener; write http://")
    return Entry(listener=listener, chain=chain, wire=_wire(request, url, chain))


def table(view: ProxyView, serve: HttpConnections) -> RouteTable:
    """The route table of a chain. Raises UnusableRequestError where the view lacks it."""
    if isinstance(serve.routes, RouteTable):
        return serve.routes
    found = next((t for t in view.route_tables if t.name == serve.routes), None)
    if found is None:
        raise UnusableRequestError(f"the route table {serve.routes!r} is not there yet")
    return found


def _names(listeners: Iterable[Listener]) -> str:
    return ", ".join(f"{x.address}:{x.port}" for x in listeners if x.address) or "none at all"


def _at(listeners: tuple[Listener, ...], address: str, port: int) -> Listener:
    """The listener of exactly that address, else one of that port on any address."""
    exact = [x for x in listeners if x.port == port and x.address == address]
    wide = [x for x in listeners if x.port == port and x.address in ("0.0.0.0", "::")]
    for found in (*exact, *wide):
        return found
    raise UnusableRequestError(f"nothing listens on {address}:{port}; listeners: {_names(listeners)}")


def _on_gateway(listeners: tuple[Listener, ...], port: int) -> Listener:
    """A gateway's listener by the port it was declared with, or by the one it is bound to."""
    for number in ("declared_port", "port"):
        for listener in listeners:
            if getattr(listener, number) == port and listener.address:
                return listener
    raise UnusableRequestError(f"the gateway has no listener for port {port}; listeners: {_names(listeners)}")


def _forward_proxy(listeners: tuple[Listener, ...], node: Node) -> Listener:
    for listener in listeners:
        if listener.address and any(_proxies(chain) for chain in listener.chains):
            return listener
    raise UnusableRequestError(
        f"the sidecar {node.id} has no forward proxy; name one of its listeners with --connect-to ADDRESS:PORT: {_names(listeners)}"
    )


def _proxies(chain: FilterChain) -> bool:
    return isinstance(chain.serve, HttpConnections) and chain.serve.forward_proxy


def _chain(listener: Listener) -> FilterChain:
    """The chain for a plain connection that asks for no server name."""
    for chain in listener.chains:
        if not chain.server_names and chain.transport_protocol in ("", "raw_buffer") and not chain.application_protocols:
            return chain
    raise UnusableRequestError(f"the listener {listener.name} takes TLS only, which is not covered yet")


def _wire(request: Request, url: SplitResult, chain: FilterChain) -> Wire:
    """Through a forward proxy a URL goes as it is (https:// inside CONNECT); elsewhere as a path beside a Host header."""
    proxy = _proxies(chain)
    edge = isinstance(chain.serve, HttpConnections) and chain.serve.edge
    authority = url.netloc.rpartition("@")[2]
    named = any(name.lower() == "host" for name, _ in request.headers)
    headers: Headers = request.headers if named else (("host", authority), *request.headers)
    if request.method == "CONNECT" or (url.scheme == "https" and proxy):
        target = authority if url.port else f"{authority}:{PORTS[url.scheme]}"
        return Wire(method="CONNECT", target=target, headers=headers, edge=edge, proxy=proxy)
    path = (url.path or "/") + (f"?{url.query}" if url.query or request.url.endswith("?") else "")
    target = f"{url.scheme}://{authority}{path}" if proxy else path
    return Wire(method=request.method, target=target, headers=headers, edge=edge, proxy=proxy)
