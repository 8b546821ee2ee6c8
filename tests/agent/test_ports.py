"""Ports that are held for a proxy."""

from __future__ import annotations

import errno
import socket
from random import Random

import pytest

from support.running import free_port
from tulle.agent.ports import Ports, is_local, may_bind_low

LOOPBACK = "127.0.0.1"


def listen(port: int, *, shared: bool) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shared))
        listener.bind((LOOPBACK, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def test_a_proxy_of_this_user_may_take_a_held_port_and_gets_the_callers() -> None:
    with Ports() as ports:
        port = ports.hold(LOOPBACK)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, port))
        with listen(port, shared=True) as listener, socket.create_connection((LOOPBACK, port)):
            accepted, _ = listener.accept()
            accepted.close()


def test_nobody_else_gets_a_held_port() -> None:
    with Ports() as ports, Ports() as others:
        port = ports.hold(LOOPBACK)
        with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:"):
            others.hold(LOOPBACK, port)
        with pytest.raises(OSError, match="in use"):
            listen(port, shared=False)


def test_a_port_is_free_again_at_the_end() -> None:
    with Ports() as ports:
        port = ports.hold(LOOPBACK, free_port())
    with listen(port, shared=False):
        pass


def ended() -> int:
    """A port that nobody listens on any more, with a connection that its proxy was the first to end."""
    with socket.socket() as listener:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            listener.setsockopt(socket.SOL_SOCKET, option, 1)
        listener.bind((LOOPBACK, free_port()))
        listener.listen()
        port = int(listener.getsockname()[1])
        with socket.create_connection((LOOPBACK, port)) as caller:
            listener.accept()[0].close()
            assert caller.recv(1) == b""
        return port


def test_connections_that_have_ended_do_not_keep_a_port_from_one_agent() -> None:
    port = ended()
    with pytest.raises(OSError, match="in use"), socket.socket() as probe:
        probe.bind((LOOPBACK, port))
    with Ports() as ports, Ports() as others:
        assert ports.hold_preferred(LOOPBACK, port) == port
        with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1:"):
            others.hold(LOOPBACK, port)
        assert others.hold_preferred(LOOPBACK, port) != port
        with listen(port, shared=True) as listener, socket.create_connection((LOOPBACK, port)):
            listener.accept()[0].close()


def test_another_port_is_taken_when_the_preferred_one_is_in_use() -> None:
    with Ports() as ports, Ports() as others:
        taken = ports.hold(LOOPBACK)
        assert others.hold_preferred(LOOPBACK, taken) not in (0, taken)


def test_the_preferred_port_is_taken_when_it_is_free() -> None:
    with Ports() as ports:
        free = ports.hold(LOOPBACK, free_port())
    with Ports() as ports:
        assert ports.hold_preferred(LOOPBACK, free) == free


def test_an_address_of_another_machine_is_no_reason_to_look_further() -> None:
    with Ports() as ports, pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:") as raised:
        ports.hold_preferred("192.0.2.1", 15001)
    assert raised.value.errno == errno.EADDRNOTAVAIL


def test_an_application_port_is_free_and_none_that_outgoing_connections_get() -> None:
    with Ports() as ports:
        port = ports.hold_for_application(LOOPBACK, Random(1))
    assert 20_000 <= port < 32_000
    with listen(port, shared=False), Ports() as ports:
        assert ports.hold_for_application(LOOPBACK, Random(1)) != port


@pytest.mark.parametrize("udp", [False, True])
def test_no_two_applications_are_given_one_port(udp: bool) -> None:
    with Ports() as ports, Ports() as others:
        found = {ports.hold_for_application(LOOPBACK, Random(2), udp=udp) for _ in range(3)}
        assert others.hold_for_application(LOOPBACK, Random(2)) not in found
        assert len(found) == 3


def test_which_addresses_are_ours() -> None:
    assert is_local(LOOPBACK)
    assert is_local("0.0.0.0")
    assert not is_local("192.0.2.1")


def test_low_ports_agree_with_an_attempt() -> None:
    allowed = may_bind_low(LOOPBACK)
    attempts = []
    for port in range(1023, 1000, -1):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
                attempts.append(True)
            except OSError:
                attempts.append(False)
    assert any(attempts) or not allowed
