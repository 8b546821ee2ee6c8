"""Connections to what is checked."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

from tulle.reach import ANYWHERE
from tulle.registry.catalog import Probe


def split(where: str) -> tuple[str, int]:
    """Host and port. Raises ValueError."""
    host, colon, port = where.rpartition(":")
    if not colon or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{where!r} is not HOST:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def tls(probe: Probe, protocols: Sequence[str] = ()) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if probe.tls_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def issuers() -> bytes | None:
    """The certificates of those whom this machine trusts, as PEM; None where they are not in one file. gRPC would use a list of its own."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None


def _check(writer: asyncio.StreamWriter) -> None:
    peer = writer.get_extra_info("peername")
    if peer is None:
        raise ConnectionResetError("the connection was reset as soon as it was made")
    if not ANYWHERE(ip_address(peer[0])):
        raise PermissionError("nobody is asked at such an address")


@asynccontextmanager
async def dialled(
    where: str, probe: Probe, context: ssl.SSLContext | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A new connection, closed at the end without waiting for the other's farewell. Raises OSError (ssl.SSLError is one), ValueError.

    What a check is told it shows. So it is told nothing where a machine's credentials may lie: PermissionError, an OSError.
    """
    host, port = split(where)
    name = (probe.tls_server_name or host) if context else None
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    try:
        _check(writer)
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
