"""Run alone in a network namespace, as root: a gateway between callers and servers that keeps the callers' addresses.

`unshare -n python router.py SAID HOME` prints one line of JSON: what servers at 10.2.0.2, and one at 127.0.0.1, saw of a caller
at 10.1.0.2. SAID is the value of the annotation, HOME the name of the namespace that must be left alone.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.carried import at
from support.compiled import gateway
from support.led_mesh import led_mesh
from tulle.model.identity import NO_LABELS
from tulle.model.service import Protocol, Registration

HTTP, TCP, UDP, LOCAL, HOPS = 8080, 8081, 8082, 8083, 8084
EDGE = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, annotations: {tulle.dev/original-source: "SAID"}}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 8081, name: tcp, protocol: TCP}, hosts: ["*"]}
  - {port: {number: 8082, name: udp, protocol: UDP}, hosts: ["*"]}
  - {port: {number: 8083, name: local, protocol: TCP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: behind
  annotations: {tulle.dev/original-source: "SAID", proxy.istio.io/config: "gatewayTopology: {numTrustedProxies: 1}"}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8084, name: behind, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*"]
  gateways: [edge, behind]
  http: [{route: [{destination: {host: http}}]}]
  tcp:
  - {match: [{port: 8081}], route: [{destination: {host: tcp}}]}
  - {match: [{port: 8082}], route: [{destination: {host: udp}}]}
  - {match: [{port: 8083}], route: [{destination: {host: local}}]}
"""
ROUTING = (
    # What servers answer comes to the proxy, though it is addressed to the callers.
    "ip rule add iif s0 from 10.2.0.2 lookup 100",
    "ip rule add iif lo from 127.0.0.1 ipproto tcp sport 9001 lookup 100",
    "ip route add local 0.0.0.0/0 dev lo table 100",
)


def run(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)


@contextmanager
def neighbour(link: str, own: str, theirs: str) -> Iterator[list[str]]:
    """Another machine behind a link of this one; what to put in front of commands that it is to run."""
    with subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE) as machine:
        assert machine.stdout
        machine.stdout.readline()
        there = ["nsenter", "-t", str(machine.pid), "-n"]
        run(
            f"ip link add {link} type veth peer name {link}p netns {machine.pid}",
            f"ip address add {own}/24 dev {link}",
            f"ip link set {link} up",
        )
        for command in (
            f"ip address add {theirs}/24 dev {link}p",
            f"ip link set {link}p up",
            "ip link set lo up",
            f"ip route add default via {own}",
        ):
            run(" ".join([*there, *command.split()]))
        try:
            yield there
        finally:
            machine.kill()


SERVER = """
import asyncio, sys
class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport): self.transport = transport
    def datagram_received(self, data, caller): self.transport.sendto(caller[0].encode(), caller)
async def tell(reader, writer):
    said = writer.get_extra_info("peername")[0].encode()
    line = await reader.readline()
    if b"HTTP/" in line:
        while (await reader.readline()).strip(): pass
        said = b"HTTP/1.1 200 OK\\r\\ncontent-length: %d\\r\\nconnection: close\\r\\n\\r\\n%s" % (len(said), said)
    writer.write(said); await writer.drain(); writer.close()
async def main():
    server = await asyncio.start_server(tell, sys.argv[1], int(sys.argv[2]))
    await asyncio.get_running_loop().create_datagram_endpoint(Datagrams, local_addr=(sys.argv[1], int(sys.argv[2])))
    print(flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
CALLER = """
import socket, sys
kind, port = sys.argv[1], int(sys.argv[2])
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as caller:
    caller.settimeout(60)
    caller.connect(("10.1.0.1", port))
    caller.sendall(b"GET / HTTP/1.1\\r\\nhost: x\\r\\nx-forwarded-for: 10.1.0.77\\r\\n\\r\\n" if kind == "http" else b"who\\n")
    print(caller.recv(4096).decode().rpartition("\\n")[2])
"""


@contextmanager
def server(there: list[str], address: str, port: int) -> Iterator[None]:
    with subprocess.Popen([*there, sys.executable, "-c", SERVER, address, str(port)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()


def registrations() -> list[Registration]:
    far = [
        replace(at(name, 80, 9000, id=name, protocol=speaks), address="10.2.0.2", labels=NO_LABELS)
        for name, speaks in (("http", Protocol.HTTP), ("tcp", Protocol.TCP), ("udp", Protocol.UDP))
    ]
    return [*far, at("local", 80, 9001, id="local", protocol=Protocol.TCP)]


async def main(said: str) -> dict[str, str]:
    with ExitStack() as stack:
        run("ip link set lo up")
        callers = stack.enter_context(neighbour("c0", "10.1.0.1", "10.1.0.2"))
        servers = stack.enter_context(neighbour("s0", "10.2.0.1", "10.2.0.2"))
        run(*ROUTING)
        stack.enter_context(server(servers, "10.2.0.2", 9000))
        stack.enter_context(server([], "127.0.0.1", 9001))
        node = replace(gateway(), transparent=True)
        async with led_mesh(node, EDGE.replace("SAID", said), *registrations()) as mesh:
            assert mesh.rejections == []

            async def asked(kind: str, port: int) -> str:
                command = [*callers, sys.executable, "-c", CALLER, kind, str(port)]
                process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
                output, _ = await process.communicate()
                return output.decode().strip()

            ways = {"http": ("http", HTTP), "tcp": ("tcp", TCP), "udp": ("udp", UDP), "local": ("tcp", LOCAL), "hops": ("http", HOPS)}
            return {name: await asked(*way) for name, way in ways.items()}


if __name__ == "__main__":
    assert Path("/proc/self/ns/net").readlink() != Path(sys.argv[2]), "this would change the machine's own network"
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
