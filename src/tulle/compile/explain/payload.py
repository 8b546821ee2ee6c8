"""The body of `POST /api/v1/explain`: what `tulle explain` asks a running control plane."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from tulle.compile import Mesh
from tulle.compile.explain.beyond import explain_through
from tulle.compile.explain.entry import UnusableRequestError
from tulle.compile.explain.request import Request
from tulle.model.identity import Identity
from tulle.model.proxy import Node


def explain_request(mesh: Mesh, node: Node, payload: Mapping[str, Any], nodes: Iterable[Node] = ()) -> dict[str, Any]:
    """The body of `POST /api/v1/explain` in, the JSON of a Trace out. `nodes`: the proxies that are known. Raises UnusableRequestError.

    `{"method": "GET", "url": "http://...", "headers": [["name", "value"], ...], "connect_to": "127.0.0.1:8080", "sni": "name",
    "alpn": "h2,http/1.1", "source": "10.0.0.1"}`; all but `url` may be absent.
    """
    return explain_through(mesh, node, nodes, read_payload(payload, mesh.structure.settings.trust_domains[0])).to_dict()


def read_payload(payload: Mapping[str, Any], trust_domain: str = "cluster.local") -> Request:
    """The request in a body. Raises UnusableRequestError."""
    for name in ("sni", "alpn", "source"):
        if not isinstance(payload.get(name) or "", str):
            raise UnusableRequestError(f"{name}, where given, is a text")
    url, method, connect_to = payload.get("url"), payload.get("method") or "GET", payload.get("connect_to")
    if not isinstance(url, str) or not isinstance(method, str):
        raise UnusableRequestError("the request needs a url, a text; method, where given, is a text too")
    return Request(
        method=method,
        url=url,
        headers=_headers(payload.get("headers") or ()),
        connect_to=_address(connect_to),
        sni=payload.get("sni") or "",
        alpn=tuple(part.strip() for part in (payload.get("alpn") or "").split(",") if part.strip()),
        address=_caller(payload.get("source") or ""),
        principal=_principal(payload.get("source") or "", trust_domain),
    )


def _principal(given: str, trust_domain: str) -> str:
    """The identity, where one is given: `NAMESPACE/SERVICEACCOUNT` or a SPIFFE id."""
    if given.startswith("spiffe://") or "/" not in given:
        return given if "/" in given else ""
    namespace, _, account = given.partition("/")
    return Identity(trust_domain=trust_domain, namespace=namespace, service_account=account).uri()


def _caller(given: str) -> str:
    """The caller's address, where one is given."""
    if "/" in given or not given:
        return ""
    try:
        return str(ip_address(given))
    except ValueError:
        raise UnusableRequestError(f"source {given!r} is neither an IP address nor NAMESPACE/SERVICEACCOUNT") from None


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
