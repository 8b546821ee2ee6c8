"""A client of HTTP/3 (aioquic) that tells what it saw: status, headers, body, and which certificate was shown."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, QuicEvent, StreamReset

from support.exchange import Exchange, Headers


class Http3(QuicConnectionProtocol):
    """A connection. Requests may overlap."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]
        self._http: H3Connection | None = None
        self._open: dict[int, Exchange] = {}
        self.closed: ConnectionTerminated | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        elif isinstance(event, ConnectionTerminated):
            self.closed = event
            for one in self._open.values():
                one.end()
        elif isinstance(event, StreamReset) and (one := self._open.get(event.stream_id)):
            one.given_up(event.error_code)
        for got in self._http.handle_event(event) if self._http else ():
            if isinstance(got, HeadersReceived | DataReceived) and (one := self._open.get(got.stream_id)):
                _note(one, got)

    def begin(self, headers: Sequence[tuple[str, str]], body: bytes = b"", *, end: bool = True) -> tuple[int, Exchange]:
        """Sends a request with exactly these headers, pseudo headers included; its stream, and what comes of it."""
        assert self._http, "the handshake is not over"
        stream = self._quic.get_next_available_stream_id()
        exchange = self._open[stream] = Exchange()
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self._http.send_headers(stream, fields, end_stream=end and not body)
        if body:
            self._http.send_data(stream, body, end_stream=end)
        self.transmit()
        return stream, exchange

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """More of a request."""
        assert self._http
        self._http.send_data(stream, data, end_stream=end)
        self.transmit()

    async def ask(self, host: str, path: str = "/", *, method: str = "GET", headers: Headers = [], body: bytes = b"") -> Exchange:  # noqa: B006
        """A request and its whole answer."""
        pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        _, exchange = self.begin([*pseudo, *headers], body)
        return await exchange.until()

    @property
    def serial(self) -> int:
        """Of the certificate that the server showed."""
        shown = self._quic.tls._peer_certificate
        return shown.serial_number if shown else 0


def _note(one: Exchange, got: HeadersReceived | DataReceived) -> None:
    if isinstance(got, DataReceived):
        one.more(got.data)
    else:
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in got.headers]
        if one.status:
            one.trailers = fields
        else:
            one.answered(fields)
    if got.stream_ended:
        one.end()


@asynccontextmanager
async def http3(port: int, name: str = "", *, ca: str = "", patience: float = 60) -> AsyncIterator[Http3]:
    """A connection to a port of this machine. `name`: asked for in TLS; `ca`: the file of the only authority that is trusted;
    `patience`: seconds without a datagram until the server is taken for dead.

    Raises ConnectionError where the server closes it, TimeoutError where nobody answers.
    """
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name or None, idle_timeout=patience)
    if ca:
        configuration.load_verify_locations(ca)
    else:
        configuration.verify_mode = ssl.CERT_NONE
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(60):
            made = connect("127.0.0.1", port, configuration=configuration, create_protocol=Http3)
            protocol = await stack.enter_async_context(made)
        assert isinstance(protocol, Http3)
        yield protocol
