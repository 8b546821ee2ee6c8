"""A control plane as small as it gets, with the real discovery server: what is registered is what its gateways serve.

Every sidecar forwards its inbound ports to its application. Every gateway has one HTTP port, and balances over all that pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from support.views import cluster, host, route, table, to
from tulle.model.proxy import Cluster, Direction, EndpointGroup, FilterChain, HttpConnections, Layer, Listener, Node, ProxyView, Role
from tulle.model.routing import RouteTable
from tulle.model.service import Endpoint, Health, Registration
from tulle.registry.form import parse
from tulle.server.ads import Ads
from tulle.translate.snapshot import Snapshot
from tulle.translate.translator import Translator


@dataclass
class SmallControl:
    """`seen` holds every word of the agents, in order: (method, id, health)."""

    gateway_port: int = 0
    registrations: dict[str, Registration] = field(default_factory=dict)
    seen: list[tuple[str, str, str]] = field(default_factory=list)
    nodes: dict[str, Node] = field(default_factory=dict)
    rejections: list[object] = field(default_factory=list)
    api: str = ""
    xds: str = ""

    def __post_init__(self) -> None:
        self._translator = Translator()
        self.ads = Ads(self)

    @asynccontextmanager
    async def running(self, api_port: int = 0, xds_port: int = 0) -> AsyncIterator[SmallControl]:
        (xds,) = await self.ads.start([f"127.0.0.1:{xds_port}"])
        server = await asyncio.start_server(self._serve, "127.0.0.1", api_port)
        self.api = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self.xds = f"127.0.0.1:{xds}"
        try:
            yield self
        finally:
            server.close()
            await self.ads.stop(0)

    def connected(self, node: Node, *_version: str) -> Snapshot:
        self.nodes[node.id] = node
        return self._snapshot(node)

    def disconnected(self, node_id: str) -> None:
        self.nodes.pop(node_id, None)

    def acknowledged(self, _node_id: str, _type_url: str, _snapshot: Snapshot) -> None:
        """What is settled is asked of the server."""

    def complete(self, _node_id: str, _snapshot: Snapshot) -> None:
        """As above."""

    def rejected(self, _node_id: str, rejection: object) -> None:
        self.rejections.append(rejection)

    def passing(self) -> list[Registration]:
        return [r for r in self.registrations.values() if r.health is Health.PASSING]

    def _snapshot(self, node: Node) -> Snapshot:
        layer = self._gateway(node) if node.role is Role.GATEWAY else _sidecar(node)
        return self._translator.snapshot(ProxyView(layers=(layer,)))

    def _gateway(self, node: Node) -> Layer:
        everything = table("all", host("all", route(None, to("all")), domains=("*",)))
        ends = tuple(Endpoint(address=r.address, port=r.ports[0].target) for r in self.passing())
        return Layer(
            listeners=(_http_listener(node.bind, self.gateway_port, everything, Direction.OUTBOUND),),
            clusters=(cluster("all"),),
            endpoints=(EndpointGroup(name="all", endpoints=ends),),
        )

    def _offer(self) -> None:
        for node in self.nodes.values():
            if node.role is Role.GATEWAY:
                self.ads.offer(node.id, self._snapshot(node))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.lower().startswith("content-length:")), 0)
        if "/agents/" in target or "/proxy-config" in target:
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            await writer.drain()
            writer.close()
            return
        status = await self._answer(method, unquote(urlsplit(target).path.rpartition("/")[2]), await reader.readexactly(length))
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def _answer(self, method: str, id_: str, body: bytes) -> str:
        if method == "PUT":
            said = self.registrations[id_] = parse(id_, body)
            self.seen.append((method, id_, said.health.value))
            self._offer()
            return "200 OK"
        self.seen.append((method, id_, ""))
        self.registrations.pop(id_, None)
        self._offer()
        while not all(self.ads.settled(n.id) for n in self.nodes.values() if n.role is Role.GATEWAY):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)
        return "200 OK"


def _sidecar(node: Node) -> Layer:
    listeners, clusters = [], []
    for port in node.inbound:
        name = f"inbound|{port.service_port}||"
        clusters.append(_application(name, port.target_address, port.target))
        serves = table(name, host(name, route(None, to(name)), domains=("*",)))
        listeners.append(_http_listener(port.listen_address, port.listen, serves, Direction.INBOUND))
    return Layer(listeners=tuple(listeners), clusters=tuple(clusters))


def _application(name: str, address: str, port: int) -> Cluster:
    return cluster(name, endpoints=(Endpoint(address=address, port=port),))


def _http_listener(address: str, port: int, routes: RouteTable, direction: Direction) -> Listener:
    serve = HttpConnections(stat_prefix=f"{address}_{port}", routes=routes)
    return Listener(name=f"{address}_{port}", address=address, port=port, direction=direction, chains=(FilterChain(name="", serve=serve),))
