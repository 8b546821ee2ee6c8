"""The aggregated discovery service: feeds each client's `discovery.Stream` from gRPC, and sends what it says.

One pump per stream. Its memory is bounded: one response per kind of resource under way (the stream sees to that), and a mailbox for
one snapshot in which a newer one replaces an older one that the client was too slow to get.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.json_format import MessageToDict

from tulle.discovery import Acknowledged, Complete, Mode, Offer, Rejected, Remind, Reminded, Reminder, Request, Send, Shared, Stream
from tulle.discovery.events import Event
from tulle.discovery.node import from_envoy
from tulle.discovery.wire import parse
from tulle.logs import Log
from tulle.model.identity import Locality
from tulle.model.proxy import Node
from tulle.server.access.gate import Gate, NotAdmittedError, Proven
from tulle.server.guarded import Guarded
from tulle.translate.snapshot import Snapshot

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHODS = {"StreamAggregatedResources": Mode.SOTW, "DeltaAggregatedResources": Mode.DELTA}
OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 16 << 20),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.server_max_unrequested_time_in_server", 120),  # seconds in line when a whole fleet comes back at once
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
)

STREAM_ENDS = "the stream ends with its certificate; the next is open to a newer one"
NONE_SECURE: Mapping[str, grpc.ServerCredentials] = {}
log = Log("ads")


class Proxies(Protocol):
    """Who decides what proxies are to hold. All calls come from the event loop's thread and must not block."""

    def connected(self, node: Node) -> Snapshot:
        """A proxy is there: what it is to hold. A second one of the same id replaces the first.

        Raises ValueError, with a text for whoever runs the proxy, to turn it away.
        """
        ...

    def disconnected(self, node_id: str) -> None: ...

    def acknowledged(self, node_id: str, type_url: str, snapshot: Snapshot) -> None:
        """The proxy took over all of the snapshot's resources of this kind."""
        ...

    def complete(self, node_id: str, snapshot: Snapshot) -> None:
        """The proxy holds all of the snapshot, and all that it refers to."""
        ...

    def rejected(self, node_id: str, rejection: Rejected) -> None: ...


@dataclass(slots=True, kw_only=True)
class Counters:
    """Counts since the start, but for `streams`, which is how many there are now."""

    streams: int = 0
    connected: int = 0
    refused: int = 0
    superseded: int = 0
    pushes: int = 0
    bytes: int = 0
    acks: int = 0
    nacks: int = 0


class Ads:
    """The server. `patience`, `linger` and `retry`: see `discovery.Reminder`, in seconds."""

    def __init__(
        self,
        proxies: Proxies,
        *,
        patience: float = 3.0,
        linger: float = 10.0,
        retry: float = 10.0,
        storm: int = 32,
        beside: Sequence[Any] = (),
        gate: Gate | None = None,
    ) -> None:
        """`storm`: how many clients may be at their first answer at the same time; the others wait in line. `beside`: other services.

        `gate` says who those are that come over TLS; without one nobody can.
        """
        self.counters = Counters()
        self._proxies = proxies
        self.seconds = {Reminder.PATIENCE: patience, Reminder.LINGER: linger, Reminder.RETRY: retry}
        self._gate = gate
        self._beside = tuple(Guarded(handler, self._proven) for handler in beside) if gate else tuple(beside)
        self._storm = asyncio.Semaphore(storm)
        self._shared = Shared()
        self._sessions: dict[str, _Session] = {}
        self._server: grpc.aio.Server | None = None

    async def start(self, addresses: Sequence[str], secure: Mapping[str, grpc.ServerCredentials] = NONE_SECURE) -> tuple[int, ...]:
        """Listens on `unix:/path` (for this user only) and `host:port` (port 0: any free one); returns the ports, 1 for a Unix socket.

        The addresses of `secure` come with what they show and ask for. Raises OSError when an address cannot be had.
        """
        handlers = {name: _handler(self, mode) for name, mode in METHODS.items()}
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers), *self._beside))
        ports = tuple(_listen(self._server, address, secure.get(address)) for address in addresses)
        await self._server.start()
        return ports

    @asynccontextmanager
    async def serving(
        self, addresses: Sequence[str], secure: Mapping[str, grpc.ServerCredentials] = NONE_SECURE, grace: float = 1.0
    ) -> AsyncIterator[tuple[int, ...]]:
        """Serves until the block ends; see `start`."""
        ports = await self.start(addresses, secure)
        try:
            yield ports
        finally:
            await self.stop(grace)

    async def stop(self, grace: float = 1.0) -> None:
        """Ends all streams; clients keep what they have and look for another control plane."""
        for session in tuple(self._sessions.values()):
            session.end(grpc.StatusCode.UNAVAILABLE, "the control plane is stopping")
        if self._server:
            await self._server.stop(grace)

    def offer(self, node_id: str, snapshot: Snapshot) -> None:
        """What this proxy is to hold from now on. Nothing happens when it is not connected."""
        if session := self._sessions.get(node_id):
            session.offer(snapshot)

    def holders(self) -> frozenset[str]:
        """The memberships of all that are connected from other machines."""
        return frozenset(session.proven.holder for session in self._sessions.values() if session.proven)

    def expel(self, holder: str) -> tuple[str, ...]:
        """Ends the streams of a membership that is none any more. The ids of its nodes."""
        if self._gate:
            self._gate.forget(holder)
        gone = [session for session in self._sessions.values() if session.proven and session.proven.holder == holder]
        for session in gone:
            log.warning("a proxy is sent away: its membership has ended", proxy=session.node.id)
            session.end(grpc.StatusCode.PERMISSION_DENIED, "its membership has ended: its machine must join anew")
        return tuple(session.node.id for session in gone)

    def version(self, node_id: str) -> str:
        """The program and release of a connected proxy, such as `envoy 1.40.0`; empty when it is not connected."""
        session = self._sessions.get(node_id)
        return session.version if session else ""

    def acknowledged(self, node_id: str, command: Acknowledged) -> None:
        self._proxies.acknowledged(node_id, command.type_url, command.snapshot)

    def complete(self, node_id: str, command: Complete) -> None:
        self._proxies.complete(node_id, command.snapshot)

    def rejected(self, node_id: str, command: Rejected) -> None:
        self._proxies.rejected(node_id, command)

    def count(self, request: Request) -> None:
        if request.error is not None:
            self.counters.nacks += 1
        elif request.nonce:
            self.counters.acks += 1

    def settled(self, node_id: str) -> bool:
        """Whether the proxy is connected and has exactly what it was offered last, of all that it asks for."""
        session = self._sessions.get(node_id)
        return session is not None and session.settled

    async def serve(self, mode: Mode, requests: AsyncIterator[bytes], context: Any) -> None:
        """One stream, from its first request to its end."""
        first = await anext(requests, None)
        if first is None:
            return
        with ExitStack() as stack:
            async with self._storm:
                try:
                    session = stack.enter_context(self._session(mode, first, await self._proven(context)))
                except ValueError as error:
                    await self._turn_away(context, str(error))
                    return
                except NotAdmittedError as error:
                    await self._turn_away(context, str(error), grpc.StatusCode.PERMISSION_DENIED)
                    return
                await session.flush(context)
            await session.run(requests, context)
        if session.verdict:
            await context.abort(*session.verdict)

    async def _turn_away(self, context: Any, why: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT) -> None:
        self.counters.refused += 1
        log.warning("a proxy was turned away", peer=context.peer(), why=why)
        await context.abort(code, why)

    async def _proven(self, context: Any) -> Proven | None:
        """What the other side has proven; None over loopback and Unix sockets, where nothing needs to be. Raises NotAdmittedError."""
        said = context.auth_context()
        if b"insecure" in said.get("transport_security_type", ()):
            return None
        shown = said.get("x509_pem_cert")
        if self._gate is None or not shown:
            raise NotAdmittedError("nobody is let in over TLS here without a certificate")
        return await self._gate.proven(bytes(shown[0]))

    @contextmanager
    def _session(self, mode: Mode, first: bytes, proven: Proven | None) -> Iterator[_Session]:
        request, message = parse(first, mode)
        node = read_node(message)
        if self._gate and proven:
            self._gate.check(proven, node)
        previous = self._sessions.get(node.id)
        if previous and not _is_same(previous.node, node):
            raise ValueError(f"a proxy {node.id!r} is connected already; one that runs beside it needs another name")
        snapshot = self._proxies.connected(node)
        session = _Session(self, node, Stream(mode, snapshot, self._shared), version(message), proven)
        if previous:
            self.counters.superseded += 1
            previous.end(grpc.StatusCode.ABORTED, f"another proxy has connected as {node.id!r}")
        self._sessions[node.id] = session
        self.counters.streams += 1
        self.counters.connected += 1
        try:
            session.feed(request)
            yield session
        finally:
            session.close()
            self.counters.streams -= 1
            if self._sessions.get(node.id) is session:
                del self._sessions[node.id]
                self._proxies.disconnected(node.id)


class _Session:
    """One client's stream and its timers. All state is changed between two awaits of the one event loop."""

    def __init__(self, ads: Ads, node: Node, stream: Stream, version: str, proven: Proven | None) -> None:
        self.node = node
        self.version = version
        self.proven = proven
        self.verdict: tuple[grpc.StatusCode, str] | None = None
        """Why the stream is ended from this side."""
        self._ads, self._id, self._stream = ads, node.id, stream
        self._outbox: deque[bytes] = deque()
        self._mailbox: Snapshot | None = None
        self._wake = asyncio.Event()
        self._closed = False
        self._timers: dict[Reminder, asyncio.TimerHandle] = {}
        self._life = self._bound(proven.until) if proven else None

    def _bound(self, until: float) -> asyncio.TimerHandle:
        """The stream ends with the certificate; by then the proxy has another, and comes again."""
        end = (grpc.StatusCode.UNAUTHENTICATED, STREAM_ENDS)
        return asyncio.get_running_loop().call_later(max(0.0, until - time.time()), self.end, *end)

    @property
    def settled(self) -> bool:
        return self._mailbox is None and not self._outbox and self._stream.idle

    def offer(self, snapshot: Snapshot) -> None:
        self._mailbox = snapshot
        self._wake.set()

    def end(self, code: grpc.StatusCode, text: str) -> None:
        self.verdict = code, text
        self.close()

    def close(self) -> None:
        self._closed = True
        if self._life:
            self._life.cancel()
        for timer in self._timers.values():
            timer.cancel()
        self._wake.set()

    def feed(self, event: Event) -> None:
        """No await from here to the last command: events must not overtake each other."""
        if self._closed:
            return
        for command in self._stream.on(event):
            match command:
                case Send():
                    self._queue(command)
                case Acknowledged():
                    self._ads.acknowledged(self._id, command)
                case Complete():
                    self._ads.complete(self._id, command)
                case Rejected():
                    self._ads.rejected(self._id, command)
                case Remind():
                    self._remind(command)

    def _queue(self, command: Send) -> None:
        self._outbox.append(command.body + command.nonce)
        self._wake.set()

    def _remind(self, command: Remind) -> None:
        if timer := self._timers.get(command.reminder):
            timer.cancel()
        seconds = self._ads.seconds[command.reminder]
        self._timers[command.reminder] = asyncio.get_running_loop().call_later(seconds, self.feed, Reminded(token=command.token))

    async def run(self, requests: AsyncIterator[bytes], context: Any) -> None:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read(requests))
            while not self._closed:
                await self._wake.wait()
                self._wake.clear()
                await self.flush(context)
            reader.cancel()

    async def flush(self, context: Any) -> None:
        """Sends all there is to send. A newer snapshot is looked at only when the client has taken the responses before it."""
        while not self._closed:
            if not self._outbox and self._mailbox is not None:
                snapshot, self._mailbox = self._mailbox, None
                self.feed(Offer(snapshot=snapshot))
            if not self._outbox:
                return
            message = self._outbox.popleft()
            self._ads.counters.pushes += 1
            self._ads.counters.bytes += len(message)
            await context.write(message)

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        try:
            async for raw in requests:
                request, message = parse(raw, self._stream.mode)
                self._check(message)
                self._ads.count(request)
                self.feed(request)
        except ValueError as error:
            self.end(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        finally:
            self.close()

    def _check(self, message: Any) -> None:
        if message is not None and message.id not in ("", self._id):
            raise ValueError(f"a stream belongs to one node: it was opened by {self._id!r}, not by {message.id!r}")


def _is_same(one: Node, other: Node) -> bool:
    """Whether two that have one name are the same proxy, which has come again."""
    return (one.instance, one.namespace, one.service_account) == (other.instance, other.namespace, other.service_account)


def read_node(message: Any) -> Node:
    """The Node out of an Envoy's node message. Raises ValueError when there is none, or for what `from_envoy` refuses."""
    if message is None:
        raise ValueError("the first request of a stream must bear the node")
    locality = Locality(region=message.locality.region, zone=message.locality.zone, subzone=message.locality.sub_zone)
    return from_envoy(message.id, message.cluster, locality, MessageToDict(message.metadata))


def version(message: Any) -> str:
    """The client's program and release, such as `envoy 1.40.0`."""
    release = message.user_agent_build_version.version
    text = f"{release.major_number}.{release.minor_number}.{release.patch}"
    if not message.HasField("user_agent_build_version"):
        text = message.user_agent_version
    return f"{message.user_agent_name} {text}".strip()


def _handler(ads: Ads, mode: Mode) -> Any:
    async def serve(requests: AsyncIterator[bytes], context: Any) -> None:
        await ads.serve(mode, requests, context)

    return grpc.stream_stream_rpc_method_handler(serve)


def _listen(server: grpc.aio.Server, address: str, secure: grpc.ServerCredentials | None) -> int:
    try:
        port: int = server.add_secure_port(address, secure) if secure else server.add_insecure_port(address)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {address} for proxies: {error}") from error
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).chmod(0o600)
    return port
