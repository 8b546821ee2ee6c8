"""From a change to the last proxy's acknowledgement: 10, 100 and 1000 simulated proxies, 1000 services with 5 endpoints each.

Drives the real control plane, `tulle control`, over its HTTP API: the time includes storing, compiling, translating and sending.
Scoped: a Sidecar resource in each of 50 namespaces shows its proxies the 20 services of that namespace. Unscoped: the proxies of one
namespace see all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from bench.driving import ControlPlane, Fleet, control_plane, proxies, rounds, settle
from bench.report import median, memory, publish

COUNTS = tuple(int(n) for n in os.environ.get("BENCH_PROXIES", "10,100,1000").split(","))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SERVICES, ENDPOINTS, NAMESPACES = 1000, 5, 50

SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: scope, namespace: ns{number}}}
spec: {{egress: [{{hosts: ["./*"]}}]}}
---
"""
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: changing, namespace: ns0}}
spec:
  hosts: [svc0]
  http: [{{timeout: {seconds}s, route: [{{destination: {{host: svc0}}}}]}}]
"""


def measure(control: ControlPlane, fleet: Fleet, touched: int, change: Callable[[int], None]) -> dict[str, float]:
    """Medians over the rounds."""
    return {key: median(values) for key, values in rounds(control, fleet, touched, change, ROUNDS).items()}


def one_size(control: ControlPlane, count: int, *, scoped: bool) -> list[object]:
    namespaces = NAMESPACES if scoped else 1
    touched = len(range(0, count, namespaces)) if scoped else count
    cpu = control.cpu()
    with proxies(control, count, namespaces=namespaces) as fleet:
        started, connected = fleet.hear()["started"], fleet.hear()["connected"]
        settle(control)
        cpu = control.cpu() - cpu
        endpoint = measure(control, fleet, touched, lambda turn: control.register(0, "ns0", 0, 9000 + count + turn))
        route = measure(control, fleet, touched, lambda turn: control.apply(ROUTE.format(seconds=count + turn + 1)))
        rss = memory(control.pid)["rss"]
    return [
        "scoped" if scoped else "unscoped",
        count,
        touched,
        f"{connected - started:.2f} ({cpu:.2f})",
        f"{endpoint['ms']:.1f} ({endpoint['cpu']:.1f})",
        f"{route['ms']:.1f} ({route['cpu']:.1f})",
        f"{endpoint['bytes']:.0f} / {route['bytes']:.0f}",
        round(rss),
    ]


def main() -> None:
    rows = []
    for scoped in (True, False):
        with tempfile.TemporaryDirectory() as name, control_plane(Path(name)) as control:
            if scoped:
                control.apply("".join(SIDECAR.format(number=n) for n in range(NAMESPACES)))
            for service in range(SERVICES):
                for endpoint in range(ENDPOINTS):
                    control.register(service, f"ns{service % NAMESPACES}", endpoint)
            control.apply(ROUTE.format(seconds=1))
            rows += [one_size(control, count, scoped=scoped) for count in COUNTS]
    header = ["view", "proxies", "touched", "connect s (CPU s)", "endpoint ms (CPU ms)", "route ms (CPU ms)", "bytes a proxy", "RSS MB"]
    versions = {name: version(name) for name in ("grpcio", "protobuf", "uvloop")}
    explained = (
        "Endpoint and route: from the HTTP request that changes one endpoint, or one VirtualService, to the last proxy's acknowledgement; "
        f"medians of {ROUNDS}. {SERVICES} services with {ENDPOINTS} endpoints each; proxies are simulated in another process."
    )
    publish("push", versions, header, rows, ("", explained))


if __name__ == "__main__":
    main()
