"""A real ACME authority of one test, Debian's pebble, with a name server that says that every host is this machine."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.carried import until
from support.certificates import Ca
from support.running import free_port

needs_pebble = pytest.mark.skipif(
    not (shutil.which("pebble") and shutil.which("pebble-challtestsrv")), reason="needs Debian's package pebble"
)
KEY_ID, MAC = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
"""An account outside of ACME (RFC 8555, 7.3.4)."""


@dataclass(frozen=True)
class Pebble:
    """`server` is its directory, `ca_file` vouches for it, `http` and `tls` are the ports that it asks on."""

    server: str
    ca_file: Path
    http: int
    tls: int
    management: int
    log: Path

    async def roots(self) -> str:
        """Who vouches for the certificates that it gives."""
        return await asyncio.to_thread(self._get, "/roots/0")

    def issuer(self, more: str = "") -> str:
        """As a Certificate names it."""
        return f"{{server: {self.server}, caFile: {self.ca_file}, termsOfServiceAgreed: true{more}}}"

    def _get(self, path: str) -> str:
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        with urllib.request.urlopen(f"https://127.0.0.1:{self.management}{path}", context=trust) as answer:
            return str(answer.read().decode())


@contextmanager
def pebble(folder: Path, *, http: int, tls: int, binding: bool = False, life: int = 90 * 86400, **environment: str) -> Iterator[Pebble]:
    """Runs until the block ends; certificates hold for `life` seconds. Turns down a nonce now and then, as it always does."""
    ca = Ca("the authority's own")
    certificate, key = ca.issue("localhost", "127.0.0.1").write(folder, "pebble")
    (folder / "pebble-ca.pem").write_bytes(ca.pem)
    port, management, names, of_names = free_port(), free_port(), free_port(), free_port()
    config: dict[str, Any] = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": certificate,
        "privateKey": key,
        "httpPort": http,
        "tlsPort": tls,
        "certificateValidityPeriod": life,
    }
    if binding:
        config |= {"externalAccountBindingRequired": True, "externalAccountMACKeys": {KEY_ID: MAC}}
    (folder / "pebble.json").write_text(json.dumps({"pebble": config}))
    resolver = ["pebble-challtestsrv", "-management", f"127.0.0.1:{of_names}", "-dns01", f"127.0.0.1:{names}", "-defaultIPv6", ""]
    authority = ["pebble", "-config", str(folder / "pebble.json"), "-dnsserver", f"127.0.0.1:{names}"]
    made = Pebble(f"https://127.0.0.1:{port}/dir", folder / "pebble-ca.pem", http, tls, management, folder / "pebble.log")
    with (
        _process([*resolver, "-http01", "", "-https01", "", "-tlsalpn01", ""], folder / "names.log") as resolving,
        _process(authority, made.log, **{"PEBBLE_VA_NOSLEEP": "1", **environment}) as process,
    ):
        until(lambda: _is_open(names, resolving, folder / "names.log"))
        until(lambda: _is_open(port, process, made.log))
        yield made


@contextmanager
def _process(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=os.environ | environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _is_open(port: int, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
