"""The mesh of the security scenarios: two namespaces that call each other, and a shop whose pages are made of others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from support.backend import Backend, backend
from support.judges import HttpJudge, grpc_judge, http_judge
from support.line_server import line_server
from support.running import free_port
from support.scene import Answer, Scene, exchange, place, scene
from support.threaded import threaded
from support.tokens import Issuer

PARTS = {"productpage": ("details", "reviews"), "reviews": ("ratings",), "details": (), "ratings": ()}
"""Which page of the shop asks which others."""


class Page(ThreadingHTTPServer):
    """Answers with what the pages answered that it asked, each through its own sidecar: 200 and their answers, or their statuses."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, name: str) -> None:
        super().__init__(("127.0.0.1", 0), _PageHandler)
        self.name = name
        self.scene: Scene | None = None

    def parts(self) -> dict[str, Any]:
        assert self.scene
        found = {part: self.scene.call(f"{self.name}.shop", f"http://{part}.shop:9080/") for part in PARTS[self.name]}
        return {part: answer.said if answer.status == 200 else answer.status for part, answer in found.items()}


class _PageHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Page

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        body = json.dumps({"page": self.server.name, **self.server.parts()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@dataclass(frozen=True, slots=True)
class Town:
    """`lines` are the ports at which the caller in `foo` reaches the two TCP ports of `echo.foo`, 9000 and 9001."""

    scene: Scene
    echo: Backend
    lines: dict[int, int]
    issuer: Issuer
    http_judge: HttpJudge
    asked: list[str]
    """Paths that the judge who speaks gRPC was asked about."""

    def called(self, caller: str, url: str, method: str = "GET", **headers: str) -> int:
        """The status of a workload's call. What the mesh says of such a call beforehand must be what becomes of it."""
        status = self.scene.call(caller, url, method, **headers).status
        account, _, namespace = caller.partition(".")
        said = self.scene.can(url, method, f"{namespace}/{account}", headers)
        assert said == ("no" if status in (401, 403, 503) else "yes"), (said, status)
        return status

    def shop(self, method: str = "GET") -> Answer:
        """The shop's first page, as the gateway shows it."""
        return exchange(self.scene.gateway, method, "/", {"host": "shop.example.com"})


def _workload(namespace: str, service: str, ports: str, more: str = "") -> str:
    who = f"service: {service}, namespace: {namespace}, serviceAccount: {service}"
    return f"  - {{{who}, ports: [{ports}]{more}}}\n"


def _mesh_file(apps: dict[str, int], lines: dict[int, tuple[int, int]]) -> str:
    """`apps`: where the application of each workload listens. `lines`: for each port where its server listens, and where it is called."""
    tcp = ", ".join(f"{{number: {number}, protocol: tcp, target: {target}}}" for number, (target, _) in lines.items())
    calls = ", ".join(f"{{service: lines, port: {number}, bind: {bind}}}" for number, (_, bind) in lines.items())
    text = "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: town}\nspec:\n  config: [base.yaml]\n  workloads:\n"
    for name, target in apps.items():
        service, _, namespace = name.partition(".")
        more = f", upstreams: [{calls}]" if name == "caller.foo" else ""
        number = 9080 if namespace == "shop" else 8000
        text += _workload(namespace, service, f"{{number: {number}, target: {target}}}", more=more)
    return text + _workload("foo", "lines", tcp)


def _short_connections(namespace: str) -> str:
    """Open connections go on with the rules that they began with, for one more request each; so every request has one of its own."""
    return f"""---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: short-connections, namespace: {namespace}}}
spec:
  host: "*.{namespace}.svc.cluster.local"
  trafficPolicy: {{connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}}}
"""


def _base(gateway: int, judges: dict[str, int]) -> str:
    """What is always in force: the ways in, and who decides for others."""
    entries = "".join(
        f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: foo}}
spec:
  hosts: [{name}.judges.example]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: {"grpc" if name == "grpc" else "http"}, protocol: {name.upper()}}}]
  endpoints: [{{address: 127.0.0.1, ports: {{{"grpc" if name == "grpc" else "http"}: {port}}}}}]
"""
        for name, port in judges.items()
    )
    return f"""apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: front, namespace: foo}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {gateway}, name: http, protocol: HTTP}}, hosts: ["*"]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: echo, namespace: foo}}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{{route: [{{destination: {{host: echo.foo.svc.cluster.local, port: {{number: 8000}}}}}}]}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: foo}}
spec:
  hosts: [shop.example.com]
  gateways: [front]
  http: [{{route: [{{destination: {{host: productpage.shop.svc.cluster.local, port: {{number: 9080}}}}}}]}}]
{entries}{"".join(map(_short_connections, ("foo", "bar", "shop")))}---
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: |
    extensionProviders:
    - name: judge-http
      envoyExtAuthzHttp: {{service: http.judges.example, port: 80, includeRequestHeadersInCheck: [x-ext-authz]}}
    - name: judge-grpc
      envoyExtAuthzGrpc: {{service: grpc.judges.example, port: 80}}
"""


@contextmanager
def town() -> Iterator[Town]:
    """The whole mesh, from first to last."""
    with ExitStack() as stack:
        where = stack.enter_context(place())
        apps = {name: stack.enter_context(backend(name)) for name in ("echo.foo", "caller.foo", "echo.bar", "caller.bar")}
        pages = {name: stack.enter_context(threaded(Page(name))) for name in PARTS}
        by_http = stack.enter_context(http_judge())
        asked, by_grpc = stack.enter_context(grpc_judge())
        lines = {number: (stack.enter_context(line_server()), free_port()) for number in (9000, 9001)}
        where.write("base.yaml", _base(where.gateway, {"http": by_http.port, "grpc": by_grpc}))
        listening = {name: app.port for name, app in apps.items()} | {f"{name}.shop": one.server_port for name, one in pages.items()}
        found = stack.enter_context(scene(_mesh_file(listening, lines), proxies=10, endpoints=10, place=where))
        for one in pages.values():
            one.scene = found
        calls = {number: bind for number, (_, bind) in lines.items()}
        yield Town(found, apps["echo.foo"], calls, Issuer(), by_http, asked)
