"""What benchmarks of the control plane share: one that runs, simulated proxies, and rounds of changes that both go through."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.meshes import MESH
from bench.report import free_port, pinned, running, wait_for_port

PATIENCE = 60.0
"""Seconds to wait for proxies."""


class ControlPlane:
    """`tulle control` in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], api: int, xds: int) -> None:
        self.pid, self.api, self.xds = process.pid, api, xds
        self._connection = http.client.HTTPConnection("127.0.0.1", api, timeout=60)

    def call(self, method: str, path: str, body: Any = None) -> str:
        """The text of the answer. Raises RuntimeError for any but 200."""
        try:
            answer = self._ask(method, path, body)
        except (BrokenPipeError, http.client.RemoteDisconnected):  # closed by the server since the last request
            self._connection.close()
            answer = self._ask(method, path, body)
        text = answer.read().decode()
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]}")
        return text

    def _ask(self, method: str, path: str, body: Any) -> http.client.HTTPResponse:
        self._connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        return self._connection.getresponse()

    def apply(self, text: str) -> None:
        self.call("POST", "/api/v1/apply", {"files": [{"path": "bench.yaml", "text": text}]})

    def apply_and_wait(self, text: str) -> None:
        """Returns when every connected proxy has acknowledged it. Raises RuntimeError where one does not."""
        said = self.call("POST", "/api/v1/apply", {"files": [{"path": "bench.yaml", "text": text}], "wait": f"{PATIENCE:.0f}s"})
        if not (told := json.loads(said)["acknowledged"])["complete"]:
            raise RuntimeError(f"not acknowledged: {told}")

    def await_proxies(self, count: int) -> None:
        """Returns when so many are connected and have all that they are to have."""
        deadline = time.monotonic() + PATIENCE
        while [p["current"] for p in json.loads(self.call("GET", "/api/v1/proxies"))["proxies"]] != [True] * count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"there are no {count} proxies after {PATIENCE:.0f} s")
            time.sleep(0.05)

    def register(self, service: int, namespace: str, endpoint: int = 0, port: int = 8080) -> None:
        """Endpoint number `endpoint` of the service `svcN`."""
        address = f"10.{service // 250}.{service % 250}.{endpoint + 1}"
        ports = [{"number": 8080, "target": port, "name": "http", "protocol": "HTTP"}]
        body = {"service": f"svc{service}", "namespace": namespace, "address": address, "ports": ports}
        self.call("PUT", f"/api/v1/registrations/svc{service}-{endpoint}?ttl=86400s", body)

    def cpu(self) -> float:
        """Seconds of processor time so far, of all threads."""
        return processor_time(self.pid)


@contextlib.contextmanager
def control_plane(folder: Path, *, core: int | None = None, dns: str = "off") -> Iterator[ControlPlane]:
    """`core`: the one processor that it may use; any where it is None."""
    with _started(["control", "--state-dir", str(folder), "--dns", dns], core) as control:
        yield control


@contextlib.contextmanager
def mesh_of_one(folder: Path, workload: str) -> Iterator[ControlPlane]:
    """`tulle up`: beside the control plane there are two Envoys, a gateway and the sidecar of a workload (a YAML flow mapping)."""
    (folder / "mesh.yaml").write_text(MESH.format(workload=workload))
    with _started(["up", str(folder / "mesh.yaml"), "--state-dir", str(folder / "state"), "--dns", "off"], None) as control:
        control.await_proxies(2)
        yield control


@contextlib.contextmanager
def _started(words: Sequence[str], core: int | None) -> Iterator[ControlPlane]:
    api, xds = free_port(), free_port()
    command = [str(Path(sys.executable).with_name("tulle")), *words, "--api", f"127.0.0.1:{api}", "--xds", f"127.0.0.1:{xds}"]
    with running(command if core is None else pinned(core, command)) as process:
        wait_for_port(api)
        wait_for_port(xds)
        yield ControlPlane(process, api, xds)


def processor_time(pid: int) -> float:
    """Of all threads of a process so far, in seconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


class Fleet:
    """A process of simulated clients, such as proxies, that is told how many answers to expect, and tells when they came."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def hear(self) -> dict[str, float]:
        assert self._process.stdout
        if not select.select([self._process.stdout], [], [], PATIENCE)[0] or not (line := self._process.stdout.readline()):
            raise RuntimeError(f"the simulated clients have ended, or said nothing for {PATIENCE:.0f} s")
        found: dict[str, float] = json.loads(line)
        return found

    def expect(self, count: int) -> None:
        assert self._process.stdin
        self._process.stdin.write(b"%d\n" % count)
        self._process.stdin.flush()
        self.hear()


@contextlib.contextmanager
def proxies(control: ControlPlane, count: int, *, role: str = "sidecar", namespaces: int = 1) -> Iterator[Fleet]:
    """So many simulated proxies, in a process of their own."""
    where = ("127.0.0.1", str(control.xds))
    command = [sys.executable, "-m", "bench.fleet", *where, str(count), str(namespaces), role]
    with running(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None) as process:
        yield Fleet(process)


def rounds(control: ControlPlane, fleet: Fleet, touched: int, change: Callable[[int], None], count: int) -> dict[str, list[float]]:
    """Of each round: milliseconds to the last acknowledgement, of processor time, and bytes sent for each proxy."""
    found = []
    for turn in range(count):
        fleet.expect(touched)
        cpu, begin = control.cpu(), time.monotonic()
        change(turn)
        heard = fleet.hear()
        settle(control)
        found.append({"ms": (heard["last"] - begin) * 1e3, "cpu": (control.cpu() - cpu) * 1e3, "bytes": heard["bytes"] / touched})
    return {key: [one[key] for one in found] for key in found[0]}


def settle(control: ControlPlane, at_rest: float = 0.01) -> None:
    """Returns when the control plane has come to rest: when it uses no more than this share of a processor."""
    before = -1.0
    while (now := control.cpu()) - before > at_rest / 10:
        before = now
        time.sleep(0.1)
