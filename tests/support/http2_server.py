"""A server that speaks HTTP/2 and nothing else, in plain text or over TLS.

CONNECT, extended or not, becomes an echo; the rest is told what it asked.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings


class _Connection(asyncio.Protocol):
    def __init__(self, name: str) -> None:
        self._name = name
        self._core = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self._core.local_settings = h2.settings.Settings(client=False, initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        self._tunnels: set[int] = set()
        self._asked: dict[int, list[tuple[str, str]]] = {}

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._core.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._core.receive_data(data):
                self._take(event)
        except h2.exceptions.ProtocolError:
            self._flush()
            self._transport.close()
            return
        self._flush()

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._asked[event.stream_id] = list(event.headers)
            if dict(event.headers)[":method"] == "CONNECT":
                self._tunnels.add(event.stream_id)
                self._core.send_headers(event.stream_id, [(":status", "200"), ("x-name", self._name)])
        elif isinstance(event, h2.events.DataReceived):
            self._core.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if event.stream_id in self._tunnels:
                self._core.send_data(event.stream_id, event.data)
        elif isinstance(event, h2.events.StreamEnded):
            self._end(event.stream_id)

    def _end(self, stream: int) -> None:
        if stream in self._tunnels:
            self._core.end_stream(stream)
            return
        tls = self._transport.get_extra_info("ssl_object")
        said = {"name": self._name, "version": "2", "headers": self._asked[stream], "alpn": tls.selected_alpn_protocol() if tls else None}
        self._core.send_headers(stream, [(":status", "200"), ("x-name", self._name)])
        self._core.send_data(stream, json.dumps(said).encode(), end_stream=True)

    def _flush(self) -> None:
        self._transport.write(self._core.data_to_send())


@asynccontextmanager
async def http2_server(name: str, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Its port."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(name), "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
