"""The sockets of the DNS port. They are open before anything of the DNS is loaded: what arrives meanwhile waits in the kernel."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from tulle.settings import Address

BURST = 4 * 2**20
"""Bytes of queries that may wait, as far as the kernel lets us have them."""
_ATTEMPTS = 10
"""At a port that is free for both UDP and TCP."""


class DnsListenError(OSError):
    """The address cannot be listened on."""


class Sockets:
    """One for UDP and one for TCP, on one port."""

    def __init__(self, udp: socket.socket, tcp: socket.socket) -> None:
        self.udp = udp
        self.tcp = tcp

    @property
    def port(self) -> int:
        return int(self.udp.getsockname()[1])

    def close(self) -> None:
        self.udp.close()
        self.tcp.close()


def listen(address: Address) -> Sockets:
    """Port 0 takes any that is free for both. Raises DnsListenError with what to do."""
    for attempt in range(_ATTEMPTS):
        try:
            return _listen(address)
        except OSError as error:
            if address.port == 0 and attempt < _ATTEMPTS - 1:
                continue
            reason = f"cannot listen on {address} for DNS: {error.strerror}"
            raise DnsListenError(
                f"{reason}; stop what uses it, or choose another with --dns HOST:PORT (TULLE_DNS), or --dns off"
            ) from error
    raise AssertionError("the last attempt returns or raises")


def _listen(address: Address) -> Sockets:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with ExitStack() as held:
        udp = held.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        tcp = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BURST)
        udp.bind((address.host, address.port))
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.bind((address.host, udp.getsockname()[1]))
        tcp.listen(128)
        for one in (udp, tcp):
            one.setblocking(False)
        held.pop_all()
        return Sockets(udp, tcp)
