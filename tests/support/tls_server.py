"""A server over TLS that answers each request with what it saw of the handshake."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.certificates import Ca, Pair


class TlsServer:
    """Answers each request with what it saw of TLS."""

    def __init__(self, folder: Path, pair: Pair, *, asks: Ca | None = None, alpn: tuple[str, ...] = ()) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(*pair.write(folder, str(pair.serial)))
        self._tls.sni_callback = lambda wrapped, name, _context: setattr(wrapped, "asked_for", name or "")
        if alpn:
            self._tls.set_alpn_protocols(list(alpn))
        if asks:
            self._tls.verify_mode = ssl.CERT_REQUIRED
            self._tls.load_verify_locations(cadata=asks.pem.decode())

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0, ssl=self._tls)
        async with server:
            yield server.sockets[0].getsockname()[1]

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            shown: Any = writer.get_extra_info("peercert")
            said = {
                "sni": getattr(writer.get_extra_info("ssl_object"), "asked_for", ""),
                "caller": dict(pair for part in shown["subject"] for pair in part)["commonName"] if shown else "",
                "host": next((line[6:] for line in head.split("\r\n") if line.lower().startswith("host: ")), ""),
            }
            body = json.dumps(said).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
