"""Every protocol that is in force, through a gateway and through sidecars, with clients that know nothing of Tulle."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import websockets.sync.client

from support import grpc_echo
from support.running import Place, free_port, running

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("protocols")]

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: protocols}}
spec:
  workloads:
  - service: talk
    version: v1
    ports: [{{port: 7000, protocol: grpc}}]
    command: ["{python}", "{grpc_echo}", v1]
  - service: talk
    version: v2
    ports: [{{port: 7000, protocol: grpc}}]
    command: ["{python}", "{grpc_echo}", v2]
  - service: echo
    ports: [{{port: 8080}}]
    command: ["{python}", -m, tulle.demo.apps.echo]
  - service: tcp-echo
    ports: [{{port: 9000, protocol: tcp}}]
    command: ["{python}", -m, tulle.demo.apps.tcp_echo, one]
  - name: client
    command: [sleep, "1000"]
    upstreams: [{{service: tcp-echo, port: 9000, bind: {tcp_upstream}}}, {{service: talk, port: 7000, bind: {grpc_upstream}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: {http}, name: http, protocol: HTTP}}, hosts: ["*"]}}
  - {{port: {{number: {tcp}, name: tcp, protocol: TCP}}, hosts: ["*"]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: talk}}
spec:
  host: talk
  subsets: [{{name: v1, labels: {{version: v1}}}}, {{name: v2, labels: {{version: v2}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: talk}}
spec:
  hosts: [talk]
  gateways: [edge, mesh]
  http:
  - match: [{{uri: {{exact: /test.Echo/Say}}, headers: {{version: {{exact: v2}}}}}}]
    route: [{{destination: {{host: talk, subset: v2}}}}]
  - route: [{{destination: {{host: talk, subset: v1}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: edge}}
spec:
  hosts: ["*"]
  gateways: [edge]
  http: [{{route: [{{destination: {{host: echo, port: {{number: 8080}}}}}}]}}]
  tcp: [{{match: [{{port: {tcp}}}], route: [{{destination: {{host: tcp-echo, port: {{number: 9000}}}}}}]}}]
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ports]:
    with started(tmp_path_factory.mktemp("protocols")) as ports:
        yield ports


class Ports:
    def __init__(self) -> None:
        self.http, self.tcp, self.tcp_upstream, self.grpc_upstream = (free_port() for _ in range(4))
        self.proxy = ""


def settled(answer: dict[str, Any]) -> bool:
    return len(answer["proxies"]) == 6 and all(proxy["current"] for proxy in answer["proxies"])


@contextmanager
def started(folder: Path) -> Iterator[Ports]:
    ports, place = Ports(), Place(folder=folder)
    ends = {name: value for name, value in vars(ports).items() if name != "proxy"}
    place.write("mesh.yaml", MESH.format(python=sys.executable, grpc_echo=grpc_echo.__file__, **ends))
    loop = asyncio.new_event_loop()
    try:
        up = running(place, "up", "mesh.yaml")
        loop.run_until_complete(up.__aenter__())
        try:
            loop.run_until_complete(place.until("/api/v1/services", lambda a: sum(s["healthy"] for s in a["services"]) == 4))
            known = loop.run_until_complete(place.until("/api/v1/proxies", settled))
            ports.proxy = next(p["httpProxy"] for p in known["proxies"] if p["id"] == "sidecar~client")
            yield ports
        finally:
            loop.run_until_complete(up.__aexit__(None, None, None))
    finally:
        loop.close()


def say(target: str, *, version: str) -> bytes:
    options = (("grpc.default_authority", "talk.default.svc.cluster.local"), ("grpc.enable_http_proxy", 0))
    with grpc.insecure_channel(target, options=options) as channel:
        call = channel.unary_unary("/test.Echo/Say")
        answer: bytes = call(b"hello", metadata=(("version", version),), timeout=60, wait_for_ready=True)
        return answer


def test_grpc_is_routed_by_path_and_metadata_at_the_gateway_and_through_an_upstream(mesh: Ports) -> None:
    for port in (mesh.http, mesh.grpc_upstream):
        assert {say(f"127.0.0.1:{port}", version=v) for v in ("v1", "v2")} == {b"v1:hello", b"v2:hello"}


def test_grpc_streams_through_an_upstream(mesh: Ports) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{mesh.grpc_upstream}", options=(("grpc.enable_http_proxy", 0),)) as channel:
        talk = channel.stream_stream("/test.Echo/Talk")
        assert list(talk(iter([b"a", b"b", b"c"]), timeout=60)) == [b"v1:a", b"v1:b", b"v1:c"]


def test_grpc_through_the_forward_proxy_as_its_clients_do_it(mesh: Ports) -> None:
    """gRPC reads http_proxy and sends CONNECT; the stream inside is routed request by request all the same."""
    client = (
        "import grpc,sys\n"
        "c = grpc.insecure_channel('dns:///talk:7000')\n"
        "for v in ('v1', 'v2'):\n"
        "    print(c.unary_unary('/test.Echo/Say')(b'x', metadata=(('version', v),), timeout=60).decode())\n"
    )
    environment = os.environ | {"http_proxy": f"http://{mesh.proxy}", "no_proxy": "localhost"}
    done = subprocess.run([sys.executable, "-c", client], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["v1:x", "v2:x"], done.stderr


def curl(*arguments: str) -> str:
    return subprocess.run(["curl", "-s", *arguments], capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("option", ["--http1.1", "--http2", "--http2-prior-knowledge"])
def test_each_version_of_http_at_the_gateway(mesh: Ports, option: str) -> None:
    done = subprocess.run(
        ["curl", "-s", option, "-w", "\n%{http_version}", f"http://127.0.0.1:{mesh.http}/headers"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    body, _, version = done.stdout.rpartition("\n")
    assert json.loads(body)
    assert version == ("2" if option == "--http2-prior-knowledge" else "1.1")


def test_any_http_client_reaches_a_service_by_name_through_http_proxy(mesh: Ports) -> None:
    for name in ("echo:8080", "echo.default:8080", "echo.default.svc.cluster.local:8080"):
        done = subprocess.run(
            ["curl", "-s", "-x", f"http://{mesh.proxy}", f"http://{name}/a?b=c"], capture_output=True, text=True, timeout=60
        )
        seen = json.loads(done.stdout)
        assert (seen["path"], seen["headers"]["host"]) == ("/a", name)


def test_web_sockets_through_gateway_and_forward_proxy(mesh: Ports) -> None:
    ways = {f"ws://127.0.0.1:{mesh.http}/ws": None, "ws://echo:8080/ws": f"http://{mesh.proxy}"}
    for url, proxy in ways.items():
        with websockets.sync.client.connect(url, proxy=proxy, open_timeout=60) as socket:
            socket.send("hello")
            assert "hello" in str(socket.recv(timeout=60))


async def tcp_exchange(port: int, text: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(text)
        async with asyncio.timeout(60):
            return await reader.readline()
    finally:
        writer.close()


def test_plain_tcp_through_the_gateway_and_an_upstream(mesh: Ports) -> None:
    for port in (mesh.tcp, mesh.tcp_upstream):
        assert asyncio.run(tcp_exchange(port, b"hello\n")) == b"one hello\n"


def test_a_tcp_service_through_connect(mesh: Ports) -> None:
    host, port = mesh.proxy.split(":")

    async def tunnel() -> bytes:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"CONNECT tcp-echo:9000 HTTP/1.1\r\nHost: tcp-echo:9000\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head
        writer.write(b"hello\n")
        line = await reader.readline()
        writer.close()
        return line

    assert asyncio.run(tunnel()) == b"one hello\n"
