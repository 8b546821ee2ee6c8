"""What the proxy makes of a request that comes by HTTP/2 or HTTP/3 (RFC 9113 and 9114), before it looks for a route.

Facts measured on Envoy 1.40. What its parsers refuse has no answer: the connection is closed, with all requests on it.
"""

from __future__ import annotations

import re
from dataclasses import replace

from tulle.compile.explain.paths import canonical
from tulle.compile.explain.request import Headers, Refused, Seen, Wire, kept, seen_of, underscored
from tulle.model.screen import Screen, Underscores

_NAME = re.compile(r"[a-z0-9!#$%&'*+\-.^_`|~]+")
_METHOD = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_AUTHORITY = re.compile(r"[A-Za-z0-9!$%&'()*+,\-.:;=\[\]_~]+")
_UNWRITTEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_PATH = re.compile(r"[^\x00-\x20\x7f]+")
_OF_ONE_CONNECTION = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})


def receive(wire: Wire) -> Seen | Refused:
    """The same as `request.receive` for HTTP/1.1. An upgrade is asked for by extended CONNECT (RFC 8441)."""
    upgrade = next((value for name, value in wire.headers if name.lower() == "upgrade"), "")
    authority = ",".join(value for name, value in wire.headers if name.lower() == "host")
    left_out = {"host", *(_OF_ONE_CONNECTION if upgrade else ())}
    headers = tuple(h for h in wire.headers if h[0].lower() not in left_out)
    if why := _unreadable(replace(wire, method="GET") if upgrade else wire, authority, headers):
        return Refused(status=0, body="", why=why)
    if (name := underscored(wire)) and wire.screen.underscores is Underscores.REJECT:
        return Refused(status=0, body="", why=f"a Guard refuses headers with an underscore, such as {name!r}")
    headers = kept(replace(wire, headers=headers)).headers
    if upgrade and wire.version > 2:
        return Refused(status=0, body="", why="upgrades such as WebSocket are not offered over HTTP/3")
    seen = seen_of(replace(wire, headers=_one_cookie(headers)), authority, wire.target, "https" if wire.tls else "http")
    if wire.method == "CONNECT":
        return replace(seen, path="", refuses="" if wire.proxy else "this listener takes no CONNECT", cut=wire.version == 2)
    return _sane(_upgrading(seen, upgrade) if upgrade else seen, wire.screen)


def _upgrading(seen: Seen, upgrade: str) -> Seen:
    """Routes see what they would see of HTTP/1.1."""
    why = "" if upgrade.lower() == "websocket" else f"only upgrades to WebSocket are allowed, not to {upgrade!r}"
    headers = (*seen.headers, ("connection", "upgrade"), ("upgrade", upgrade))
    return replace(seen, method="GET", upgrade=upgrade, refuses=why, cut=bool(why), headers=headers)


def _unreadable(wire: Wire, authority: str, headers: Headers) -> str:
    """Why the parser gives the connection up; empty where it does not."""
    if not _METHOD.fullmatch(wire.method):
        return f"{wire.method!r} is not a method"
    if not _AUTHORITY.fullmatch(authority) and (authority or wire.version < 3 or wire.method == "CONNECT"):
        return f"{authority!r} is not a host"
    for name, value in headers:
        if why := _bad_header(name, value, wire.version):
            return why
    return "" if wire.method == "CONNECT" else _bad_path(wire)


def _bad_header(name: str, value: str, version: int) -> str:
    if not _NAME.fullmatch(name):
        return f"{name!r} is not a header name: over HTTP/{version} they are in lower case"
    if name in _OF_ONE_CONNECTION or (name == "te" and value != "trailers"):
        return f"the header {name} has no place in HTTP/{version}"
    if _UNWRITTEN.search(value) or (version > 2 and not value.isascii()):
        return f"the value of the header {name} has a character that must not be sent"
    return f"content-length {value!r} is not a number" if name == "content-length" and not value.isdecimal() else ""


def _bad_path(wire: Wire) -> str:
    path = wire.target
    if not _PATH.fullmatch(path) or (wire.version > 2 and not path.isascii()):
        return f"the path {path!r} has a character that must be percent-encoded"
    if not path.startswith("/") and (wire.method, path) != ("OPTIONS", "*"):
        return f"{path!r} is not a path: it has no leading slash"
    return ""


def _one_cookie(headers: Headers) -> Headers:
    """Cookies may come one by one, and are put together again (RFC 9113, section 8.2.3)."""
    rest, cookies = tuple(h for h in headers if h[0] != "cookie"), ""
    for value in (value for name, value in headers if name == "cookie"):
        cookies = f"{cookies}; {value}" if cookies else value
    return (*rest, ("cookie", cookies)) if cookies else rest


def _sane(seen: Seen, screen: Screen) -> Seen | Refused:
    if seen.method == "QUERY" and not seen.values("content-type"):
        return Refused(status=400, body="", why="the method QUERY needs a content-type")
    if "#" in seen.path:
        return Refused(status=400, body="", why="a fragment (#...) stays with the caller and must not be sent")
    if not seen.path.startswith("/"):
        return Refused(status=404, body="", why=f"{seen.path!r} is not a path: it has no leading slash")
    path = canonical(seen.path, screen.level)
    return Refused(status=400, body="", why="the path has an escaped NUL (%00)") if path is None else replace(seen, path=path)
