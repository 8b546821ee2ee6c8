"""The HTTP API on a real port, over a real store, in front of a mesh in which nothing runs."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tulle.ca.authority import Authority
from tulle.ca.jwt_keys import JwtKeys
from tulle.compile.proxy_start import ProxyStart
from tulle.model.identity import Labels
from tulle.model.proxy import Node, Role
from tulle.model.resource import Condition, Key, Resource, Status, Violation
from tulle.model.service import Endpoint, Port, Service
from tulle.registry.registrations import Registrations
from tulle.server.access.api import TokensApi
from tulle.server.access.first import first_token
from tulle.server.access.join import JoinApi
from tulle.server.access.tokens import Tokens
from tulle.server.http import application, listen, serve
from tulle.server.identity_api import IdentityApi
from tulle.server.ports import EndpointInfo, Progress, ProxyInfo, ServiceInfo
from tulle.server.quick import PATIENCE
from tulle.server.well_known import WellKnown
from tulle.settings import Address
from tulle.store.documents import Documents
from tulle.store.leased import LeasedValues
from tulle.store.sqlite import open_sqlite

FINGERPRINT = "ab" * 32
REVIEWS = Service(host="reviews.default.svc.cluster.local", name="reviews", namespace="default", ports=(Port(number=9080, name="http"),))


@dataclass
class QuietMesh:
    """A `Live` in which one proxy has acknowledged everything."""

    waited: list[tuple[int, float]] = field(default_factory=list)
    why_not_ready: str = ""
    compiled: dict[Key, Status] = field(default_factory=dict)
    asked: list[Mapping[Key, Resource[Any] | None]] = field(default_factory=list)
    """What was to be foreseen."""
    arising: list[Violation] = field(default_factory=list)

    def ready(self) -> str:
        return self.why_not_ready

    def root_namespace(self) -> str:
        return "istio-system"

    def status(self, key: Key) -> Status:
        programmed = Condition(type="Programmed", status=True, reason="Acknowledged", message="1 of 1 proxies have acknowledged")
        return self.compiled.get(key, Status(conditions=(programmed,)))

    def warnings(self, key: Key) -> tuple[Violation, ...]:
        return self.status(key).warnings

    async def foreseen(self, change: Mapping[Key, Resource[Any] | None]) -> Sequence[Violation]:
        self.asked.append(change)
        return self.arising

    def changed(self) -> datetime:
        return datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def proxies(self) -> Sequence[ProxyInfo]:
        since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        acked = {"cluster": "abc", "listener": "def"}
        return [
            ProxyInfo(
                id="sidecar~a", role=Role.SIDECAR, namespace="default", ip="127.0.0.1", connected_since=since, current=True, acked=acked
            )
        ]

    def proxy_start(self, namespace: str, labels: Labels) -> ProxyStart:
        return ProxyStart(concurrency=2 if namespace == "default" else None, environment=labels)

    def bootstrap_changes(self, node: Node) -> list[dict[str, Any]]:
        return [{"value": {"stats_flush_interval": "7s"}, "replace_lists": False}] if node.role is Role.GATEWAY else []

    def services(self) -> Sequence[ServiceInfo]:
        return [ServiceInfo(service=REVIEWS, endpoints=1, healthy=1)]

    def endpoints(self, host: str, namespaces: tuple[str, ...] = ()) -> Sequence[EndpointInfo] | None:
        if (namespaces and REVIEWS.namespace not in namespaces) or host not in (REVIEWS.host, "reviews"):
            return None
        return [EndpointInfo(endpoint=Endpoint(address="127.0.0.1", port=4711, workload="reviews-1"), service_port=9080)]

    def explain(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        if "url" not in question:
            raise ValueError("url: required")
        if question.get("from") == "defect":
            raise RuntimeError("the secret of the house")
        if question.get("from") == "nobody":
            raise LookupError("no proxy is called 'nobody'")
        return {"route": "default"}

    async def wait_acknowledged(self, revision: int, timeout: float) -> Progress:
        self.waited.append((revision, timeout))
        return Progress(acknowledged=1, proxies=1)


@dataclass(kw_only=True)
class Api:
    """A running API and a client for it."""

    port: int
    mesh: QuietMesh
    first: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> tuple[int, Any]:
        """Status and body, as JSON where it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
            response = connection.getresponse()
            text = response.read()
            is_json = response.getheader("content-type", "").startswith("application/json")
            return response.status, json.loads(text) if is_json and text else text.decode()
        finally:
            connection.close()

    def apply(self, text: str, path: str = "test.yaml", **more: object) -> tuple[int, Any]:
        return self.request("POST", "/api/v1/apply", {"files": [{"path": path, "text": text}], **more})


@contextmanager
def running_api(
    folder: Path,
    *,
    guarded: bool = False,
    authority: Authority | None = None,
    jwt_keys: JwtKeys | None = None,
    now: Callable[[], float] = time.time,
    patience: float = PATIENCE,
) -> Iterator[Api]:
    """Starts the API in a thread of its own; its store lies in `folder`. `guarded`: it asks for tokens, and `first` is an admin's.

    `patience`: seconds for the head of a request.
    """
    listener = listen(Address(host="127.0.0.1", port=0))
    mesh = QuietMesh()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    started, first = threading.Event(), list[str]()

    async def run() -> None:
        async with open_sqlite(folder / "tulle.db", time.monotonic) as store, asyncio.TaskGroup() as group:
            tokens = Tokens(store, now)
            first.append((await first_token(tokens, str(folder / "tulle.db"))).reveal().decode() if guarded else "")
            app = application(
                Documents(store),
                Registrations(LeasedValues(store, "registrations/")),
                mesh,
                loopback=True,
                more=[
                    *TokensApi(tokens, lambda: authority.roots()[0].fingerprint if authority else FINGERPRINT).routes(),
                    *(JoinApi(tokens, lambda: authority, now).routes() if authority else ()),
                    *((r for api in _of_tokens(jwt_keys, authority) for r in api.routes()) if jwt_keys and authority else ()),
                ],
                tokens=tokens if guarded else None,
            )
            started.set()
            serving = group.create_task(serve(app, listener, patience=patience))
            await stop.wait()
            serving.cancel()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), name="api")
    thread.start()
    try:
        assert started.wait(60)
        yield Api(port=listener.getsockname()[1], mesh=mesh, first=first[0])
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def _of_tokens(keys: JwtKeys, authority: Authority) -> tuple[IdentityApi, WellKnown]:
    return IdentityApi(lambda: keys), WellKnown(lambda: keys, lambda: authority)
