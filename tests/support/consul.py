"""Consul's API on a real port, over a real store, and a client that shows everything."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path
from random import Random
from typing import Any

from support.api import QuietMesh
from tulle.ca.authority import Authority
from tulle.registry.catalog import Node
from tulle.registry.registrations import Registrations
from tulle.registry.registry import Registry
from tulle.registry.rows import PREFIXES
from tulle.server.checks_api import ChecksApi
from tulle.server.consul.api import consul_app
from tulle.server.consul.app import ConsulApp
from tulle.server.consul.config.held import HeldEntries
from tulle.server.consul.place import Place
from tulle.server.consul.wan import NO_WAN, Wan
from tulle.server.http import application, listen, serve
from tulle.server.tls import ApiContext
from tulle.settings import Address
from tulle.store.documents import Documents
from tulle.store.journal import Journal
from tulle.store.leased import LeasedValues
from tulle.store.port import Store
from tulle.store.sqlite import open_sqlite

NODE = Node(name="n1", address="127.0.0.1")


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def index(self) -> int:
        return int(self.headers["x-consul-index"])


@dataclass(kw_only=True)
class Consul:
    """A running registry."""

    port: int
    registry: Registry
    registrations: Registrations
    loop: asyncio.AbstractEventLoop
    store: Store
    app: ConsulApp
    trusted: ssl.SSLContext | None = None
    """Where it speaks TLS: what a client of it trusts."""

    @property
    def url(self) -> str:
        return f"{'https' if self.trusted else 'http'}://127.0.0.1:{self.port}"

    def ask(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Sends a body of bytes as it is, any other as JSON."""
        if self.trusted:
            connection: http.client.HTTPConnection = HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self.trusted)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(status=response.status, headers=names, body=response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Answer:
        return self.ask("GET", path)

    def put(self, path: str, body: object = None) -> Answer:
        return self.ask("PUT", path, body)

    def as_(self, secret: str, method: str, path: str, body: object = None) -> Answer:
        """Asks with a token."""
        return self.ask(method, path, body, {"X-Consul-Token": secret})

    def call(self, work: Any) -> Any:
        """Awaits on the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


async def _follow(documents: Documents, entries: HeldEntries, first: asyncio.Event) -> None:
    async for update in documents.watch():
        entries.take(update)
        first.set()


@contextmanager
def running_consul(
    folder: Path,
    *,
    scripts: bool = False,
    acl: str = "allow",
    wan: Wan = NO_WAN,
    authority: Authority | None = None,
    remote: bool = False,
    tls: ApiContext | None = None,
    trusted: ssl.SSLContext | None = None,
) -> Iterator[Consul]:
    """Starts it in a thread of its own; its store lies in `folder`. With `tls` it speaks that, and `trusted` is for its clients."""
    listener = listen(Address(host="127.0.0.1", port=0))
    loop = asyncio.new_event_loop()
    stop, started = asyncio.Event(), threading.Event()
    held: list[tuple[Registry, Registrations, Store, ConsulApp]] = []
    failed: list[BaseException] = []

    async def run() -> None:
        async with open_sqlite(folder / "tulle.db", time.monotonic) as store, asyncio.TaskGroup() as group:
            registry = Registry(Journal(store, PREFIXES), NODE, clock=time.monotonic, dice=Random(4))
            registrations = Registrations(LeasedValues(store, "registrations/"))
            running = group.create_task(registry.run())
            await registry.ready.wait()
            place = Place(datacenter=wan.own, leader="127.0.0.1:8300", scripts=scripts, acl=acl, wan=wan, remote=remote)
            documents = Documents(store)
            entries, first = HeldEntries(documents, registry.waiting), asyncio.Event()
            following = group.create_task(_follow(documents, entries, first))
            await first.wait()
            parts = {"consul": consul_app(registry, place, entries, authority), "more": ChecksApi(registry).routes()}
            app = application(documents, registrations, QuietMesh(), loopback=True, **parts)
            serving = group.create_task(serve(app, listener, tls))
            held.append((registry, registrations, store, parts["consul"]))
            started.set()
            await stop.wait()
            registry.close()
            serving.cancel()
            running.cancel()
            following.cancel()

    def work() -> None:
        try:
            loop.run_until_complete(run())
        except BaseException as error:  # noqa: BLE001 - told to the test
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=work, name="consul")
    thread.start()
    started.wait(60)
    try:
        if held:
            registry, registrations, store, app = held[0]
            port = listener.getsockname()[1]
            yield Consul(port=port, registry=registry, registrations=registrations, loop=loop, store=store, app=app, trusted=trusted)
    finally:
        if held and thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
        listener.close()
    if failed:
        raise failed[0]
