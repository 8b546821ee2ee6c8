"""Documents of the Gateway API, carried out by a real Envoy and explained, for tables of requests and of what becomes of them.

A line of such a table:

    GET http://a.example/path x-user=jane => reviews path=/new host=b.example x-added=1
    GET http://a.example/gone => 404
    GET http://a.example/old => 301 https://a.example/new
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from support.carried import at
from support.compiled import built, gateway
from support.lone_envoy import LoneEnvoy, lone_envoy
from support.raw_http import Client, Response, upstreams
from tulle.compile import Built, view
from tulle.compile.explain.entry import PORTS
from tulle.compile.explain.request import Request, joined
from tulle.compile.explain.views import explain
from tulle.model.proxy import Node, ProxyView
from tulle.translate import Translator
from tulle.translate.static import static_config

EDGE = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: tulle
  listeners: [{name: web, port: 80, protocol: HTTP}]
---
"""


def moved(found: ProxyView) -> ProxyView:
    """The same with every listener on a port that is free."""
    layers = tuple(replace(la, listeners=tuple(replace(x, port=0, address="127.0.0.1") for x in la.listeners)) for la in found.layers)
    return ProxyView(layers=layers)


@dataclass
class Served:
    """A gateway, or a sidecar with its forward proxy, and upstreams behind it, which answer with their names."""

    built: Built
    node: Node
    envoy: LoneEnvoy
    client: Client
    ports: Mapping[str, int]
    """Those of the upstreams."""

    def port(self, declared: int = 80) -> int:
        if self.node.http_proxy:
            return self.envoy.port("_".join(map(str, self.node.http_proxy)))
        return self.envoy.port(f"0.0.0.0_{declared}")

    async def send(self, method: str, url: str, headers: Mapping[str, str]) -> Response:
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        pairs = [("host", parts.netloc), *headers.items()]
        return await self.client.send(self.port(parts.port or PORTS[parts.scheme]), method, target, pairs)

    def explained(self, method: str, url: str, headers: Mapping[str, str]) -> str:
        """What is explained of a request, as far as a table line says it of its end."""
        trace = explain(self.built.mesh, self.node, Request(method=method, url=url, headers=tuple(headers.items())))
        if trace.direct_response:
            return str(trace.direct_response.status)
        if trace.redirect:
            return f"{trace.redirect.status} {trace.redirect.location}"
        return "|".join(sorted(s.name for s in trace.weighted_clusters)) or (trace.cluster or "").split("|")[3].split(".")[0]


@asynccontextmanager
async def served(
    text: str, folder: Path, *services: str, namespaces: Mapping[str, str] | None = None, one: bool = False, caller: Node | None = None
):
    """The documents at a gateway. Services are all on port 8080, in `default` unless `namespaces` says otherwise.

    `one`: they are all instances of the first. `caller`: instead of a gateway, the sidecar of those who call.
    """
    node = caller or gateway(privileged=True)
    async with upstreams(*services) as backs:
        places = namespaces or {}
        registered = [
            at(services[0] if one else name, 8080, backs.ports[name], id=name, namespace=places.get(name, "default")) for name in services
        ]
        made = built(text, *registered)
        snapshot = Translator().snapshot(moved(view(made.mesh, node)))
        assert snapshot.problems() == ()
        with lone_envoy(static_config(snapshot, node), folder) as envoy:
            client = Client()
            try:
                yield Served(made, node, envoy, client, backs.ports)
            finally:
                client.close()


@dataclass(frozen=True)
class Line:
    method: str
    url: str
    headers: dict[str, str]
    end: str
    """A backend, a status, or a status and a location."""
    seen: dict[str, str]
    """What the backend is to see: `path`, `host`, or a header; `-` for none."""

    def __str__(self) -> str:
        return f"{self.method} {self.url} {self.headers or ''}"


def lines(text: str) -> Iterator[Line]:
    for line in text.strip().splitlines():
        asked, arrow, said = line.partition(" => ")
        assert arrow, line
        method, url, *headers = asked.split()
        words = said.split()
        plain = [w for w in words if "=" not in w or w.startswith("http")]
        yield Line(
            method, url, dict(h.split("=", 1) for h in headers), " ".join(plain), dict(w.split("=", 1) for w in words if w not in plain)
        )


async def mistakes(gate: Served, table: str) -> list[str]:
    """The lines of a table that do not hold, with what happened; explanations must say the same as the table."""
    found = []
    for line in lines(table):
        response = await gate.send(line.method, line.url, line.headers)
        happened = _end(response)
        if happened != line.end:
            found.append(f"{line}: {happened}, not {line.end}")
        elif wrong := _unlike(response, line):
            found.append(f"{line}: {wrong}")
        if (said := gate.explained(line.method, line.url, line.headers)) != line.end:
            found.append(f"{line}: explained as {said}, not {line.end}")
    return found


def _end(response: Response) -> str:
    if location := response.get("location"):
        return f"{response.status} {location}"
    return response.get("x-cluster") or str(response.status)


def _unlike(response: Response, line: Line) -> str:
    saw = json.loads(response.get("x-saw") or '{"headers": []}')
    headers = joined(tuple((name, value) for name, value in saw["headers"]))
    for name, wanted in line.seen.items():
        value = saw.get(name) if name in ("path", "host") else headers.get(name, "-")
        if value != wanted:
            return f"{name} is {value}, not {wanted}"
    return ""
