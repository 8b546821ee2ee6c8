"""What a caller asks, and what the proxy makes of it before it looks for a route.

Facts measured on Envoy 1.40 (HTTP/1.1): what its parser refuses is answered 400 before any route is tried.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from tulle.compile.explain.paths import canonical
from tulle.model.frozen import FrozenMap
from tulle.model.screen import NO_SCREEN, Screen, Underscores

Headers = tuple[tuple[str, str], ...]

METHODS = frozenset(
    """ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH NOTIFY OPTIONS PATCH POST
    PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE""".split()  # noqa: SIM905
)
_AUTHORITY = re.compile(r"[A-Za-z0-9!$%&'()*+,\-.:;=@\[\]_~]*")
_HOST_AND_PORT = r"(?:[A-Za-z0-9.\-]+|\[[0-9A-Fa-f:.%]+\])"
_ABSOLUTE = re.compile(rf"(https?)://(?:[A-Za-z0-9\-_.!~*'()%;:&=+$,]*@)?({_HOST_AND_PORT}(?::(\d{{1,5}}))?)(/[^#]*|\?[^#]*)?(#.*)?", re.I)
_TUNNEL = re.compile(rf"{_HOST_AND_PORT}:(\d{{1,5}})")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_PRINTABLE = re.compile(r"[!-~]+")
_HOP_BY_HOP = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding"})
_SCHEMES = ("http", "https")
_INLINE = frozenset(
    """accept accept-encoding access-control-request-method authorization cache-control content-type expect grpc-timeout origin user-agent
    via x-forwarded-for x-forwarded-host x-forwarded-proto x-request-id""".split()  # noqa: SIM905
)
"""Headers of which the proxy keeps one: what is sent again is appended, and an empty value adds nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as a person states it. Raises ValueError where a URL cannot be used."""

    method: str = "GET"
    url: str
    headers: Headers = ()
    connect_to: tuple[str, int] | None = None
    """The address and port dialled, where the URL does not say it."""
    sni: str = ""
    """The name asked for in TLS, where it is not the URL's."""
    alpn: tuple[str, ...] = ()
    """Protocols offered in TLS, from the most wanted; empty for what callers of such a URL offer."""
    address: str = ""
    """The caller's IP address."""
    principal: str = ""
    """The SPIFFE id in the caller's certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A request as it goes over the wire (RFC 9112, section 3)."""

    method: str
    target: str
    """Origin form, absolute form, or `host:port` for CONNECT."""
    headers: Headers
    edge: bool = False
    """Callers are not trusted: their forwarding headers do not count."""
    proxy: bool = False
    """CONNECT is taken."""
    tls: bool = False
    """It came inside of TLS, which was ended."""
    version: int = 1
    """Of HTTP. From 2 on the target is a path, or empty for CONNECT; the authority stands as `host`, and an upgrade as in HTTP/1.1."""
    screen: Screen = NO_SCREEN
    """What is asked of it first."""


def joined(headers: Headers) -> dict[str, str]:
    """One value for each name, as matchers see them and as HTTP allows to send them (RFC 9110, section 5.3)."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name, []).append(value)
    return {name: ",".join(filter(None, v) if name in _INLINE else v) for name, v in values.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as routes are matched against it. Header names are in lower case; several of one name stand as they came."""

    method: str
    authority: str
    path: str
    """With the query; empty for CONNECT."""
    scheme: str
    forwarded_proto: str
    headers: Headers
    upgrade: str = ""
    """What the connection is to become."""
    refuses: str = ""
    """Why the upgrade is refused once a route is found."""
    claims: FrozenMap[str, Any] = FrozenMap()
    """Of the caller's token."""
    cut: bool = False
    """It is refused by closing the connection."""

    def values(self, name: str) -> tuple[str, ...]:
        """The values of a header as matchers see them: each by itself, but joined where the proxy keeps one. Empty when absent."""
        pseudo = {":method": self.method, ":authority": self.authority, "host": self.authority, ":path": self.path, ":scheme": self.scheme}
        if name in pseudo:
            return (pseudo[name],)
        values = tuple(value for key, value in self.headers if key == name)
        return (joined(self.headers)[name],) if values and name in _INLINE else values

    def header(self, name: str) -> str:
        """One value for a header; empty when it is absent."""
        return joined(self.headers).get(name, "")

    @property
    def grpc(self) -> bool:
        """Whether the caller speaks gRPC, so that the proxy's own answers are gRPC answers."""
        return self.method != "CONNECT" and speaks_grpc(self.headers)


def speaks_grpc(headers: Headers) -> bool:
    kind = joined(tuple((name.lower(), value) for name, value in headers)).get("content-type", "")
    return kind == "application/grpc" or kind.startswith("application/grpc+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The proxy answers before it looks for a route. What its parser refuses has a body, and is plain HTTP for gRPC callers too."""

    status: int
    """0: there is no answer, the connection is closed."""
    body: str
    why: str


def _bad(why: str, body: str = "Bad Request") -> Refused:
    return Refused(status=400, body=body, why=why)


def receive(wire: Wire) -> Seen | Refused:
    """What the proxy makes of a request before it looks for a route."""
    if wire.method not in METHODS:
        return _bad(f"the method {wire.method!r} is not one that the proxy knows for HTTP/1.1")
    for name, _ in wire.headers:
        if not _TOKEN.fullmatch(name):
            return _bad(f"{name!r} is not a header name")
    if (name := underscored(wire)) and wire.screen.underscores is Underscores.REJECT:
        return _bad(f"a Guard refuses headers with an underscore, such as {name!r}", "")
    wire = kept(wire)
    seen = _connect(wire) if wire.method == "CONNECT" else _target(wire)
    return seen if isinstance(seen, Refused) else _sane(seen, wire.screen)


def underscored(wire: Wire) -> str:
    """The first header with an underscore in its name; empty where there is none."""
    return next((name for name, _ in wire.headers if "_" in name), "")


def kept(wire: Wire) -> Wire:
    """Without the headers that a Guard drops."""
    if wire.screen.underscores is not Underscores.DROP:
        return wire
    return replace(wire, headers=tuple(h for h in wire.headers if "_" not in h[0]))


def _connect(wire: Wire) -> Seen | Refused:
    match = _TUNNEL.fullmatch(wire.target)
    if not match or int(match[1]) > 65535:
        return _bad(f"CONNECT takes host:port, not {wire.target!r}")
    seen = seen_of(wire, wire.target, "", "http")
    return replace(seen, refuses=seen.refuses or ("" if wire.proxy else "this listener takes no CONNECT"))


def _target(wire: Wire) -> Seen | Refused:
    host = ",".join(value for name, value in wire.headers if name.lower() == "host")
    if wire.method == "OPTIONS" and wire.target.startswith("*"):
        return seen_of(wire, host, wire.target, "")
    if not _PRINTABLE.fullmatch(wire.target):
        return _bad(f"the path {wire.target!r} has a character that must be percent-encoded")
    if not wire.target.startswith("/"):
        return _absolute(wire)
    if not any(name.lower() == "host" for name, _ in wire.headers):
        return _bad("HTTP/1.1 needs a Host header", "")
    return seen_of(wire, host, wire.target, "")


def _absolute(wire: Wire) -> Seen | Refused:
    match = _ABSOLUTE.fullmatch(wire.target)
    if not match or int(match[3] or 0) > 65535 or (match[5] and not match[4]):
        return _bad(f"{wire.target!r} is neither a path nor a URL that the proxy can use (letters, digits, '-' and '.' make a host)")
    scheme = match[1].lower()
    if wire.edge and scheme == "https" and not wire.tls:
        return Refused(status=403, body="Forbidden", why="the URL says https, the connection is plain")
    return seen_of(wire, match[2], (match[4] or "/") + (match[5] or ""), scheme)


def seen_of(wire: Wire, authority: str, path: str, scheme: str) -> Seen:
    """A request that could be read. `scheme`: empty where the request does not say it."""
    headers = tuple((name.lower(), value.strip()) for name, value in wire.headers if name.lower() != "host")
    claimed = ",".join(value for name, value in headers if name == "x-forwarded-proto")
    own = "https" if wire.tls else "http"
    proto = claimed if claimed and not wire.edge else own
    default = proto.lower() if proto.lower() in _SCHEMES else own
    upgrade, kept = _hop_by_hop(headers)
    refuses = f"only upgrades to WebSocket are allowed, not to {upgrade!r}" if upgrade.lower() not in ("", "websocket") else ""
    kept = (*(h for h in kept if h[0] != "x-forwarded-proto"), ("x-forwarded-proto", proto))
    return Seen(
        method=wire.method,
        authority=authority,
        path=path,
        scheme=scheme or default,
        forwarded_proto=proto,
        headers=kept,
        upgrade=upgrade,
        refuses=refuses,
    )


def _hop_by_hop(headers: Headers) -> tuple[str, Headers]:
    """The upgrade asked for, and the headers that are not about this one connection."""
    named = {part.strip().lower() for name, value in headers if name == "connection" for part in value.split(",")}
    upgrade = next((value for name, value in headers if name == "upgrade"), "") if "upgrade" in named else ""
    upgrade = "" if upgrade.lower() == "h2c" else upgrade
    dropped = named | (_HOP_BY_HOP if not upgrade else _HOP_BY_HOP - {"connection"}) | {"upgrade"}
    dropped -= {"upgrade", "connection"} if upgrade else set()
    return upgrade, tuple(h for h in headers if h[0] not in dropped and h != ("te", "") and (h[0] != "te" or h[1] == "trailers"))


def _sane(seen: Seen, screen: Screen) -> Seen | Refused:
    if not _AUTHORITY.fullmatch(seen.authority):
        return _bad(f"{seen.authority!r} is not a host")
    if seen.method == "QUERY" and not seen.values("content-type"):
        return _bad("the method QUERY needs a content-type", "")
    if seen.method == "CONNECT":
        return seen
    if "#" in seen.path:
        return _bad("a fragment (#...) stays with the caller and must not be sent", "")
    if not seen.path.startswith("/"):
        return Refused(status=404, body="", why=f"{seen.path!r} is not a path: it has no leading slash")
    path = canonical(seen.path, screen.level)
    return _bad("the path has an escaped NUL (%00)", "") if path is None else replace(seen, path=path)
