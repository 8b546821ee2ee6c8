"""The body of `POST /api/v1/explain`: what `tulle explain` asks a running control plane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tulle.compile import Mesh
from tulle.compile.explain.entry import UnusableRequestError
from tulle.compile.explain.request import Request
from tulle.compile.explain.views import explain
from tulle.model.proxy import Node


def explain_request(mesh: Mesh, node: Node, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The body of `POST /api/v1/explain` in, the JSON of a Trace out. Raises UnusableRequestError.

    `{"method": "GET", "url": "http://...", "headers": [["name", "value"], ...], "connect_to": "127.0.0.1:8080"}`; all but `url` may be
    absent.
    """
    return explain(mesh, node, read_payload(payload)).to_dict()


def read_payload(payload: Mapping[str, Any]) -> Request:
    """The request in a body. Raises UnusableRequestError."""
    for name in ("sni", "alpn"):
        if payload.get(name):
            raise UnusableRequestError(f"{name} is not covered yet: explain takes plain HTTP requests")
    url, method, connect_to = payload.get("url"), payload.get("method") or "GET", payload.get("connect_to")
    if not isinstance(url, str) or not isinstance(method, str):
        raise UnusableRequestError("the request needs a url, a text; method, where given, is a text too")
    return Request(method=method, url=url, headers=_headers(payload.get("headers") or ()), connect_to=_address(connect_to))


def _headers(given: Any) -> tuple[tuple[str, str], ...]:
    pairs = list(given.items()) if isinstance(given, Mapping) else given
    texts = isinstance(pairs, Iterable) and not isinstance(pairs, str)
    if not texts or not all(isinstance(p, list | tuple) and len(p) == 2 and all(isinstance(x, str) for x in p) for p in pairs):
        raise UnusableRequestError('headers are a list of [name, value] pairs, for example [["end-user", "jason"]]')
    return tuple((name, value) for name, value in pairs)


def _address(given: Any) -> tuple[str, int] | None:
    if not given:
        return None
    host, _, port = str(given).rpartition(":")
    if not host or not port.isdecimal():
        raise UnusableRequestError(f"{given!r} is not an address: write ADDRESS:PORT, for example 127.0.0.1:8080")
    return host.strip("[]"), int(port)
