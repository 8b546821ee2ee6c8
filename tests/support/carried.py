"""Documents compiled, translated, and carried out by a real Envoy: what a client sees of them."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.compiled import built
from support.lone_envoy import LoneEnvoy, lone_envoy
from tulle.compile import view
from tulle.model.identity import Locality
from tulle.model.mesh import MeshSettings
from tulle.model.proxy import Node
from tulle.model.service import Protocol, RegisteredPort, Registration
from tulle.translate import Snapshot, Translator
from tulle.translate.static import static_config


def at(service: str, port: int, target: int, *, id: str, place: str = "", protocol: Protocol = Protocol.HTTP, **more: Any) -> Registration:  # noqa: A002
    """An instance that listens on `target` and answers for `port`."""
    registered = (RegisteredPort(number=port, target=target, name=protocol.value.lower(), protocol=protocol),)
    return Registration(id=id, service=service, ports=registered, locality=Locality.parse(place), **more)


def snapshot(text: str, node: Node, *registrations: Registration, settings: MeshSettings | None = None) -> Snapshot:
    result = Translator().snapshot(view(built(text, *registrations, settings=settings).mesh, node))
    assert result.problems() == ()
    return result


@contextmanager
def carried(text: str, node: Node, folder: Path, *registrations: Registration, settings: MeshSettings | None = None) -> Iterator[LoneEnvoy]:
    """An Envoy that does what the node is to do."""
    with lone_envoy(static_config(snapshot(text, node, *registrations, settings=settings), node), folder) as envoy:
        yield envoy


def ask(port: int, path: str = "/", *, headers: Mapping[str, str] | None = None, source: str = "") -> tuple[int, dict[str, str], bytes]:
    """A request to a local port, from an address of loopback: status, headers and body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(source, 0))
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def until(holds: Callable[[], bool], *, seconds: float = 120) -> None:
    """Returns as soon as something holds that only asking can tell of."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"did not hold within {seconds} s"
        time.sleep(0.02)
