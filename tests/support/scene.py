"""A mesh as a user runs it: `tulle up` with sidecars and a gateway, kept for many tests that each put documents of their own into force."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.carried import until
from support.running import TULLE, Place

REFUSED = 0
"""The status where there is no answer, as the connection is closed."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def said(self) -> Any:
        """What the application says that it was asked."""
        return json.loads(self.body)


def exchange(
    port: int, method: str, target: str, headers: Mapping[str, str] | None = None, *, body: bytes | None = None, seconds: float = 60
) -> Answer:
    """A request to a local port on a connection of its own; its target may be a whole URL."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        connection.request(method, target, body, dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    except (ConnectionError, http.client.HTTPException):
        return Answer(REFUSED)
    finally:
        connection.close()


class Scene:
    """The running mesh. Calls go the way that an application's would: through the proxy of the workload that makes them."""

    def __init__(self, place: Place, process: subprocess.Popen[bytes]) -> None:
        self.place = place
        self._process = process
        self._proxies: dict[str, Any] = {}

    @property
    def gateway(self) -> int:
        return self.place.gateway

    def api(self, method: str, path: str, body: object = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        answer = exchange(self.place.api, method, path, {"content-type": "application/json"}, body=data, seconds=90)
        if answer.status >= 300 or answer.status == REFUSED:
            raise OSError(f"{method} {path}: {answer.status} {answer.body[:2000]!r}")
        return answer.said

    @contextmanager
    def holding(self, *texts: str) -> Iterator[Scene]:
        """Documents that are in force at every proxy when the block begins, and gone when it ends."""
        files = {"files": [{"path": "scene.yaml", "text": "\n---\n".join(texts)}], "wait": "60s"}
        told = self.api("POST", "/api/v1/apply", files)
        assert told["acknowledged"]["complete"], told
        assert not told["violations"], told
        try:
            yield self
        finally:
            self.api("POST", "/api/v1/delete", files)

    def call(self, caller: str, url: str, method: str = "GET", **headers: str) -> Answer:
        """A request of a workload, through its proxy. In names of headers `_` stands for `-`."""
        return exchange(self.proxy(caller), method, url, _named(headers))

    def plain(self, workload: str, port: int, path: str = "/", method: str = "GET", **headers: str) -> Answer:
        """A request of somebody without a sidecar, at the door of a workload's."""
        return exchange(self.door(workload, port), method, path, _named(headers))

    def enter(self, path: str = "/", method: str = "GET", **headers: str) -> Answer:
        """A request at the gateway."""
        return exchange(self.gateway, method, path, _named(headers))

    def proxy(self, workload: str) -> int:
        """Where a workload's sidecar takes its calls."""
        return int(self._proxy(workload)["httpProxy"].rpartition(":")[2])

    def door(self, workload: str, port: int) -> int:
        """Where a workload's sidecar takes calls for it."""
        return int(next(p["listen"] for p in self._proxy(workload)["inbound"] if p["servicePort"] == port))

    def can(self, url: str, method: str = "GET", source: str = "", headers: Mapping[str, str] | None = None) -> str:
        """What the running mesh says of a call: yes, no or depends."""
        question = {"url": url, "method": method, "headers": list(_named(headers or {}).items())} | ({"source": source} if source else {})
        return str(self.api("POST", "/api/v1/can", question)["allowed"])

    def until_there(self, proxies: int, endpoints: int) -> None:
        until(lambda: self._is_there(proxies, endpoints), seconds=300)
        self._proxies = {proxy["id"]: proxy for proxy in self.api("GET", "/api/v1/proxies")["proxies"]}

    def _is_there(self, proxies: int, endpoints: int) -> bool:
        assert self._process.poll() is None, "the mesh has ended"
        with suppress(OSError):
            found = self.api("GET", "/api/v1/proxies")["proxies"]
            passing = [e for e in self.api("GET", "/api/v1/endpoints")["endpoints"] if e["health"] == "passing"]
            return len(found) == proxies and len(passing) >= endpoints and all(proxy["current"] for proxy in found)
        return False

    def _proxy(self, workload: str) -> Any:
        assert f"sidecar~{workload}" in self._proxies, list(self._proxies)
        return self._proxies[f"sidecar~{workload}"]


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def said_over_tcp(port: int, text: bytes = b"hello\n") -> bytes:
    """What a connection answers; empty where it is closed at once."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection, suppress(ConnectionError):
        connection.sendall(text)
        return connection.recv(4096)
    return b""


@contextmanager
def scene(mesh_file: str, *, proxies: int, endpoints: int, place: Place, environment: Mapping[str, str] | None = None) -> Iterator[Scene]:
    """Yields when all proxies and instances are there."""
    log = place.folder / "up.log"
    with log.open("wb") as output:
        arguments = [TULLE, "up", str(place.write("mesh.yaml", mesh_file))]
        process = subprocess.Popen(
            arguments, env={**place.environment, **(environment or {})}, cwd=place.folder, stdout=output, stderr=output
        )
    try:
        found = Scene(place, process)
        found.until_there(proxies, endpoints)
        yield found
    except BaseException as error:
        error.add_note(log.read_text(errors="replace")[-3000:])
        raise
    finally:
        process.terminate()
        process.wait(timeout=60)


@contextmanager
def place() -> Iterator[Place]:
    """A folder that is not too deep for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        yield Place(folder=Path(folder))
