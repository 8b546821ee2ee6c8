"""Running a check once: programs, HTTP, TCP, UDP, gRPC, HTTP/2 pings and services of the system.

Every prober gives a Result, whatever happens to it, and keeps to the time and the amount of output that the check allows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping

import grpc

from tulle.registry import checks, http_probe
from tulle.registry.catalog import CheckKind, Probe
from tulle.registry.checks import Outcome, Result
from tulle.registry.dialling import dialled, issuers, split, tls

KEPT = 64 * 1024
"""Bytes of a program's output that are held while it runs, at least."""
_READ = 65536
_PING = b"\0\0\x08\x06\0\0\0\0\0tulle-ok"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
_LARGEST_FRAME = 16384
_SERVING = 1
_GRPC_STATES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}

Prober = Callable[[Probe], Awaitable[Result]]


def passing(output: str) -> Result:
    return Result(outcome=Outcome.PASSING, output=output)


def failing(output: str) -> Result:
    return Result(outcome=Outcome.FAILING, output=output)


async def run(probe: Probe) -> Result:
    """One run. Raises KeyError for a kind that nobody runs (it is told, or looked up)."""
    prober = PROBERS[probe.kind]
    limit = checks.timeout(probe)
    try:
        async with asyncio.timeout(limit):
            return await prober(probe)
    except TimeoutError:
        return failing(f"Timed out after {limit:g} s")
    except (OSError, EOFError, ValueError) as error:
        return failing(f"{target(probe)}: {str(error) or type(error).__name__}")


def target(probe: Probe) -> str:
    return probe.http or probe.tcp or probe.udp or probe.grpc or probe.h2ping or probe.os_service or " ".join(probe.args)


# Programs


async def script(probe: Probe) -> Result:
    """0 passes, 1 warns, all else fails. The program is ended with all that it started, when its time is over too."""
    process = await asyncio.create_subprocess_exec(
        *probe.args,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output = await _tail(process, probe.output_max_size)
        code = await process.wait()
    except BaseException:
        _end(process)
        await process.wait()
        raise
    outcome = {0: Outcome.PASSING, 1: Outcome.WARNING}.get(code, Outcome.FAILING)
    return Result(outcome=outcome, output=output)


async def _tail(process: asyncio.subprocess.Process, limit: int) -> str:
    kept, total = b"", 0
    while process.stdout and (data := await process.stdout.read(_READ)):
        total += len(data)
        kept = (kept + data)[-max(limit, KEPT) :]
    return checks.last_bytes(kept, limit, total)


def _end(process: asyncio.subprocess.Process) -> None:
    """Whatever of the program's group still runs."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


async def os_service(probe: Probe) -> Result:
    """A unit of systemd, which must be active."""
    process = await asyncio.create_subprocess_exec(
        "systemctl", "is-active", "--", probe.os_service, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    said = output.decode(errors="replace").strip()
    return (
        passing(f'Service "{probe.os_service}" is running')
        if said == "active"
        else failing(f'Service "{probe.os_service}" is {said or "unknown"}')
    )


# Sockets


async def tcp(probe: Probe) -> Result:
    context = tls(probe) if probe.tcp_use_tls else None
    async with dialled(probe.tcp, probe, context):
        return passing(f"TCP connect {probe.tcp}: Success")


class _Echo(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def datagram_received(self, _data: bytes, _addr: object) -> None:
        if not self.heard.done():
            self.heard.set_result(None)

    def error_received(self, exc: Exception) -> None:
        if not self.heard.done():
            self.heard.set_exception(exc)


async def udp(probe: Probe) -> Result:
    """Silence passes: few programs answer what they do not understand. That nobody listens is told by the kernel."""
    host, port = split(probe.udp)
    transport, echo = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, remote_addr=(host, port))
    try:
        transport.sendto(b"\n")
        async with asyncio.timeout(checks.timeout(probe) / 2):
            await echo.heard
    except TimeoutError:
        pass
    finally:
        transport.close()
    return passing(f"UDP connect {probe.udp}: Success")


async def h2ping(probe: Probe) -> Result:
    """A PING (RFC 9113, 6.7), which must come back."""
    context = tls(probe, protocols=("h2",)) if probe.h2ping_use_tls else None
    async with dialled(probe.h2ping, probe, context) as (reader, writer):
        writer.write(_HELLO + _PING)
        while True:
            head = await reader.readexactly(9)
            length = int.from_bytes(head[:3])
            if length > _LARGEST_FRAME:
                return failing(f"{probe.h2ping} does not speak HTTP/2")
            body = await reader.readexactly(length)
            if head[3] == 6 and head[4] & 1 and body == _PING[9:]:
                return passing("HTTP2 ping was successful")


# gRPC


async def grpc_health(probe: Probe) -> Result:
    """The standard health service (grpc.health.v1)."""
    if probe.grpc_use_tls and probe.tls_skip_verify:
        return failing(f"gRPC check {probe.grpc}: tls_skip_verify is not possible for gRPC; trust the certificate's issuer on this machine")
    where, _, service = probe.grpc.partition("/")
    request = _text_field(service.encode()) if service else b""
    async with _channel(where, probe) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer = await call(request, timeout=checks.timeout(probe))
        except grpc.aio.AioRpcError as error:
            return failing(f"gRPC check {probe.grpc}: {error.code().name}: {error.details()}")
    state = answer[1] if len(answer) >= 2 and answer[0] == 0x08 else 0
    if state == _SERVING:
        return passing(f"gRPC check {probe.grpc}: success")
    return failing(f"gRPC check {probe.grpc}: {_GRPC_STATES.get(state, state)}")


def _text_field(text: bytes) -> bytes:
    """The first field of a protobuf message, which is a text: its tag, its length in pieces of seven bits, and itself."""
    length, head = len(text), b"\x0a"
    while length > 127:
        head += bytes((length & 127 | 128,))
        length >>= 7
    return head + bytes((length,)) + text


def _channel(where: str, probe: Probe) -> grpc.aio.Channel:
    options: tuple[tuple[str, object], ...] = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0))
    if not probe.grpc_use_tls:
        return grpc.aio.insecure_channel(where, options=options)
    if probe.tls_server_name:
        options = (*options, ("grpc.ssl_target_name_override", probe.tls_server_name))
    return grpc.aio.secure_channel(where, grpc.ssl_channel_credentials(issuers()), options=options)


PROBERS: Mapping[CheckKind, Prober] = {
    CheckKind.SCRIPT: script,
    CheckKind.HTTP: http_probe.http,
    CheckKind.TCP: tcp,
    CheckKind.UDP: udp,
    CheckKind.GRPC: grpc_health,
    CheckKind.H2PING: h2ping,
    CheckKind.OS_SERVICE: os_service,
}
