"""A client of HTTP/2 that sends requests exactly as given, and streams in both directions: in plain text, or over TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from support.exchange import Exchange


class _Staying(h2.connection.H2Connection):
    """The library takes a connection for closed once the server takes no more requests; what is under way goes on (RFC 9113, 6.8)."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        received = super()._receive_goaway_frame(frame)
        if not frame.error_code:
            self.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        return received


class Http2:
    """A connection. Requests may overlap."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, stays: bool) -> None:
        config = h2.config.H2Configuration(
            client_side=True, header_encoding="latin-1", validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.core = (_Staying if stays else h2.connection.H2Connection)(config)
        self._reader, self._writer = reader, writer
        self._open: dict[int, Exchange] = {}
        self.settled = asyncio.Event()
        """The server has told of its settings."""
        self.closed = False
        self.leaving = False
        """The server has said that it takes no more requests here (GOAWAY)."""

    async def run(self) -> None:
        """Takes what comes until the connection ends."""
        try:
            while data := await self._reader.read(65536):
                for event in self.core.receive_data(data):
                    self._take(event)
                self._flush()
        except (OSError, h2.exceptions.ProtocolError):
            pass
        finally:
            self._over()

    def _over(self) -> None:
        self.closed = True
        for one in self._open.values():
            one.end()

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.RemoteSettingsChanged):
            self.settled.set()
        elif isinstance(event, h2.events.ConnectionTerminated):
            self.leaving = True
            if event.error_code:
                self._over()
        one = self._open.get(getattr(event, "stream_id", None) or 0)
        if one is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            one.answered(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            one.more(event.data)
            self.core.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            one.trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamReset):
            one.given_up(int(event.error_code))
        elif isinstance(event, h2.events.StreamEnded):
            one.end()

    def _flush(self) -> None:
        self._writer.write(self.core.data_to_send())

    @property
    def takes_extended_connect(self) -> bool:
        """Whether the server offers it (RFC 8441)."""
        return bool(self.core.remote_settings.enable_connect_protocol)

    def begin(self, headers: Sequence[tuple[str, str]], body: bytes = b"", *, end: bool = True) -> tuple[int, Exchange]:
        """Sends a request with exactly these headers, pseudo headers included; its stream, and what comes of it."""
        stream = self.core.get_next_available_stream_id()
        exchange = self._open[stream] = Exchange()
        self.core.send_headers(stream, list(headers), end_stream=end and not body)
        if body:
            self.core.send_data(stream, body, end_stream=end)
        self._flush()
        return stream, exchange

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """More of a request; small pieces only."""
        self.core.send_data(stream, data, end_stream=end)
        self._flush()

    async def ask(self, host: str, path: str = "/", *, method: str = "GET", scheme: str = "http", headers: Sequence[Any] = ()) -> Exchange:
        """A request and its whole answer."""
        pseudo = [(":method", method), (":scheme", scheme), (":authority", host), (":path", path)]
        _, exchange = self.begin([*pseudo, *headers])
        return await exchange.until()


@asynccontextmanager
async def http2(port: int, *, tls: ssl.SSLContext | None = None, name: str = "", stays: bool = False) -> AsyncIterator[Http2]:
    """A connection to a port of this machine, with prior knowledge; over TLS the context must offer `h2`.

    `stays`: hears the answers that come after the server has said that it takes no more requests.
    """
    more = {"ssl": tls, "server_hostname": name} if tls else {}
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **more)
    client = Http2(reader, writer, stays=stays)
    client.core.initiate_connection()
    client._flush()
    task = asyncio.get_running_loop().create_task(client.run())
    try:
        async with asyncio.timeout(60):
            await client.settled.wait()
        yield client
    finally:
        writer.close()
        await task
