"""Where a request enters a proxy: which listener and chain take it, and how it goes over the wire there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from tulle.compile.explain.chains import Chosen, Connection, choose
from tulle.compile.explain.request import Headers, Request, Wire
from tulle.model.proxy import FilterChain, HttpConnections, Listener, Node, ProxyView, Role
from tulle.model.routing import RouteTable
from tulle.model.screen import NO_SCREEN
from tulle.model.tls import MESH_CERTIFICATE, MESH_PROTOCOL, MESH_REQUESTS

PORTS = {"http": 80, "https": 443}
BYTES = frozenset({"tls", "tcp", "udp"})
"""Schemes of connections that are no requests."""
ENCRYPTED = frozenset({"https", "tls"})
ALPN = ("h2", "http/1.1")
"""What callers offer who speak HTTP over TLS, if nothing else is said."""
_ANYWHERE = ("0.0.0.0", "::")


class UnusableRequestError(ValueError):
    """The request cannot be explained; the message says what to ask instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    listener: Listener
    chosen: Chosen
    connection: Connection
    wire: Wire | None
    """None for bytes that are no request."""


def parse(request: Request) -> SplitResult:
    """The URL of a request. Raises UnusableRequestError."""
    try:
        url = urlsplit(request.url)
        port = url.port
    except ValueError as error:
        raise UnusableRequestError(f"{request.url!r} is not a URL: {error}") from None
    if url.scheme in BYTES and not (url.hostname and port):
        raise UnusableRequestError(f"{request.url!r} is not a URL that can be explained: write {url.scheme}://host:port")
    if url.scheme not in (*PORTS, *BYTES) or not url.hostname or port == 0:
        raise UnusableRequestError(f"{request.url!r} is not a URL that can be explained: write http://host[:port]/path")
    return url


def enter(view: ProxyView, node: Node, request: Request) -> Entry:
    """The listener that takes a request. Raises UnusableRequestError where there is none."""
    url = parse(request)
    listener = _listener(view, node, request, url)
    connection = _connection(request, url, listener, node)
    chosen = choose(listener, connection)
    if chosen.chain is None:
        return Entry(listener=listener, chosen=chosen, connection=connection, wire=None)
    return Entry(listener=listener, chosen=chosen, connection=connection, wire=_wire(request, url, chosen.chain, connection))


def table(view: ProxyView, serve: HttpConnections) -> RouteTable:
    """The route table of a chain. Raises UnusableRequestError where the view lacks it."""
    if isinstance(serve.routes, RouteTable):
        return serve.routes
    found = next((t for t in view.route_tables if t.name == serve.routes), None)
    if found is None:
        raise UnusableRequestError(f"the route table {serve.routes!r} is not there yet")
    return found


def _listener(view: ProxyView, node: Node, request: Request, url: SplitResult) -> Listener:
    by_quic = over_quic(request, url)
    listeners = tuple(x for x in view.listeners if x.quic == by_quic and x.udp == (by_quic or url.scheme == "udp"))
    if by_quic and not listeners:
        raise UnusableRequestError("nothing takes HTTP/3 here: a Gateway offers it where it has the annotation tulle.dev/http3")
    if request.connect_to:
        return _at(listeners, *request.connect_to)
    host, port = url.hostname or "", url.port or PORTS[url.scheme]
    if node.role is Role.GATEWAY:
        return _on_gateway(listeners, host, port)
    if url.scheme in BYTES and (found := _local(listeners, node, host, port)):
        return found
    if url.scheme == "udp":
        raise UnusableRequestError(f"the sidecar {node.id} has no upstream for {host}:{port}/udp; listeners: {_names(listeners)}")
    return _forward_proxy(listeners, node)


def over_quic(request: Request, url: SplitResult) -> bool:
    """Whether a request comes by HTTP/3, which has no other way to say so than its ALPN."""
    return url.scheme == "https" and "h3" in request.alpn


def _offered(request: Request) -> tuple[str, ...]:
    """Callers who want an upgrade know of none but HTTP/1.1's."""
    return ALPN[-1:] if any(name.lower() == "upgrade" for name, _ in request.headers) else ALPN


def _version(request: Request, chain: FilterChain, connection: Connection) -> int:
    """Of HTTP: agreed upon by ALPN, or in plain text known beforehand to whoever offers `h2`."""
    if chain.tls is None:
        return 2 if "h2" in request.alpn and not connection.tls else 1
    agreed = next((name for name in chain.tls.protocols if name in connection.alpn), "")
    return {"h2": 2, "h3": 3}.get(agreed, 1)


def _connection(request: Request, url: SplitResult, listener: Listener, node: Node) -> Connection:
    """Through a forward proxy TLS goes inside of CONNECT, where the proxy does not look. A caller with an identity speaks mutual TLS."""
    own = listener.address if listener.address not in _ANYWHERE else _ip(url.hostname or "") or node.ip
    destination = _ip(request.connect_to[0]) if request.connect_to and request.connect_to[0] not in _ANYWHERE else ""
    tls = url.scheme in ENCRYPTED and not any(_proxies(chain) for chain in listener.chains)
    plain = Connection(destination=destination or _ip(own) or "127.0.0.1", source=request.address or "127.0.0.1")
    if not tls and request.principal and any(is_meshed(chain) for chain in listener.chains):
        return replace(plain, tls=True, alpn=(MESH_PROTOCOL,) if url.scheme in BYTES else MESH_REQUESTS)
    if not tls:
        return replace(plain, alpn=_seen(request)) if listener.looks_for_http and url.scheme not in BYTES else plain
    host = url.hostname or ""
    sni = request.sni or ("" if _ip(host) else host)
    alpn = request.alpn or (_offered(request) if url.scheme == "https" else ())
    return replace(plain, tls=True, sni=sni.lower(), alpn=alpn)


def _seen(request: Request) -> tuple[str, ...]:
    """What the first line of a request tells."""
    return ("h2c",) if "h2" in request.alpn else ("http/1.1",)


def is_meshed(chain: FilterChain) -> bool:
    """Whether it is for callers whose sidecar speaks the mesh's mutual TLS: one with an identity is such a caller."""
    return chain.tls is not None and MESH_CERTIFICATE in chain.tls.certificates


def _ip(text: str) -> str:
    """The text, where it is an IP address."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def _names(listeners: Iterable[Listener]) -> str:
    return ", ".join(f"{x.address}:{x.port}" for x in listeners if x.address) or "none at all"


def _at(listeners: tuple[Listener, ...], address: str, port: int) -> Listener:
    """The listener of exactly that address, else one of that port on any address."""
    exact = [x for x in listeners if x.port == port and x.address == address]
    wide = [x for x in listeners if x.port == port and x.address in _ANYWHERE]
    for found in (*exact, *wide):
        return found
    raise UnusableRequestError(f"nothing listens on {address}:{port}; listeners: {_names(listeners)}")


def _on_gateway(listeners: tuple[Listener, ...], host: str, port: int) -> Listener:
    """A gateway's listener by the port it was declared with, or by the one it is bound to; where the URL has an address, first by that."""
    for number in ("declared_port", "port"):
        found = [x for x in listeners if getattr(x, number) == port and x.address]
        if found:
            return min(found, key=lambda x: x.address != host)
    raise UnusableRequestError(f"the gateway has no listener for port {port}; listeners: {_names(listeners)}")


def _local(listeners: tuple[Listener, ...], node: Node, host: str, port: int) -> Listener | None:
    """A listener of the workload's own by its address, or by the service that it stands for."""
    address = "127.0.0.1" if host == "localhost" else host
    places = [(u.bind, u.bind_port) for u in node.upstreams if u.port == port and _full(u.host, node) == _full(host, node)]
    return next((x for x in listeners if (x.address, x.port) in [(address, port), *places]), None)


def _full(host: str, node: Node) -> str:
    """`name.namespace` of a service, however it is written; other hosts stay."""
    short = host.lower().removesuffix(".").partition(".svc.")[0].removesuffix(".svc")
    return short if "." in short else f"{short}.{node.namespace}"


def _forward_proxy(listeners: tuple[Listener, ...], node: Node) -> Listener:
    for listener in listeners:
        if listener.address and any(_proxies(chain) for chain in listener.chains):
            return listener
    raise UnusableRequestError(
        f"the sidecar {node.id} has no forward proxy; name one of its listeners with --connect-to ADDRESS:PORT: {_names(listeners)}"
    )


def _proxies(chain: FilterChain) -> bool:
    return isinstance(chain.serve, HttpConnections) and chain.serve.forward_proxy


def _wire(request: Request, url: SplitResult, chain: FilterChain, connection: Connection) -> Wire | None:
    """Through a forward proxy a URL goes as it is (all but http:// inside CONNECT); elsewhere as a path beside a Host header."""
    proxy = _proxies(chain)
    if url.scheme in BYTES and not proxy:
        return None
    serve = chain.serve if isinstance(chain.serve, HttpConnections) else None
    version = _version(request, chain, connection)
    authority = url.netloc.rpartition("@")[2]
    named = any(name.lower() == "host" for name, _ in request.headers)
    headers: Headers = request.headers if named else (("host", authority), *request.headers)
    if version > 1:  # clients write them so, however their users do
        headers = tuple((name.lower(), value) for name, value in headers)
    wire = Wire(
        method=request.method,
        target="",
        headers=headers,
        edge=serve is not None and serve.edge,
        proxy=proxy,
        tls=chain.tls is not None,
        version=version,
        screen=serve.screen if serve else NO_SCREEN,
    )
    if request.method == "CONNECT" or (url.scheme != "http" and proxy):
        target = authority if url.port else f"{authority}:{PORTS[url.scheme]}"
        return replace(wire, method="CONNECT", target=target if version == 1 else "")
    path = (url.path or "/") + (f"?{url.query}" if url.query or request.url.endswith("?") else "")
    return replace(wire, target=f"{url.scheme}://{authority}{path}" if proxy and version == 1 else path)
