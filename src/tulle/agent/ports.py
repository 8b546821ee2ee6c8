"""Free ports, kept free until the proxy takes them, and the right to low ones.

A port found free and let go may be someone else's a moment later. So the ports of a proxy stay bound here for as long as it may
need them, also while it is being started again: bound alone and without listening, then opened to other sockets of the same user
(SO_REUSEPORT), which is how Envoy listens. No other agent can take such a port, since it claims its ports alone, and no outgoing
connection gets it as its own.

Connections that a proxy was the first to end keep its port for a minute after it (TIME_WAIT). A claim goes past them with SO_REUSEADDR,
which would also go past claims that were made so: of those, a name that one socket has lets one stand.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Self

LOW = 1024
FIRST_APPLICATION_PORT = 20_000
LAST_APPLICATION_PORT = 32_000
"""Below the range that systems take for outgoing connections, so that no such connection has the port when the application wants it."""

ATTEMPTS = 50
"""At finding a port that is free for UDP and for TCP."""

_CAP_NET_BIND_SERVICE, _CAP_NET_ADMIN = 10, 12


class Ports:
    """The ports held for one proxy. A context manager: at its end they are free again."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for held in self._held:
            held.close()
        self._held.clear()

    def hold(self, address: str, port: int = 0, *, udp: bool = False) -> int:
        """Claims a port, or any with 0. Raises OSError (EADDRINUSE, EADDRNOTAVAIL, EACCES) when it cannot be had.

        A UDP port is claimed by the TCP port of the same number: a bound UDP socket would take datagrams from the proxy.
        """
        if udp and port == 0:
            return self._hold_any_for_datagrams(address)
        if udp:
            port = _free_for_datagrams(address, port)
        claim = _socket(address)
        try:
            if not _bound(claim, address, port):
                self._held.append(_bound_past_ended(claim, address, port))
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except OSError as error:
            claim.close()
            raise OSError(error.errno, f"cannot listen on {address}:{port}: {os.strerror(error.errno or 0)}") from error
        self._held.append(claim)
        return int(claim.getsockname()[1])

    def _hold_any_for_datagrams(self, address: str) -> int:
        """What is free for UDP may be taken for TCP, if only by somebody's connection: then another one."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self.hold(address, _free_for_datagrams(address, 0), udp=True)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        return self.hold(address, _free_for_datagrams(address, 0), udp=True)

    def hold_preferred(self, address: str, port: int) -> int:
        """Claims this port, or any other when it is taken."""
        try:
            return self.hold(address, port)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            return self.hold(address)

    def hold_for_application(self, address: str, dice: Random, *, udp: bool = False) -> int:
        """Any port that is free now, for a program that cannot share it with the agent while it starts.

        Agents give away none that another has given, though its program may not listen yet.
        """
        for port in _candidates(dice):
            if word := _word(f"application-port/{port}"):
                self._held.append(word)
                if _is_free(address, port, udp=udp):
                    return port
        raise OSError(errno.EADDRINUSE, f"no free port on {address} between {FIRST_APPLICATION_PORT} and {LAST_APPLICATION_PORT}")


def _bound(claim: socket.socket, address: str, port: int) -> bool:
    """False where the port is in use, if only by connections that have ended. Raises OSError."""
    try:
        claim.bind((address, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    return True


def _bound_past_ended(claim: socket.socket, address: str, port: int) -> socket.socket:
    """What keeps others from doing the same. Raises OSError (EADDRINUSE) where more than such connections has the port."""
    word = _word(f"port/{address}:{port}")
    if word is None:
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    try:
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        claim.bind((address, port))
        claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        word.close()
        raise
    return word


def _free_for_datagrams(address: str, port: int) -> int:
    """The port, or one that the system picks, which is free for UDP now."""
    with _socket(address, udp=True) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            raise OSError(error.errno, f"cannot receive on {address}:{port}/udp: {os.strerror(error.errno or 0)}") from error
        return int(probe.getsockname()[1])


def _is_free(address: str, port: int, *, udp: bool) -> bool:
    with _socket(address, udp=udp) as probe:
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
    return True


def _word(of: str) -> socket.socket | None:
    """An agent's word that it has, or gives away, a port: a name that one socket has, in this network; None where another has it."""
    word = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        word.bind(f"\0tulle/{of}")
    except OSError as error:
        word.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return None
    return word


def _candidates(dice: Random) -> Iterator[int]:
    first = dice.randrange(FIRST_APPLICATION_PORT, LAST_APPLICATION_PORT)
    yield from range(first, LAST_APPLICATION_PORT)
    yield from range(FIRST_APPLICATION_PORT, first)


def is_local(address: str) -> bool:
    """Whether this machine can listen on the address."""
    with _socket(address) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return False
            raise
    return True


def may_bind_low(address: str) -> bool:
    """Whether the proxy may listen on ports below 1024: by trying, since users, capabilities and kernel settings all have a say."""
    return any(_may_bind(address, port) for port in range(LOW - 1, LOW - 20, -1))


def _may_bind(address: str, port: int) -> bool:
    with _socket(address) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return _inherited(port)


def _inherited(port: int) -> bool:
    """Whether what let this process bind the port also lets a program that it starts."""
    return port >= _first_unprivileged_port() or _passed_on(_CAP_NET_BIND_SERVICE)


def _passed_on(capability: int) -> bool:
    """Whether a program that this process starts has one of its capabilities."""
    if os.geteuid() == 0:
        return True
    status = Path("/proc/self/status")
    ambient = next((line for line in status.read_text().splitlines() if line.startswith("CapAmb:")), "CapAmb: 0")
    return bool(int(ambient.split()[1], 16) >> capability & 1)


def may_send_as_others() -> bool:
    """Whether the proxy may send from addresses that are not this machine's, by trying."""
    if not hasattr(socket, "IP_TRANSPARENT"):
        return False
    with _socket("127.0.0.1") as probe:
        try:
            probe.setsockopt(socket.SOL_IP, socket.IP_TRANSPARENT, 1)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1)
        except OSError:
            return False
    return _passed_on(_CAP_NET_ADMIN)


def _first_unprivileged_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return LOW


def _socket(address: str, *, udp: bool = False) -> socket.socket:
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
