"""Clients over TLS that show what they saw of the handshake."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.certificates import Ca, Pair


def context(ca: Ca, own: Pair | None = None, *, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
    """Trusts one authority alone, and shows a certificate where it has one."""
    made = ssl.create_default_context(cadata=ca.pem.decode())
    if own:
        with tempfile.TemporaryDirectory() as folder:
            made.load_cert_chain(*own.write(Path(folder), "own"))
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


def unverified(own: Pair | None, *alpn: str) -> ssl.SSLContext:
    """Believes every server: for tests of who is let in by one."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    made.set_alpn_protocols(list(alpn))
    if own:
        with tempfile.TemporaryDirectory() as folder:
            made.load_cert_chain(*own.write(Path(folder), "own"))
    return made


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    serial: int
    """Of the server's certificate."""
    version: str
    cipher: str
    alpn: str | None

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def get(port: int, host: str, tls: ssl.SSLContext, path: str = "/", *, authority: str = "") -> Answer:
    """One request over TLS. Raises ssl.SSLError or OSError where the handshake, or what follows it, is refused.

    `authority`: the host of the request, where it is another one than the handshake asks for.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, tls.wrap_socket(plain, server_hostname=host) as wrapped:
        shown = wrapped.getpeercert() or {}
        shaken: dict[str, Any] = {
            "serial": int(str(shown["serialNumber"]), 16),
            "version": wrapped.version() or "",
            "cipher": (wrapped.cipher() or ("",))[0],
            "alpn": wrapped.selected_alpn_protocol(),
        }
        wrapped.sendall(f"GET {path} HTTP/1.1\r\nhost: {authority or host}\r\nconnection: close\r\n\r\n".encode())
        found = b""
        while data := wrapped.recv(65536):
            found += data
        if not found:
            raise ConnectionResetError("closed without an answer")
        head, _, body = found.partition(b"\r\n\r\n")
        return Answer(status=int(head.split()[1]), body=body, **shaken)


async def asked(port: int, host: str, tls: ssl.SSLContext, path: str = "/", *, authority: str = "") -> Answer:
    return await asyncio.to_thread(get, port, host, tls, path, authority=authority)


async def refused(port: int, host: str, tls: ssl.SSLContext) -> bool:
    """Whether no request comes through."""
    try:
        await asked(port, host, tls)
    except OSError:
        return True
    return False


async def program(*command: str, said: bytes = b"") -> tuple[int, str]:
    """Runs a client to its end: exit code, and all that it printed."""
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = await process.communicate(said)
    return process.returncode or 0, output.decode(errors="replace")


async def openssl(port: int, *arguments: str) -> str:
    """What `openssl s_client` says of a handshake."""
    return (await program("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments))[1]
