"""What people write on a command line, read into words. Every reader raises ValueError with what is wrong and how to write it."""

from __future__ import annotations

import platform

from tulle.agent.spec import WorkloadPort
from tulle.http_client import SECURE
from tulle.model.identity import Labels
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol
from tulle.settings import Address

PROTOCOLS = {
    "http": Protocol.HTTP,
    "http2": Protocol.HTTP2,
    "grpc": Protocol.GRPC,
    "tcp": Protocol.TCP,
    "udp": Protocol.UDP,
    "auto": Protocol.AUTO,
}


def machine(given: str, api: str) -> str:
    """The name of this machine, as the registry is told: the one given, or its host name; empty beside a control plane on loopback."""
    beside = api.startswith("/") or Address.parse(api.removeprefix(SECURE)).is_loopback
    return given or ("" if beside else platform.node())


def protocol(text: str) -> Protocol:
    """`http`, `http2`, `grpc`, `tcp`, `udp`, or `auto` to look at the first bytes."""
    if text.lower() not in PROTOCOLS:
        raise ValueError(f"{text!r} is not a protocol: write one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[text.lower()]


def port_number(text: str) -> int:
    """1 to 65535."""
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not a port: write a number from 1 to 65535")
    return int(text)


def workload_port(text: str, speaks: Protocol) -> WorkloadPort:
    """`9080`, or `9080:8000` where the application listens on 8000."""
    number, _, target = text.partition(":")
    name = next(word for word, known in PROTOCOLS.items() if known is speaks)
    return WorkloadPort(number=port_number(number), target=port_number(target) if target else 0, protocol=speaks, name=f"{name}-{number}")


def labels(texts: list[str]) -> Labels:
    """`key=value`, each."""
    pairs = [text.partition("=") for text in texts]
    wrong = [f"{key}{sign}{value}" for key, sign, value in pairs if not (key and sign)]
    if wrong:
        raise ValueError(f"{wrong[0]!r} is not a label: write key=value")
    return Labels({key: value for key, _, value in pairs})


def upstream(text: str) -> Upstream:
    """`redis:6379=16379` or `redis:6379=127.0.0.1:16379`; `dns:53/udp=15353` for UDP."""
    service, sign, local = text.partition("=")
    host, colon, port = service.rpartition(":")
    port, _, transport = port.partition("/")
    if transport not in ("", "tcp", "udp"):
        raise ValueError(f"{text!r} is not an upstream: after the port write /udp, or nothing for TCP")
    if not (sign and colon and host and local):
        raise ValueError(f"{text!r} is not an upstream: write SERVICE:PORT=LOCAL_PORT, for example redis:6379=16379")
    bind, _, bind_port = local.rpartition(":")
    return Upstream(
        host=host, port=port_number(port), bind=bind.strip("[]") or "127.0.0.1", bind_port=port_number(bind_port), udp=transport == "udp"
    )
