"""Programs of others that find services here: HAProxy and gRPC by DNS, and what Prometheus asks of Consul's API."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.agent_calls import call
from support.raw_http import Client
from support.running import Place, free_port, running


async def register(place: Place, identifier: str, port: int, **more: object) -> None:
    body = {"Name": "web", "ID": identifier, "Address": "127.0.0.1", "Port": port, **more}
    assert (await call(place, "PUT", "/v1/agent/service/register", body))[0] == 200


async def deregister(place: Place, identifier: str) -> None:
    assert (await call(place, "PUT", f"/v1/agent/service/deregister/{identifier}"))[0] == 200


@asynccontextmanager
async def control(folder: Path) -> AsyncIterator[Place]:
    place = Place(folder=folder)
    async with running(place, "control"):
        await place.until("/api/v1/proxies", lambda _: True)
        yield place


@asynccontextmanager
async def backend(name: str) -> AsyncIterator[int]:
    """A server that says its name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {len(name)}\r\n\r\n{name}".encode())
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


# HAProxy

HAPROXY = """
global
  log stderr local0 err
defaults
  mode http
  timeout connect 20s
  timeout client 60s
  timeout server 60s
resolvers registry
  nameserver registry 127.0.0.1:{dns}
  accepted_payload_size 8192
  timeout resolve 200ms
  timeout retry 200ms
  hold valid 200ms
  hold obsolete 0s
  hold nx 0s
frontend in
  bind 127.0.0.1:{listen}
  default_backend web
backend web
  balance roundrobin
  server-template web 5 {name} resolvers registry resolve-prefer ipv4 init-addr none
"""


@asynccontextmanager
async def haproxy(place: Place, name: str) -> AsyncIterator[int]:
    listen = free_port()
    file = place.write("haproxy.cfg", HAPROXY.format(dns=place.dns, listen=listen, name=name))
    process = await asyncio.create_subprocess_exec(shutil.which("haproxy") or "", "-db", "-f", str(file))
    try:
        yield listen
    finally:
        process.terminate()
        await process.wait()


async def balanced(listen: int, expected: set[str]) -> None:
    """Returns when ten requests in a row were answered by all of those, and by nobody else."""
    client, seen = Client(), [""]
    async with asyncio.timeout(60):
        while set(seen[-10:]) != expected or len(seen) < 10:
            try:
                answer = await client.send(listen, "GET", "/", [("host", "web")])
                seen.append(answer.body.decode() if answer.status == 200 else str(answer.status))
            except (OSError, EOFError):
                seen.append("refused")
            await asyncio.sleep(0.02)
    client.close()


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed")
def test_haproxy_follows_the_instances_and_their_ports(tmp_path: Path) -> None:
    async def main() -> None:
        servers = (backend("one"), backend("two"))
        async with control(tmp_path) as place, servers[0] as one, servers[1] as two, haproxy(place, "_web._tcp.service.consul") as listen:
            await register(place, "web-1", one)
            await balanced(listen, {"one"})
            await register(place, "web-2", two)
            await balanced(listen, {"one", "two"})
            assert (await call(place, "PUT", "/v1/agent/service/maintenance/web-1?enable=true"))[0] == 200
            await balanced(listen, {"two"})
            await deregister(place, "web-2")
            await balanced(listen, {"503"})

    asyncio.run(main())


# gRPC

GRPC = """
import sys, grpc
from concurrent.futures import ThreadPoolExecutor

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)

server = grpc.server(ThreadPoolExecutor(1))
server.add_generic_rpc_handlers((Echo(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"dns://127.0.0.1:{sys.argv[1]}/{sys.argv[2]}:{port}") as channel:
    print(channel.unary_unary("/echo/echo")(b"heard", timeout=60, wait_for_ready=True).decode())
server.stop(None)
"""


def test_grpc_asks_for_names(tmp_path: Path) -> None:
    async def main() -> None:
        async with control(tmp_path) as place:
            await register(place, "web-1", 1)
            command = (sys.executable, "-c", GRPC, str(place.dns), "web.service.consul")
            environment = os.environ | {"GRPC_DNS_RESOLVER": "ares", "GRPC_VERBOSITY": "ERROR"}
            process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
            output, _ = await process.communicate()
            assert (process.returncode, output) == (0, b"heard\n")

    asyncio.run(main())


# Prometheus


class ServiceDiscovery:
    """Asks what Prometheus' `consul_sd_configs` asks, in its order, and believes what it believes.

    It watches the names of services, and each wanted service by its tags; an answer with the index of the one before is no news.
    As Consul's client for Go does, it takes an answer only with all of its headers.
    """

    def __init__(self, port: int, tags: tuple[str, ...]) -> None:
        self._port = port
        self._tags = tags
        self.targets: dict[str, list[str]] = {}
        self.ignored = 0
        self.changed = asyncio.Event()

    async def run(self) -> None:
        client = Client()
        answer, _ = await self._get(client, "/v1/agent/self", blocking=False)
        assert answer["Config"]["Datacenter"] == "dc1"
        watched: dict[str, asyncio.Task[None]] = {}
        index = 0
        async with asyncio.TaskGroup() as tasks:
            while True:
                names, now = await self._get(client, f"/v1/catalog/services?index={index}&stale=&wait=120000ms")
                if now == index:
                    self.ignored += 1
                    continue
                index = now
                wanted = {name for name, tags in names.items() if set(self._tags) <= set(tags)}
                for name in wanted - watched.keys():
                    watched[name] = tasks.create_task(self._watch(name))
                for name in watched.keys() - wanted:
                    watched.pop(name).cancel()
                    self._tell(name, None)

    async def _watch(self, name: str) -> None:
        client, index = Client(), 0
        tags = "".join(f"&tag={tag}" for tag in self._tags)
        while True:
            entries, now = await self._get(client, f"/v1/health/service/{name}?index={index}&stale={tags}&wait=120000ms")
            if now == index:
                self.ignored += 1
                continue
            index = now
            self._tell(name, sorted(f"{e['Service']['Address'] or e['Node']['Address']}:{e['Service']['Port']}" for e in entries))

    def _tell(self, name: str, targets: list[str] | None) -> None:
        self.targets.pop(name, None)
        if targets is not None:
            self.targets[name] = targets
        self.changed.set()
        self.changed = asyncio.Event()

    async def _get(self, client: Client, path: str, *, blocking: bool = True) -> tuple[Any, int]:
        headers = [("host", f"127.0.0.1:{self._port}"), ("user-agent", "Go-http-client/1.1"), ("accept-encoding", "gzip")]
        answer = await client.send(self._port, "GET", path, headers)
        assert answer.status == 200, answer.body
        if blocking:
            assert answer.get("x-consul-knownleader") == "true"
            assert int(answer.get("x-consul-lastcontact") or "") >= 0
        return json.loads(answer.body), int(answer.get("x-consul-index") or 0)

    async def until(self, targets: dict[str, list[str]]) -> None:
        async with asyncio.timeout(60):
            while self.targets != targets:
                await self.changed.wait()


def test_prometheus_finds_its_targets(tmp_path: Path) -> None:
    async def main() -> None:
        async with control(tmp_path) as place, asyncio.TaskGroup() as tasks:
            discovery = ServiceDiscovery(place.api, ("metrics", "prod"))
            running = tasks.create_task(discovery.run())
            await register(place, "web-1", 9001, Tags=["prod", "metrics"])
            await discovery.until({"web": ["127.0.0.1:9001"]})
            await register(place, "web-2", 9002, Tags=["metrics"])
            await register(place, "web-3", 9003, Tags=["metrics", "Prod", "more"])
            await discovery.until({"web": ["127.0.0.1:9001", "127.0.0.1:9003"]})
            await deregister(place, "web-1")
            await discovery.until({})
            await register(place, "web-1", 9011, Tags=["metrics", "prod"])
            await discovery.until({"web": ["127.0.0.1:9003", "127.0.0.1:9011"]})
            assert discovery.ignored == 0, "an answer came before there was news"
            running.cancel()

    asyncio.run(main())
