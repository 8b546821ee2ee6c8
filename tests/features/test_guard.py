"""Guards: what a real Envoy refuses before anything else is looked at, at a gateway and beside a workload, and what explain says of it."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.backend import Backend, backend
from support.carried import at, carried
from support.compiled import built, gateway, sidecar
from support.edge import edge, policy
from support.http2_client import http2
from support.running import free_port
from tulle.compile import view
from tulle.compile.explain import Request, explain_view
from tulle.compile.explain.trace import Trace
from tulle.model.proxy import InboundPort, Node
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy


def guarded_edge(port: int, guard: str, host: str = "*", name: str = "edge") -> str:
    target = f"{{kind: Gateway, group: networking.istio.io, name: {name}}}"
    return edge(port, policy("Guard", guard, name, target), host=host, name=name)


class Guarded:
    """A proxy with a server behind it."""

    def __init__(self, text: str, far: Backend, port: int, node: Node) -> None:
        self.far, self.port, self._node = far, port, node
        self._view = view(built(text, at("far", 80, far.port, id="far")).mesh, node)

    def status(self, method: str, path: str, headers: Iterable[tuple[str, str]] = (), body: Iterable[bytes] | bytes = b"") -> int:
        """Of the answer. A body in pieces is sent without its length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            given = dict(headers)
            connection.putrequest(method, path, skip_host="host" in given, skip_accept_encoding=True)
            chunked = not isinstance(body, bytes)
            length = ("transfer-encoding", "chunked") if chunked else ("content-length", str(len(body)))  # type: ignore[arg-type]
            for name, value in (*headers, length):
                connection.putheader(name, value)
            connection.endheaders()
            try:
                for piece in body if chunked else (body,):
                    connection.send(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)  # type: ignore[arg-type, str-bytes-safe]
                connection.send(b"0\r\n\r\n" if chunked else b"")
            except (BrokenPipeError, ConnectionResetError):
                pass  # it is refused before all is sent
            return connection.getresponse().status
        finally:
            connection.close()

    def explained(self, method: str, path: str, *headers: tuple[str, str], address: str = "") -> Trace:
        url, dialled = f"http://any.example:{self.port}{path}", ("127.0.0.1", self.port)
        asked = Request(method=method, url=url, headers=headers, connect_to=dialled, address=address)
        return explain_view(self._view, self._node, asked)


@contextmanager
def guarded(guard: str, tmp_path: Path, more: str = "") -> Iterator[Guarded]:
    port = free_port()
    text = guarded_edge(port, guard, more.partition(" ")[0] or "*") + (
        guarded_edge(port, "methods: [GET]", more.partition(" ")[2], "other") if more else ""
    )
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        yield Guarded(text, far, port, gateway())


def test_methods_and_paths(tmp_path: Path) -> None:
    with guarded('methods: [GET, POST], paths: ["/shop/*", "*.css", "/items/{*}/price"]', tmp_path) as proxy:
        wanted = {
            ("GET", "/shop/a"): 200,
            ("POST", "/shop/a?x=/etc/passwd"): 200,
            ("GET", "/main.css"): 200,
            ("GET", "/items/7/price"): 200,
            ("DELETE", "/shop/a"): 403,
            ("GET", "/items/7/8/price"): 403,
            ("GET", "/admin"): 403,
            ("GET", "/shop/../admin"): 403,
            ("GET", "/shop/%2e%2e/admin"): 403,
            ("GET", "/admin?x=/main.css"): 403,
            ("GET", "/SHOP/a"): 403,
        }
        assert {call: proxy.status(*call) for call in wanted} == wanted
        assert {call: answered(proxy.explained(*call)) for call in wanted} == wanted
        refused = proxy.explained("DELETE", "/shop/a")
        assert refused.allowed is not None
        assert (refused.allowed.decision, refused.allowed.by) == ("deny", "Guard/edge spec.methods")
        assert len(proxy.far.seen) == 4, "what is refused never gets there"


def answered(trace: Trace) -> int:
    return trace.direct_response.status if trace.direct_response else 200


def test_addresses(tmp_path: Path) -> None:
    with guarded("addresses: {allow: [127.0.0.0/8, 10.0.0.0/8], deny: [10.6.0.0/16, 127.0.0.9]}", tmp_path) as proxy:
        assert proxy.status("GET", "/") == 200
        assert proxy.status("GET", "/", [("x-forwarded-for", "10.6.6.6")]) == 200, "at the edge nobody is believed"
        assert answered(proxy.explained("GET", "/", address="127.0.0.1")) == 200
        for address, field in (("10.6.6.6", "addresses.deny"), ("192.0.2.1", "addresses.allow")):
            found = proxy.explained("GET", "/", address=address)
            assert answered(found) == 403
            assert found.allowed is not None
            assert found.allowed.by == f"Guard/edge spec.{field}"
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=60, source_address=("127.0.0.9", 0)) as denied:
            denied.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            assert denied.recv(4096).startswith(b"HTTP/1.1 403 ")


def test_bodies(tmp_path: Path) -> None:
    with guarded("maxBodyBytes: 1000", tmp_path) as proxy:
        assert proxy.status("POST", "/", body=b"x" * 1000) == 200
        assert proxy.status("POST", "/", body=[b"x" * 500, b"x" * 500]) == 200
        assert proxy.status("POST", "/", body=b"x" * 1001) == 413
        assert proxy.status("POST", "/", body=[b"x" * 500] * 3) == 413, "without a length, too"
        assert len(proxy.far.seen) == 2
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as upgraded:
            upgraded.sendall(b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
            assert upgraded.recv(4096).startswith(b"HTTP/1.1 101 ")
            upgraded.sendall(b"y" * 3000)
            assert received(upgraded, 3000) == b"y" * 3000, "a WebSocket has no body"


def received(connection: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := connection.recv(4096)):
        found += more
    return found


def test_headers(tmp_path: Path) -> None:
    with guarded("headers: {maxCount: 12, maxKilobytes: 2, underscores: REJECT}", tmp_path) as proxy:
        assert proxy.status("GET", "/", [("x-one", "1")]) == 200
        assert proxy.status("GET", "/", [(f"x-{n}", "1") for n in range(20)]) == 431
        assert proxy.status("GET", "/", [("x-long", "a" * 2100)]) == 431
        assert proxy.status("GET", "/", [("x_user", "root")]) == answered(proxy.explained("GET", "/", ("x_user", "root"))) == 400
        assert len(proxy.far.seen) == 1


def test_headers_with_underscores_are_dropped(tmp_path: Path) -> None:
    with guarded("headers: {underscores: DROP}", tmp_path) as proxy:
        assert proxy.status("GET", "/", [("x_user", "root"), ("x-user", "ann")]) == 200
        told = proxy.far.seen[-1]["headers"]
        assert told["x-user"] == "ann"
        assert "x_user" not in told


def test_headers_that_come_twice(tmp_path: Path) -> None:
    """Each counts; what must be there once is refused where it is not."""
    with guarded("headers: {maxCount: 8, underscores: REJECT}, methods: [GET, POST]", tmp_path) as proxy:
        assert proxy.status("GET", "/", [("x-user", "ann"), ("x-user", "bob")]) == 200
        assert proxy.status("GET", "/", [("x-user", "ann")] * 9) == 431
        assert proxy.status("GET", "/", [("x-user", "ann"), ("x_user", "root")]) == 400
        length = "content-length: 5"
        for fields in (f"content-length: 0\r\n{length}", f"transfer-encoding: chunked\r\n{length}"):
            with socket.create_connection(("127.0.0.1", proxy.port), timeout=60) as connection:
                connection.sendall(f"POST / HTTP/1.1\r\nhost: a\r\n{fields}\r\n\r\n".encode())
                assert connection.recv(4096).startswith(b"HTTP/1.1 400 "), fields
        assert len(proxy.far.seen) == 1


@pytest.mark.parametrize(("underscores", "status", "behind"), [("REJECT", 0, None), ("DROP", 200, "ann"), ("ALLOW", 200, "ann")])
def test_headers_with_underscores_over_http2(underscores: str, status: int, behind: str | None, tmp_path: Path) -> None:
    with guarded(f"headers: {{underscores: {underscores}}}", tmp_path) as proxy:

        async def ask() -> int:
            async with http2(proxy.port) as connection:
                return (await connection.ask("a", headers=[("x_user", "root"), ("x-user", "ann")])).status

        assert asyncio.run(ask()) == status
        told = [one["headers"] for one in proxy.far.seen]
        assert [(one.get("x-user"), one.get("x_user")) for one in told] == (
            [(behind, "root" if underscores == "ALLOW" else None)] if behind else []
        )


PATHS = {
    "NONE": {"/a//b": "/a//b", "/a/../b": "/a/../b", "/a%2Fb": "/a%2Fb", "/a\\b": "/a\\b"},
    "BASE": {"/a//b": "/a//b", "/a/../b": "/b", "/a%2Fb": "/a%2Fb", "/a\\b": "/a/b"},
    "MERGE_SLASHES": {"/a//b?x=//": "/a/b?x=//", "//a///": "/a/", "/a%2Fb": "/a%2Fb", "/a//../b": "/a/b"},
    "DECODE_AND_MERGE_SLASHES": {"/a%2F%2fb?x=%2f": "/a/b?x=%2f", "/a%5cb": "/a/b", "/a/..%2f..%2Fb": "/b", "/a/%2e%2e%5C%5Cb": "/b"},
}


@pytest.mark.parametrize("level", PATHS)
def test_paths_in_one_form(level: str, tmp_path: Path) -> None:
    with guarded(f"pathNormalization: {level}, paths: ['*']", tmp_path) as proxy:
        for path, wanted in PATHS[level].items():
            assert proxy.status("GET", path) == 200
            assert proxy.far.seen[-1]["path"] == wanted, path
            exact = guarded_edge(proxy.port, f"pathNormalization: {level}, paths: ['{wanted.partition('?')[0]}']")
            assert answered(explained(exact, proxy, path)) == 200, f"{path} as explained"


def explained(text: str, proxy: Guarded, path: str) -> Trace:
    return Guarded(text, proxy.far, proxy.port, gateway()).explained("GET", path)


def test_one_of_two_gateways_on_a_port(tmp_path: Path) -> None:
    with guarded("paths: [/a], maxBodyBytes: 10", tmp_path, "one.example two.example") as proxy:
        one, two = [("host", "one.example")], [("host", "two.example")]
        assert [proxy.status("GET", "/a", one), proxy.status("GET", "/b", one), proxy.status("DELETE", "/a", one)] == [200, 403, 501]
        assert [proxy.status("GET", "/b", two), proxy.status("POST", "/b", two)] == [200, 403]
        assert proxy.status("POST", "/a", [("host", "ONE.example.:80")], body=b"x" * 11) == 413


BESIDE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain}
spec: {mtls: {mode: DISABLE}}
---
apiVersion: tulle.dev/v1
kind: Guard
metadata: {name: far}
spec: {selector: {matchLabels: {app: far}}, methods: [GET], maxBodyBytes: 10, addresses: {deny: [127.0.0.9]}}
"""


def test_beside_a_workload(tmp_path: Path) -> None:
    """Over TCP only addresses count."""
    http_port, tcp_port = free_port(), free_port()
    with backend("far") as far:
        ports = (
            InboundPort(service_port=80, listen=http_port, target=far.port),
            InboundPort(service_port=81, listen=tcp_port, target=far.port, protocol=Protocol.TCP),
        )
        node = sidecar(app="far", inbound=ports)
        with carried(BESIDE, node, tmp_path):
            by_http, by_tcp = (Guarded(BESIDE, far, port, node) for port in (http_port, tcp_port))
            assert [by_http.status("GET", "/"), by_http.status("POST", "/"), by_tcp.status("POST", "/")] == [200, 403, 200]
            assert by_tcp.status("POST", "/", body=b"x" * 11) == 200
            with socket.create_connection(("127.0.0.1", tcp_port), timeout=60, source_address=("127.0.0.9", 0)) as denied:
                told = b""
                with suppress(ConnectionError):
                    denied.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                    told = denied.recv(4096)
                assert told == b"", "the connection is closed"
