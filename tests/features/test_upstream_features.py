"""What a DestinationRule says, seen from a client and from the endpoints."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.backend import Backend, backend
from support.carried import ask, at, carried, until
from support.compiled import sidecar
from support.running import free_port
from tulle.model.identity import Locality
from tulle.model.proxy import Node, Upstream
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

RULE = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: far}}
spec: {{host: far, trafficPolicy: {policy}}}
"""


def client(port: int, place: str = "", service: str = "far", number: int = 80) -> Node:
    node = sidecar(app="client", upstreams=(Upstream(host=service, port=number, bind_port=port),))
    return type(node)(
        id=node.id, role=node.role, labels=node.labels, upstreams=node.upstreams, locality=Locality.parse(place), http_proxy=node.http_proxy
    )


@contextmanager
def two() -> Iterator[tuple[Backend, Backend]]:
    with ExitStack() as stack:
        yield stack.enter_context(backend("eu")), stack.enter_context(backend("us"))


def named(port: int, **headers: str) -> str:
    status, _, body = ask(port, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return str(json.loads(body)["name"]) if body.startswith(b"{") else str(status)


def test_the_near_endpoint_answers_until_it_fails(tmp_path: Path) -> None:
    port = free_port()
    rule = RULE.format(
        policy="{outlierDetection: {consecutive5xxErrors: 1, interval: 100ms, baseEjectionTime: 1h, maxEjectionPercent: 100}}"
    )
    with two() as (eu, us):
        instances = (at("far", 80, eu.port, id="eu", place="eu/a"), at("far", 80, us.port, id="us", place="us/a"))
        with carried(rule, client(port, "eu/a"), tmp_path, *instances):
            assert {named(port) for _ in range(20)} == {"eu"}
            named(port, x_fail_at="eu")
            until(lambda: named(port) == "us")
            assert {named(port) for _ in range(20)} == {"us"}


def test_shares_of_places(tmp_path: Path) -> None:
    port = free_port()
    rule = RULE.format(policy="{loadBalancer: {localityLbSetting: {distribute: [{from: eu/*, to: {us/*: 75, eu/*: 25}}]}}}")
    with two() as (eu, us):
        instances = (at("far", 80, eu.port, id="eu", place="eu/a"), at("far", 80, us.port, id="us", place="us/a"))
        with carried(rule, client(port, "eu/a"), tmp_path, *instances):
            found = [named(port) for _ in range(200)]
    assert 110 < found.count("us") < 190


def test_a_budget_of_nothing_allows_no_retry(tmp_path: Path) -> None:
    port = free_port()
    rules = (
        RULE.format(policy="{retryBudget: {percent: 0, minRetryConcurrency: 0}}")
        + """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: far}
spec:
  hosts: [far]
  http: [{retries: {attempts: 3, retryOn: 5xx}, route: [{destination: {host: far}}]}]
"""
    )
    with backend("far") as far, carried(rules, client(port), tmp_path, at("far", 80, far.port, id="far")):
        status, _, _ = ask(port, headers={"x-fail": "budget/9/500"})
        assert (status, len(far.seen)) == (500, 1)


def test_routes_of_one_host_with_and_without_retries(tmp_path: Path) -> None:
    port = free_port()
    rules = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: far}
spec:
  hosts: [far]
  http:
  - {match: [{uri: {exact: /once}}], retries: {attempts: 0}, route: [{destination: {host: far}}]}
  - {match: [{uri: {exact: /again}}], retries: {attempts: 3, retryOn: 5xx}, route: [{destination: {host: far}}]}
  - {retries: {attempts: 3, retryOn: 5xx}, route: [{destination: {host: far}}]}
"""
    with backend("far") as far, carried(rules, client(port), tmp_path, at("far", 80, far.port, id="far")):
        for path, times in (("/once", 1), ("/again", 4), ("/other", 4)):
            before = len(far.seen)
            assert ask(port, path, headers={"x-fail": f"{path[1:]}/9/500"})[0] == 500
            assert len(far.seen) - before == times


def test_statuses_that_count_as_errors(tmp_path: Path) -> None:
    port = free_port()
    outliers = "{outlierDetectionHttpErrorCodes: [404], consecutive5xxErrors: 1, interval: 100ms, maxEjectionPercent: 100}"
    with two() as (eu, us):
        instances = (at("far", 80, eu.port, id="eu"), at("far", 80, us.port, id="us"))
        with carried(RULE.format(policy=f"{{outlierDetection: {outliers}}}"), client(port), tmp_path, *instances):
            assert ask(port, headers={"x-fail": "codes/1/404"})[0] == 404
            until(lambda: len({named(port) for _ in range(20)}) == 1)


def test_the_cookie_that_keeps_a_caller_at_its_endpoint(tmp_path: Path) -> None:
    port = free_port()
    cookie = "{name: who, ttl: 60s, attributes: [{name: SameSite, value: Lax}]}"
    rule = RULE.format(policy=f"{{loadBalancer: {{consistentHash: {{httpCookie: {cookie}}}}}}}")
    with two() as (eu, us):
        instances = (at("far", 80, eu.port, id="eu"), at("far", 80, us.port, id="us"))
        with carried(rule, client(port), tmp_path, *instances):
            _, headers, body = ask(port)
            assert "SameSite=Lax" in headers["set-cookie"]
            kept = headers["set-cookie"].partition(";")[0]
            assert {named(port, cookie=kept) for _ in range(20)} == {json.loads(body)["name"]}


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def received(server: socket.socket, until: bytes, answer: bytes = b"") -> bytes:
    """What the next caller says, up to and with some bytes."""
    connection, _ = server.accept()
    with connection:
        connection.settimeout(60)
        found = b""
        while until not in found:
            found += connection.recv(4096)
        connection.sendall(answer)
    return found


@pytest.mark.parametrize(("version", "begins"), [("--http1.1", b"GET / HTTP/1.1\r\n"), ("--http2-prior-knowledge", b"PRI * HTTP/2.0\r\n")])
def test_the_endpoint_is_spoken_to_as_the_caller_speaks(tmp_path: Path, version: str, begins: bytes) -> None:
    port = free_port()
    rule = RULE.format(policy="{connectionPool: {http: {useClientProtocol: true}}}")
    curl = ["curl", "-s", version, f"http://127.0.0.1:{port}/"]
    with listening() as server:
        far = at("far", 80, server.getsockname()[1], id="far")
        with carried(rule, client(port), tmp_path, far), subprocess.Popen(curl, stdout=subprocess.DEVNULL) as caller:
            assert received(server, b"\r\n\r\n").startswith(begins)
            caller.terminate()


def tcp_client(port: int) -> Node:
    return client(port, service="far", number=5432)


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_the_endpoint_is_told_of_the_callers_address(tmp_path: Path, version: str) -> None:
    port = free_port()
    rule = RULE.format(policy=f"{{proxyProtocol: {{version: {version}}}}}")
    with listening() as server:
        far = at("far", 5432, server.getsockname()[1], id="far", protocol=Protocol.TCP)
        with carried(rule, tcp_client(port), tmp_path, far), socket.create_connection(("127.0.0.1", port)) as caller:
            mine = caller.getsockname()[1]
            caller.sendall(b"hello")
            found = received(server, b"hello")
    if version == "V1":
        assert found == f"PROXY TCP4 127.0.0.1 127.0.0.1 {mine} {port}\r\nhello".encode()
    else:
        assert found.startswith(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11")
        assert mine.to_bytes(2, "big") in found


@pytest.mark.parametrize("limit", ["idleTimeout", "maxConnectionDuration"])
def test_a_connection_of_bytes_ends_in_time(tmp_path: Path, limit: str) -> None:
    port = free_port()
    rule = RULE.format(policy=f"{{connectionPool: {{tcp: {{{limit}: 200ms}}}}}}")
    with listening() as server:
        far = at("far", 5432, server.getsockname()[1], id="far", protocol=Protocol.TCP)
        with carried(rule, tcp_client(port), tmp_path, far), socket.create_connection(("127.0.0.1", port), timeout=60) as caller:
            assert caller.recv(1) == b"", "the endpoint did not close it"


@pytest.mark.parametrize("method", ["CONNECT", "POST"])
def test_connections_inside_of_http(tmp_path: Path, method: str) -> None:
    port = free_port()
    rule = RULE.format(policy=f"{{tunnel: {{protocol: {method}, targetHost: db.example.com, targetPort: 5432}}}}")
    with listening() as server:
        far = at("far", 5432, server.getsockname()[1], id="far", protocol=Protocol.TCP)
        with carried(rule, tcp_client(port), tmp_path, far), socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(b"hello")
            caller.settimeout(60)
            head = received(server, b"\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nwelcome")
            assert caller.recv(100) == b"welcome"
    assert head.startswith(f"{method} ".encode())
    assert b"host: db.example.com:5432\r\n" in head.lower()


def test_a_caller_of_plain_tcp_keeps_its_endpoint(tmp_path: Path) -> None:
    port = free_port()
    rule = RULE.format(policy="{loadBalancer: {consistentHash: {useSourceIp: true}}}")
    with two() as (eu, us):
        instances = tuple(at("far", 5432, b.port, id=b.name, protocol=Protocol.TCP) for b in (eu, us))
        with carried(rule, tcp_client(port), tmp_path, *instances):
            assert len({named(port) for _ in range(20)}) == 1


def test_a_rule_for_chosen_callers_only(tmp_path: Path) -> None:
    rule = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: far}
spec:
  host: far
  workloadSelector: {matchLabels: {app: chosen}}
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: who}}}
"""
    with two() as (eu, us):
        instances = (at("far", 80, eu.port, id="eu"), at("far", 80, us.port, id="us"))
        for app, answering in (("chosen", 1), ("other", 2)):
            port = free_port()
            node = sidecar(app=app, upstreams=(Upstream(host="far", port=80, bind_port=port),))
            with carried(rule, node, tmp_path, *instances):
                assert len({named(port, who="me") for _ in range(40)}) == answering
