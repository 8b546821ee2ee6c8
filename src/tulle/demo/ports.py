"""The ports of the demo: the usual ones, or free ones where another program was faster."""

from __future__ import annotations

import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Of the gateway, the HTTP API and xDS."""

    gateway: int = 8080
    api: int = 8500
    xds: int = 15010


USUAL = Ports()


def choose(wanted: Ports = USUAL) -> tuple[Ports, tuple[str, ...]]:
    """The ports to take, and a sentence for each that could not be as wanted."""
    chosen: dict[str, int] = {}
    sentences = []
    for name, title in (("gateway", "the gateway"), ("api", "the API"), ("xds", "xDS")):
        port = getattr(wanted, name)
        chosen[name] = port if port and is_free(port) else free_port(avoid=set(chosen.values()))
        if port and chosen[name] != port:
            sentences.append(f"Port {port} is taken by another program: {title} is on {chosen[name]} instead.")
    return Ports(**chosen), tuple(sentences)


def is_free(port: int) -> bool:
    """Whether this program could listen on it, on all addresses and on loopback."""
    for host in ("0.0.0.0", "127.0.0.1"):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen(1)
            except OSError:
                return False
    return True


def free_port(avoid: set[int]) -> int:
    """A port that nobody listens on."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in avoid and is_free(port):
            return port
