"""Ports of which nobody says what is spoken: HTTP is told from other bytes by how a connection begins (BEHAVIOURS 14 and 16).

In plain text the first line tells. Inside of mutual TLS nobody looks: there callers say by ALPN what they carry, in Istio's words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from tulle.compile import tls
from tulle.compile.gatewayapi import backend_tls
from tulle.model.proxy import PLAIN_HTTP, FilterChain, HttpConnections, Listener
from tulle.model.service import Protocol
from tulle.model.tls import MESH_CERTIFICATE
from tulle.resources.networking.tls import ClientTlsMode

if TYPE_CHECKING:
    from tulle.compile.scope import Scope

PATIENCE = timedelta(seconds=1)
"""So long a caller may be silent before it counts as one that waits for the workload to speak first, in plain text."""


def told_apart(http: Iterable[FilterChain], rest: Iterable[FilterChain]) -> Iterator[FilterChain]:
    """One port's chains, made of those that it would have for HTTP alone and of those that it would have for bytes of any kind."""
    for chain in http:
        if _is_mesh(chain):
            yield replace(chain, name=f"{chain.name}http", application_protocols=tls.MESH_HTTP_PROTOCOLS)
        elif chain.tls is None:
            yield replace(chain, name=f"{chain.name}http", transport_protocol="raw_buffer", application_protocols=PLAIN_HTTP)
    for chain in rest:
        if chain.application_protocols == tls.MESH_PROTOCOLS:
            yield replace(chain, application_protocols=tls.MESH_TCP_PROTOCOLS)
        elif chain.transport_protocol or chain.tls:
            yield chain
        else:
            # Proxies settle on the transport first, and never go back: each needs a chain for what is not HTTP.
            yield replace(chain, transport_protocol="raw_buffer")
            yield replace(chain, name=f"{chain.name}tls", transport_protocol="tls")


def is_told(scope: Scope, host: str, number: int, subset: str = "") -> bool:
    """Whether a port of a service is to be told that requests are carried, where mutual TLS is spoken to it."""
    backend, tuning = scope.backends.get(host), scope.tuning(host)
    port = backend.service.port(number) if backend else None
    if port is None or port.protocol is not Protocol.AUTO or backend_tls.holding(scope, host, number):
        return False
    rule = tuning.client_tls(number, subset) if tuning else None
    return rule is None or rule.mode is ClientTlsMode.ISTIO_MUTUAL


def with_requests(listener: Listener, serve: HttpConnections) -> Listener:
    """A listener for connections of any kind, where those that are HTTP are routed one request at a time."""
    chains = tuple(told_apart((FilterChain(name=serve.stat_prefix, serve=serve),), listener.chains))
    return replace(listener, chains=chains, patience=PATIENCE)


def _is_mesh(chain: FilterChain) -> bool:
    return chain.tls is not None and MESH_CERTIFICATE in chain.tls.certificates
