"""Simulated proxies: `python -m bench.fleet ADDRESS PORT COUNT NAMESPACES ROLE`. Each has a TCP connection; HTTP/2 is by hand, to be cheap.

Each behaves as an Envoy does: it subscribes to clusters, listeners, their endpoints and routes, over Delta xDS, and acknowledges
everything. Line by line on standard output, as JSON: `{"connected": ...}` when all have all; after a line with a number on standard
input, `{"first": ..., "p50": ..., "last": ..., "bytes": ...}` (monotonic seconds) when so many proxies have acknowledged a change.
"""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import time
from collections.abc import Iterator

import uvloop

from tulle.discovery import CDS, EDS, LDS, RDS
from tulle.discovery.node import to_metadata
from tulle.model.frozen import FrozenMap
from tulle.model.proxy import InboundPort, Node, Role
from tulle.protos import message, pb

HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
WIDE = 0x7FFFFFFF
FRAME = 16384
AT_ONCE = 64
"""Connections that are opened at the same time."""

HEAD = struct.Struct(">BHBBI")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return HEAD.pack(len(payload) >> 16, len(payload) & 0xFFFF, kind, flags, stream) + payload


def header(name: bytes, value: bytes) -> bytes:
    """A literal header without indexing (RFC 7541, 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name + bytes((len(value),)) + value


PATH = b"/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
REQUEST = b"\x83\x86" + header(b":path", PATH) + header(b":authority", b"x") + header(b"te", b"trailers")
REQUEST += header(b"content-type", b"application/grpc")
OPEN = PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HIHI", 4, WIDE, 5, FRAME))
OPEN += frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDE - 65535)) + frame(HEADERS, 4, 1, REQUEST)


class Fleet:
    """What all proxies together have seen."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.complete = 0
        self.bytes = 0
        self.expected = 0
        self.times: list[float] = []
        self.touched: set[int] = set()
        self.kinds: dict[str, str] = {}
        """Versions of clusters, and the name of what they refer to: looked into once for all proxies."""
        self.tables: dict[str, frozenset[str]] = {}
        """Versions of listeners, and the route tables that they refer to."""

    def arrived(self) -> None:
        self.complete += 1
        if self.complete == self.count:
            say(connected=time.monotonic(), bytes=self.bytes)

    def changed(self, proxy: int) -> None:
        if not self.expected or proxy in self.touched:
            return
        self.touched.add(proxy)
        self.times.append(time.monotonic())
        if len(self.times) == self.expected:
            say(first=self.times[0], p50=self.times[len(self.times) // 2], last=self.times[-1], bytes=self.bytes)
            self.expected = 0

    def expect(self, count: int) -> None:
        self.expected, self.bytes = count, 0
        self.times.clear()
        self.touched.clear()


def say(**words: float) -> None:
    print(json.dumps(words), flush=True)


class Proxy(asyncio.Protocol):
    def __init__(self, fleet: Fleet, number: int, node: bytes) -> None:
        self._fleet, self._number, self._node = fleet, number, node
        self._buffer = bytearray()
        self._body = bytearray()
        self._window = 65535
        self._unsent = bytearray()
        self._waiting = {CDS, LDS}
        self._asked: dict[str, set[str]] = {}
        self._complete = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.write(OPEN)
        first = pb.DeltaDiscoveryRequest(type_url=CDS)
        first.node.ParseFromString(self._node)
        self._request(first)
        self._request(pb.DeltaDiscoveryRequest(type_url=LDS))

    def connection_lost(self, exc: Exception | None) -> None:
        if exc:
            print(f"proxy {self._number} lost its connection: {exc}", file=sys.stderr)

    def _request(self, request: object) -> None:
        raw = request.SerializeToString()  # type: ignore[attr-defined]
        self._unsent += struct.pack(">BI", 0, len(raw)) + raw
        self._flush()

    def _flush(self) -> None:
        while self._unsent and self._window > 0:
            part = bytes(self._unsent[: min(FRAME, self._window)])
            del self._unsent[: len(part)]
            self._window -= len(part)
            self._transport.write(frame(DATA, 0, 1, part))

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        at = 0
        while len(buffer) - at >= 9:
            high, low, kind, flags, stream = HEAD.unpack_from(buffer, at)
            end = at + 9 + (high << 16 | low)
            if len(buffer) < end:
                break
            self._frame(kind, flags, stream, bytes(buffer[at + 9 : end]))
            at = end
        del buffer[:at]

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == DATA:
            self._data(payload)
        elif kind == SETTINGS and not flags & 1:
            self._transport.write(frame(SETTINGS, 1, 0, b""))
        elif kind == PING and not flags & 1:
            self._transport.write(frame(PING, 1, 0, payload))
        elif kind == WINDOW_UPDATE and stream == 1:
            self._window += struct.unpack(">I", payload)[0]
            self._flush()
        elif kind in (RST, GOAWAY):
            print(f"proxy {self._number}: the stream was ended: {payload[:200]!r}", file=sys.stderr)

    def _data(self, payload: bytes) -> None:
        self._fleet.bytes += len(payload)
        body = self._body
        body += payload
        while len(body) >= 5:
            length = int.from_bytes(body[1:5], "big")
            if len(body) < 5 + length:
                return
            response = pb.DeltaDiscoveryResponse.FromString(bytes(body[5 : 5 + length]))
            del body[: 5 + length]
            self._take(response)

    def _take(self, response: object) -> None:
        kind = response.type_url  # type: ignore[attr-defined]
        self._request(pb.DeltaDiscoveryRequest(type_url=kind, response_nonce=response.nonce))  # type: ignore[attr-defined]
        if self._complete:
            self._fleet.changed(self._number)
        if kind == CDS:
            self._follow(EDS, self._clusters(response))
        elif kind == LDS:
            self._follow(RDS, self._tables(response))
        self._waiting.discard(kind)
        if not self._waiting and not self._complete:
            self._complete = True
            self._fleet.arrived()

    def _follow(self, kind: str, names: set[str]) -> None:
        if names and kind not in self._asked:
            self._asked[kind] = names
            self._waiting.add(kind)
            self._request(pb.DeltaDiscoveryRequest(type_url=kind, resource_names_subscribe=sorted(names)))

    def _clusters(self, response: object) -> set[str]:
        known = self._fleet.kinds
        names = set()
        for resource in response.resources:  # type: ignore[attr-defined]
            if resource.version not in known:
                cluster = pb.Cluster.FromString(resource.resource.value)
                known[resource.version] = cluster.name if cluster.HasField("eds_cluster_config") else ""
            names.add(known[resource.version])
        return names - {""}

    def _tables(self, response: object) -> set[str]:
        known = self._fleet.tables
        names = set()
        for resource in response.resources:  # type: ignore[attr-defined]
            if resource.version not in known:
                known[resource.version] = frozenset(tables_of(resource.resource.value))
            names |= known[resource.version]
        return names


def tables_of(listener: bytes) -> Iterator[str]:
    """The names of the route tables that a listener asks for."""
    for chain in pb.Listener.FromString(listener).filter_chains:
        for filter_ in chain.filters:
            if filter_.typed_config.type_url == HTTP:
                manager = pb.HttpConnectionManager.FromString(filter_.typed_config.value)
                if manager.HasField("rds"):
                    yield manager.rds.route_config_name


def node(number: int, namespaces: int, role: Role) -> bytes:
    """A gateway, or a sidecar with one port and a forward proxy; `number` modulo `namespaces` is where it lives."""
    name, namespace = f"{role.value}~app-{number}", f"ns{number % namespaces}"
    if role is Role.GATEWAY:
        of = Node(id=name, role=role, namespace=namespace, labels=FrozenMap({"istio": "ingressgateway"}))
    else:
        port = InboundPort(service_port=8080, listen=10000, target=20000)
        of = Node(id=name, role=role, namespace=namespace, service="app", inbound=(port,), http_proxy=("127.0.0.1", 15080))
    made = message("envoy.config.core.v3.Node")(id=name, cluster="app", user_agent_name="fleet")
    made.metadata.update(to_metadata(of))
    return made.SerializeToString()


async def main(host: str, port: int, count: int, namespaces: int, role: Role) -> None:
    loop = asyncio.get_running_loop()
    fleet, gate = Fleet(count), asyncio.Semaphore(AT_ONCE)

    async def connect(number: int) -> None:
        async with gate:
            await loop.create_connection(lambda: Proxy(fleet, number, node(number, namespaces, role)), host, port)

    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    say(started=time.monotonic())
    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            tasks.create_task(connect(number))
    while line := await lines.readline():
        fleet.expect(int(line))
        say(expecting=int(line))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Role(sys.argv[5])))
