"""HTTP/3 at gateways: HTTPS servers that are asked to speak it are served over QUIC, too, on the UDP port of the same number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import cast

from tulle.compile import names, protocols
from tulle.compile.gatewayapi.servers import ListenerServer
from tulle.compile.rules import Rules
from tulle.compile.served import Served
from tulle.model.identity import selects
from tulle.model.proxy import HttpConnections, Listener
from tulle.model.resource import Key, Resource, Source
from tulle.model.service import Protocol
from tulle.resources.annotations import HTTP3, Topology, http3, proxy_annotation
from tulle.resources.networking.gateway import Gateway, Server
from tulle.resources.networking.tls import ServerTlsMode, TlsVersion

PROTOCOLS = ("h3",)
"""Offered by ALPN over QUIC."""
_OLD = (TlsVersion.TLSV1_0, TlsVersion.TLSV1_1, TlsVersion.TLSV1_2)


def ends_https(spec: Server) -> bool:
    """Whether a server is one that could speak HTTP/3: of HTTP inside of TLS that is ended."""
    passing = (ServerTlsMode.PASSTHROUGH, ServerTlsMode.AUTO_PASSTHROUGH)
    return protocols.named(spec.port.protocol) is Protocol.HTTPS and spec.tls is not None and spec.tls.mode not in passing


def unfit(spec: Server, topology: Topology) -> str:
    """Why a server that ends HTTPS cannot speak HTTP/3; empty where it can."""
    if topology.proxy_protocol is not None:
        return "callers begin with a header of the PROXY protocol, which QUIC has no place for"
    if _asks_callers(spec):
        return "over QUIC callers cannot be asked for certificates"
    return "QUIC needs TLS 1.3, and maxProtocolVersion is older" if spec.tls and spec.tls.max_protocol_version in _OLD else ""


def _asks_callers(spec: Server) -> bool:
    if isinstance(spec, ListenerServer):
        return spec.ended is not None and bool(spec.ended.asks or spec.ended.authorities)
    return spec.tls is not None and spec.tls.mode is not ServerTlsMode.SIMPLE


def offered(server: Served) -> bool:
    """Whether a server speaks HTTP/3, too, as far as itself is concerned."""
    return server.http3.on and ends_https(server.spec) and not unfit(server.spec, server.topology)


def told(group: Iterable[Served]) -> int:
    """The UDP port that callers of servers on one port are told of; 0 where none of them speaks HTTP/3."""
    return next((server.http3.number or server.port for server in group if offered(server)), 0)


def over_quic(found: Listener) -> Listener | None:
    """The chains of a listener that speak HTTP/3, too, as a listener of their own."""
    chains = tuple(
        replace(c, tls=replace(c.tls, protocols=PROTOCOLS))
        for c in found.chains
        if c.tls and c.tls.trust is None and isinstance(c.serve, HttpConnections) and c.serve.http3
    )
    if not chains:
        return None
    return replace(found, name=names.quic_listener_name(found.address, found.port), chains=chains, udp=True, quic=True)


def in_vain(rules: Rules, key: Key) -> Iterator[tuple[Source, str]]:
    """What a Gateway, of either API, asks for in vain."""
    own = next((g for g in rules.gateways if g.key == key), None)
    if own is None or not http3(own.annotations).on:
        return
    picked = own.spec.selector
    together = (g for g in rules.gateways if selects(g.spec.selector, picked) or selects(picked, g.spec.selector))
    yield from _problems(own, together)


def _problems(gateway: Resource[Gateway], together: Iterable[Resource[Gateway]]) -> Iterator[tuple[Source, str]]:
    """`together`: all that the same proxies serve."""
    topology = proxy_annotation(gateway.annotations).topology
    datagrams = {(s.port.number, s.bind) for g in together for s in g.spec.servers if protocols.named(s.port.protocol) is Protocol.UDP}
    servers = [(i, s) for i, s in enumerate(gateway.spec.servers) if ends_https(s)]
    if not servers:
        yield gateway.at("metadata"), f"{HTTP3} has no effect: no server of this Gateway ends HTTPS"
    for index, spec in servers:
        why = unfit(spec, topology)
        if not why and (spec.port.number, spec.bind) in datagrams:
            why = f"another server has the datagrams of port {spec.port.number}"
        if why:
            source = cast("Source", spec.section.source) if isinstance(spec, ListenerServer) else gateway.at(f"spec.servers[{index}]")
            yield source, f"not served by HTTP/3: {why}"
