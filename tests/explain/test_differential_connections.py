"""Explain against a real Envoy, for connections: generated gateways with TLS and TCP servers, and real TLS clients.

`TULLE_CONNECTIONS=5000` makes a deeper run; `TULLE_SEED=7` repeats one. The seed is printed with every difference.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from support.carried import at
from support.certificates import Ca, Pair, tls_secret
from support.compiled import gateway
from support.generated_edges import BYTES, CERTIFICATES, HTTP, SECURE, Call, Edges, Listeners
from support.http3_client import http3
from support.led_mesh import LedMesh, led_mesh
from support.raw_http import upstreams
from support.running import free_port
from tulle.compile.explain import Request, Trace, UnusableRequestError, explain
from tulle.model.service import Protocol

CALLS = int(os.environ.get("TULLE_CONNECTIONS", "400"))
SEED = int(os.environ.get("TULLE_SEED", "20260101"))
PORTS = 15
CA = Ca()
OWN = {name: CA.issue(f"{name}.test") for name in (*CERTIFICATES, *SECURE)}
QUIC = ("h3",)
TLS_ALERT = b"\x15\x03"
"""What TLS says to those who do not speak it, before it closes."""

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(600 + CALLS // 10)]


@dataclass(frozen=True)
class Seen:
    """What a client saw. `said`: the name of a service, `HTTP/1.1 404`, or nothing where the connection was closed."""

    said: str
    serial: int = 0
    alpn: str = ""


@asynccontextmanager
async def speakers(folder: Path) -> AsyncIterator[dict[str, int]]:
    """Servers that say their name and close, half of them over TLS."""
    servers, ports = [], {}
    for name in (*BYTES, *SECURE):

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name) -> None:
            writer.write(f"{name}\n".encode())
            await reader.read(1000)
            writer.close()

        server = await asyncio.start_server(tell, "127.0.0.1", 0, ssl=_server(OWN[name], folder, name) if name in SECURE else None)
        servers.append(server)
        ports[name] = server.sockets[0].getsockname()[1]
    try:
        yield ports
    finally:
        for server in servers:
            server.close()


def _server(pair: Pair, folder: Path, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair.write(folder, name))
    return context


def _client(alpn: tuple[str, ...]) -> ssl.SSLContext:
    """Any certificate will do: which one is shown is what is asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


async def by_quic(call: Call, patience: float) -> Seen:
    try:
        async with http3(call.port, call.sni, patience=patience) as client:
            answer = await client.ask(call.host)
            status = f"HTTP/1.1 {answer.status}" + (f" {answer.get('location')}" if answer.get("location") else "")
            return Seen(answer.get("x-cluster") or status, client.serial, "h3")
    except (OSError, TimeoutError):
        return Seen("")


async def made(call: Call, patience: float) -> Seen:
    """What comes of a call. HTTP/2 is agreed upon, but not spoken. `patience`: with a silent server, over QUIC."""
    if call.alpn == QUIC:
        return await by_quic(call, patience)
    tls = {"ssl": _client(call.alpn), "server_hostname": call.sni, "ssl_handshake_timeout": 60} if call.tls else {}
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", call.port, **tls)
    except (OSError, ssl.SSLError):
        return Seen("")
    try:
        shaken: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
        serial = x509.load_der_x509_certificate(shaken.getpeercert(binary_form=True) or b"").serial_number if shaken else 0
        alpn = (shaken.selected_alpn_protocol() or "") if shaken else ""
        if alpn == "h2":
            return Seen("h2", serial, alpn)
        writer.write(f"GET / HTTP/1.1\r\nhost: {call.host}\r\n\r\n".encode() if call.http else b"nothing\r\n\r\n")
        async with asyncio.timeout(60):
            return Seen(await _said(reader), serial, alpn)
    except (OSError, ssl.SSLError):
        return Seen("")
    finally:
        writer.close()


async def _said(reader: asyncio.StreamReader) -> str:
    line = await reader.readline()
    if line.startswith(TLS_ALERT):
        return ""
    first = line.decode().strip()
    if not first.startswith("HTTP/"):
        return first
    status = " ".join(first.split()[:2])
    while line := (await reader.readline()).decode().strip():
        if line.startswith("x-cluster: "):
            return line.removeprefix("x-cluster: ")
        if line.startswith("location: "):
            status += line.removeprefix("location:")
    return status


def expected(trace: Trace, call: Call, names: dict[str, str]) -> list[Seen]:
    """What may be seen, as explained. `names` of services by their address."""
    if trace.closed:
        return [Seen("")]
    serial = OWN[trace.tls.certificates[0].rpartition("/")[2]].serial if trace.tls else 0
    alpn = trace.tls.protocol if trace.tls else ""
    if alpn == "h2":
        return [Seen("h2", serial, alpn)]
    if trace.direct_response:
        return [Seen(f"HTTP/1.1 {trace.direct_response.status}", serial, alpn)]
    if trace.redirect:
        return [Seen(f"HTTP/1.1 {trace.redirect.status} {trace.redirect.location}", serial, alpn)]
    ends = trace.endpoints or tuple(end for share in trace.weighted_clusters for end in share.endpoints)
    if not ends:
        return [Seen("HTTP/1.1 400", serial, alpn)]
    return [_end(names[end.address], call, serial, alpn, ended=trace.tls is not None) for end in ends]


def _end(name: str, call: Call, serial: int, alpn: str, *, ended: bool) -> Seen:
    """Where the proxy passes bytes on, caller and service must agree on TLS."""
    if ended or name in HTTP:
        return Seen(name, serial, alpn)
    if (name in SECURE) != call.tls:
        return Seen("")
    return Seen(name, OWN[name].serial if call.tls else 0)


async def differences(kind: type[Edges], seed: int, folder: Path) -> tuple[list[str], Counter[str]]:
    edges = kind(seed, [free_port() for _ in range(PORTS)])
    text = edges.documents() + "---\n" + "---\n".join(tls_secret(name, OWN[name]) for name in CERTIFICATES)
    found, kinds = [], Counter[str]()
    async with upstreams(*HTTP) as https, speakers(folder) as others:
        ports = {**https.ports, **others}
        places = [at(n, 80, p, id=n, protocol=Protocol.HTTP if n in HTTP else Protocol.TCP) for n, p in ports.items()]
        names = {f"127.0.0.1:{port}": name for name, port in ports.items()}
        async with led_mesh(gateway(), text, *places) as mesh:
            assert mesh.rejections == []

            async def one(call: Call) -> None:
                trace = _explained(mesh, call)
                seen, wanted = await made(call, 1 if trace.closed else 60), expected(trace, call, names)
                kinds["h3" if seen.alpn == "h3" else seen.said or "closed"] += 1
                if seen not in wanted:
                    found.append(f"{call}: {seen}, explained as {wanted} ({trace.filter_chain})")

            calls = [edges.call() for _ in range(CALLS)]
            for call in calls:
                if call.alpn != QUIC:
                    await one(call)
            # Side by side: who is refused over QUIC hears nothing, and waits.
            await asyncio.gather(*(one(call) for call in calls if call.alpn == QUIC))
    return found, kinds


def _explained(mesh: LedMesh, call: Call) -> Trace:
    assert mesh.node
    request = Request(url=call.url, connect_to=("127.0.0.1", call.port), sni=call.sni, alpn=call.alpn, headers=(("host", call.host),))
    try:
        return explain(mesh.built.mesh, mesh.node, request)
    except UnusableRequestError:
        assert call.alpn == QUIC, "every port is served over TCP"
        return Trace(closed="nobody takes HTTP/3 there")


@pytest.mark.parametrize("kind", [Edges, Listeners])
def test_connections_are_explained_as_envoy_acts(kind: type[Edges], tmp_path: Path) -> None:
    found, kinds = asyncio.run(differences(kind, SEED, tmp_path))
    print(f"seed {SEED}: {dict(kinds)}")
    assert not found, f"seed {SEED}: {len(found)} of {CALLS} differ:\n" + "\n".join(found[:25])
    groups = (("closed",), ("HTTP/1.1 404",), ("h2",), ("h3",), HTTP, BYTES, SECURE, tuple(k for k in kinds if "301" in k))
    assert min(sum(kinds[name] for name in group) for group in groups) > CALLS / 200, f"the generator is lopsided: {kinds}"
