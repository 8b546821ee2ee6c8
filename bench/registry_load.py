"""Clients of the registry, in a process of their own: `python -m bench.registry_load register|watch|serve ...`. HTTP by hand, to be cheap.

`register PORT CLIENTS FIRST COUNT SERVICES CHECKED`: registers COUNT instances, each client one after the other; with an HTTP check of the
port CHECKED every ten seconds, unless it is 0. One line of JSON: seconds, and the milliseconds that one took.

`watch PORT COUNT SERVICES`: COUNT blocked queries, on SERVICES services. Prints a line when all were sent. A line of standard input with a
number says how many answers are to come, and is answered with `{}`: when they were there, prints when the first, the middle and the last
was (monotonic seconds), and asks anew.

`serve PORT`: says 200 to whatever is asked, on a connection for each question.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import cast

import uvloop

AT_ONCE = 128
"""Connections that are opened at the same time."""


class Client(asyncio.Protocol):
    """One connection; one question at a time."""

    def __init__(self, heard: Callable[[Client, int], None]) -> None:
        self._heard = heard
        self._index = self._missing = 0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> None:
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            end = data.find(b"\r\n\r\n") + 4
            if not data.startswith(b"HTTP/1.1 200") or end < 4:
                raise RuntimeError(data.decode(errors="replace")[:500])
            head = data[:end]
            self._index, self._missing = number(head, b"x-consul-index: "), end + number(head, b"content-length: ")
        self._missing -= len(data)
        if not self._missing:
            self._heard(self, self._index)


def number(head: bytes, name: bytes) -> int:
    """A header's value; 0 where it is missing."""
    _, found, rest = head.partition(b"\r\n" + name)
    return int(rest.partition(b"\r\n")[0]) if found else 0


async def connected(port: int, count: int, heard: Callable[[Client, int], None]) -> list[Client]:
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < count:
        batch = (loop.create_connection(lambda: Client(heard), "127.0.0.1", port) for _ in range(min(AT_ONCE, count - len(clients))))
        clients += [client for _, client in await asyncio.gather(*batch)]
    return clients


# Registrations


def registration(number: int, services: int, checked: int) -> bytes:
    body: dict[str, object] = {
        "ID": f"svc{number % services}-{number}",
        "Name": f"svc{number % services}",
        "Address": address(number),
        "Port": 8080,
    }
    body |= {"Tags": ["v1", "primary"], "Meta": {"version": "v1", "zone": "a"}}
    if checked:
        body["Check"] = {"HTTP": f"http://127.0.0.1:{checked}/health", "Interval": "10s"}
    text = json.dumps(body).encode()
    head = b"PUT /v1/agent/service/register HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(text) + text


def address(number: int) -> str:
    return f"10.{number // 62500 % 250}.{number // 250 % 250}.{number % 250 + 1}"


async def register(port: int, clients: int, first: int, count: int, services: int, checked: int) -> None:
    requests = [registration(number, services, checked) for number in range(first, first + count)]
    requests.reverse()
    begun: dict[Client, float] = {}
    times: list[float] = []
    done = asyncio.Event()

    def following(client: Client, _: int = 0) -> None:
        now = time.monotonic()
        if client in begun:
            times.append(now - begun[client])
        if requests:
            begun[client] = now
            client.ask(requests.pop())
        elif len(times) == count:
            done.set()

    everybody = await connected(port, clients, following)
    start = time.monotonic()
    for client in everybody:
        following(client)
    await done.wait()
    seconds = time.monotonic() - start
    times.sort()
    print(json.dumps({"seconds": seconds, "p50": times[count // 2] * 1e3, "p99": times[count * 99 // 100] * 1e3}), flush=True)


# Watchers


class Watchers:
    def __init__(self, services: int) -> None:
        self._services = services
        self._indices: dict[Client, int] = {}
        self._numbers: dict[Client, int] = {}
        self._times: list[float] = []
        self._expected = 0
        self._met = asyncio.Event()

    async def connect(self, port: int, count: int) -> None:
        everybody = await connected(port, count, self._heard)
        self._numbers = {client: number for number, client in enumerate(everybody)}
        self._expected = count
        for client in everybody:
            self._ask(client, 0)
        await self._met.wait()

    def _ask(self, client: Client, index: int) -> None:
        service = self._numbers[client] % self._services
        query = f"GET /v1/health/service/svc{service}?passing=1&index={index}&wait=600s HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        client.ask(query.encode())

    def _heard(self, client: Client, index: int) -> None:
        self._times.append(time.monotonic())
        self._indices[client] = index
        if len(self._times) == self._expected:
            self._met.set()

    def wait_anew(self) -> None:
        for client, index in self._indices.items():
            self._ask(client, index)
        self._indices.clear()
        self._times = []
        self._met.clear()

    async def answered(self, expected: int) -> dict[str, float]:
        self._expected = expected
        print("{}", flush=True)
        if len(self._times) < expected:
            await self._met.wait()
        return {"first": self._times[0], "p50": self._times[expected // 2], "last": self._times[-1]}


async def watch(port: int, count: int, services: int) -> None:
    watchers = Watchers(services)
    await watchers.connect(port, count)
    while True:
        watchers.wait_anew()
        print("{}", flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
        if not line:
            return
        print(json.dumps(await watchers.answered(int(line))), flush=True)


class Healthy(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, _: bytes) -> None:
        self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\nok\n")
        self._transport.close()


async def serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Healthy, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run({"register": register, "watch": watch, "serve": serve}[sys.argv[1]](*map(int, sys.argv[2:])))
