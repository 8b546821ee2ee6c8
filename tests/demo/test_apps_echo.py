"""echo, tcp_echo, helloworld and the small HTTP server below them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from websockets.sync.client import connect

from support.apps import App, running
from support.processor import little


def exchange(app: App, data: bytes) -> bytes:
    """Sends raw bytes, and reads until the server closes."""
    with socket.create_connection(("127.0.0.1", app.port), timeout=60) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(65536):
            received += part
        return received


def test_echo_returns_the_request() -> None:
    with running("echo", "--version", "v2", "--instance", "e-1") as app:
        status, _, text = app.ask("/a%20b/c?x=1&x=2&y=", method="PUT", headers={"X-One": "1"}, body="hé".encode())
        answer = json.loads(text)
        assert status == 200
        assert answer["headers"]["x-one"] == "1"
        assert {k: v for k, v in answer.items() if k != "headers"} == {
            "method": "PUT",
            "target": "/a%20b/c?x=1&x=2&y=",
            "path": "/a b/c",
            "query": {"x": "1, 2", "y": ""},
            "body": "hé",
            "instance": "e-1",
            "version": "v2",
        }


def test_echo_misbehaves_as_told() -> None:
    with running("echo") as app:
        assert [app.ask(f"/status/{code}")[0] for code in ("204", "404", "503", "99", "x")] == [204, 404, 503, 400, 400]
        started = time.monotonic()
        assert app.ask("/delay/0.3")[0] == 200
        assert time.monotonic() - started >= 0.3
        assert app.ask("/delay/nan")[0] == 400
        assert [app.ask("/flaky/k?times=2")[0] for _ in range(4)] == [503, 503, 200, 200]
        assert app.ask("/flaky/other")[0] == 503
        assert list(json.loads(app.ask("/headers")[2])) == ["headers"]


def test_echo_fails_until_told_otherwise() -> None:
    with running("echo") as app:
        assert json.loads(app.ask("/fail?on=true", method="POST")[2])["failing"] is True
        assert [app.ask(path)[0] for path in ("/", "/status/200", "/health")] == [503, 503, 200]
        app.ask("/fail?on=false", method="POST")
        assert app.ask("/")[0] == 200
        app.ask("/fail?on=true&seconds=0", method="POST")
        assert app.ask("/")[0] == 200
        assert app.ask("/fail?on=true")[0] == 200, "only POST changes anything"


def test_echo_speaks_websocket() -> None:
    with running("echo") as app:
        with connect(f"ws://127.0.0.1:{app.port}/ws", open_timeout=60, ping_timeout=60) as socket_:
            for message in ("", "hello", "x" * 200, b"\x00\x01", "y" * 70_000, b"z" * 70_001):
                socket_.send(message)
                assert socket_.recv() == message
            assert socket_.ping().wait(60)
        assert app.ask("/ws")[0] == 426


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_requests_arrive_in_any_pieces(size: int) -> None:
    requests = (
        b"GET /one HTTP/1.1\r\nhost: a\r\n\r\n"
        b"POST /two HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\ntrailer: 1\r\n\r\n"
        b"POST /three HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"
    )
    with running("echo") as app, socket.create_connection(("127.0.0.1", app.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(requests), size):
            connection.sendall(requests[at : at + size])
        with connection.makefile("rb") as stream:
            text = stream.read().decode()
    assert text.count("HTTP/1.1 200 OK") == 3
    assert [part.split('"', 1)[0] for part in text.split('"body":"')[1:]] == ["", "abcde", "hi"]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/3.0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\na : b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"GET / HTTP/1.1\r\na: " + b"b" * 70_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_not_http_is_refused(message: bytes, status: int) -> None:
    with running("echo") as app:
        assert exchange(app, message).startswith(f"HTTP/1.1 {status} ".encode())
        assert app.ask("/")[0] == 200


def test_a_request_under_way_is_finished_when_told_to_stop() -> None:
    with running("echo") as app:
        with (
            socket.create_connection(("127.0.0.1", app.port), timeout=60) as idle,
            socket.create_connection(("127.0.0.1", app.port), timeout=60) as busy,
        ):
            busy.sendall(b"GET /delay/0.5 HTTP/1.1\r\nhost: a\r\n\r\n")
            assert app.ask("/")[0] == 200
            app.process.send_signal(signal.SIGTERM)
            assert idle.recv(1) == b"", "an idle connection is closed at once"
            assert busy.recv(65536).startswith(b"HTTP/1.1 200 OK")
        assert app.process.wait(60) == 0


def test_helloworld_names_version_and_instance() -> None:
    with running("helloworld", "--version", "v2", "--instance", "hw-2") as app:
        assert app.ask("/hello")[2] == "Hello version: v2, instance: hw-2\n"
        assert [app.ask(path)[0] for path in ("/health", "/")] == [200, 404]


def test_tcp_echo_puts_its_word_before_each_line() -> None:
    with running("tcp_echo", "two") as app, socket.create_connection(("127.0.0.1", app.port), timeout=60) as connection:
        connection.sendall(b"hello\nwor")
        connection.sendall(b"ld\nrest")
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            assert stream.read() == b"two hello\ntwo world\ntwo rest"


def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with running("echo") as app:
        second = subprocess.run(
            [sys.executable, "-m", "tulle.demo.apps.echo", "--port", str(app.port)], capture_output=True, text=True, timeout=60
        )
        assert second.returncode == 1
        assert second.stderr.splitlines() == [f"cannot listen on 127.0.0.1:{app.port}: Address already in use"]


def test_an_application_is_there_at_once_and_light() -> None:
    with running("productpage") as app:
        status = Path(f"/proc/{app.process.pid}/status").read_text()
        times = Path(f"/proc/{app.process.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(status.split("VmRSS:")[1].split()[0]) < 40_000, "kB"
    assert (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK") < 8 * little(), "until it listens: about twice as much"
