"""From a change to the last proxy's acknowledgement: 10, 100 and 1000 simulated proxies, 1000 services with 5 endpoints each.

Drives the real control plane, `tulle control`, over its HTTP API: the time includes storing, compiling, translating and sending.
Scoped: a Sidecar resource in each of 50 namespaces shows its proxies the 20 services of that namespace. Unscoped: the proxies of one
namespace see all.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.report import free_port, median, memory, publish, running, wait_for_port

COUNTS = tuple(int(n) for n in os.environ.get("BENCH_PROXIES", "10,100,1000").split(","))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
PATIENCE = 60.0
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


class ControlPlane:
    """`tulle control` in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], api: int, xds: int) -> None:
        self.pid, self.xds = process.pid, xds
        self._connection = http.client.HTTPConnection("127.0.0.1", api, timeout=60)

    def call(self, method: str, path: str, body: Any) -> None:
        try:
            answer = self._ask(method, path, body)
        except (BrokenPipeError, http.client.RemoteDisconnected):  # closed by the server since the last request
            self._connection.close()
            answer = self._ask(method, path, body)
        text = answer.read().decode()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]}")

    def _ask(self, method: str, path: str, body: Any) -> http.client.HTTPResponse:
        self._connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        return self._connection.getresponse()

    def apply(self, text: str) -> None:
        self.call("POST", "/api/v1/apply", {"files": [{"path": "bench.yaml", "text": text}]})

    def register(self, service: int, endpoint: int, port: int = 8080) -> None:
        address = f"10.{service // 250}.{service % 250}.{endpoint + 1}"
        ports = [{"number": 8080, "target": port, "name": "http", "protocol": "HTTP"}]
        body = {"service": f"svc{service}", "namespace": f"ns{service % NAMESPACES}", "address": address, "ports": ports}
        self.call("PUT", f"/api/v1/registrations/svc{service}-{endpoint}?ttl=86400s", body)

    def cpu(self) -> float:
        """Seconds of processor time so far, of all threads."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextlib.contextmanager
def control_plane(folder: Path) -> Any:
    api, xds = free_port(), free_port()
    command = [str(Path(sys.executable).with_name("tulle")), "control", "--state-dir", str(folder)]
    with running([*command, "--api", f"127.0.0.1:{api}", "--xds", f"127.0.0.1:{xds}"]) as process:
        wait_for_port(api)
        wait_for_port(xds)
        yield ControlPlane(process, api, xds)


class Fleet:
    """The process of the simulated proxies."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def hear(self) -> dict[str, float]:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], PATIENCE)[0] or not (line := self._process.stdout.readline()):
            raise RuntimeError(f"the simulated proxies have ended, or said nothing for {PATIENCE:.0f} s")
        found: dict[str, float] = json.loads(line)
        return found

    def expect(self, count: int) -> None:
        assert self._process.stdin
        self._process.stdin.write(b"%d\n" % count)
        self._process.stdin.flush()
        self.hear()


def measure(control: ControlPlane, fleet: Fleet, touched: int, change: Callable[[int], None]) -> dict[str, float]:
    """Medians over the rounds: milliseconds to the last acknowledgement, of processor time, and bytes sent for each proxy."""
    found = []
    for turn in range(ROUNDS):
        fleet.expect(touched)
        cpu, begin = control.cpu(), time.monotonic()
        change(turn)
        heard = fleet.hear()
        settle(control)
        found.append({"ms": (heard["last"] - begin) * 1e3, "cpu": (control.cpu() - cpu) * 1e3, "bytes": heard["bytes"] / touched})
    return {key: median([one[key] for one in found]) for key in found[0]}


def settle(control: ControlPlane) -> None:
    """Returns when the control plane has come to rest."""
    before = -1.0
    while (now := control.cpu()) - before > 0.001:
        before = now
        time.sleep(0.1)


def one_size(control: ControlPlane, count: int, *, scoped: bool) -> list[object]:
    namespaces = NAMESPACES if scoped else 1
    touched = len(range(0, count, namespaces)) if scoped else count
    command = [sys.executable, "-m", "bench.fleet", "127.0.0.1", str(control.xds), str(count), str(namespaces)]
    cpu = control.cpu()
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None) as process:
        fleet = Fleet(process)
        started, connected = fleet.hear()["started"], fleet.hear()["connected"]
        settle(control)
        cpu = control.cpu() - cpu
        endpoint = measure(control, fleet, touched, lambda turn: control.register(0, 0, 9000 + count + turn))
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
                    control.register(service, endpoint)
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
