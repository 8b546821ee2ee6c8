"""The registry under load: one `tulle control` on core 0, with its mesh, its checks and its DNS; everybody else on core 1.

Registrations are durable when they are answered. Health queries come from wrk, DNS queries from dnsperf. A rate "a core" is what the
control plane did for each second of processor time: on a machine that does other things too, it says what the other rate cannot.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from bench.driving import ControlPlane, Fleet, control_plane, settle
from bench.report import free_port, median, memory, pinned, publish, running, version_of, wait_for_port

INSTANCES = int(os.environ.get("BENCH_INSTANCES", "5000"))
SERVICES = 500
WATCHERS = int(os.environ.get("BENCH_WATCHERS", "10000"))
CHECKS = int(os.environ.get("BENCH_CHECKS", "10000"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "5"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
LOAD = [sys.executable, "-m", "bench.registry_load"]
Row = list[object]


def load(*arguments: object) -> list[str]:
    return pinned(1, [*LOAD, *map(str, arguments)])


def output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def spent(control: ControlPlane, work: Callable[[], float]) -> tuple[float, float]:
    """What the work gives, and the seconds of processor time that the control plane had meanwhile, until it came to rest."""
    settle(control)
    before = control.cpu()
    done = work()
    settle(control)
    return done, control.cpu() - before


def register(control: ControlPlane, first: int, count: int, services: int, checked: int = 0) -> dict[str, float]:
    told: dict[str, float] = json.loads(output(load("register", control.api, 64, first, count, services, checked)))
    return told


def registrations(control: ControlPlane, first: int) -> Row:
    told: dict[str, float] = {}

    def work() -> float:
        told.update(register(control, first, INSTANCES, SERVICES))
        return INSTANCES / told["seconds"]

    rate, cpu = spent(control, work)
    what = f"durable registrations/s, of the {first + 1}st to {first + INSTANCES}th instance"
    return [what, f"{rate:.0f}", f"{INSTANCES / cpu:.0f}", f"p50 {told['p50']:.0f} ms, p99 {told['p99']:.0f} ms, 64 clients", "2000"]


def queries(control: ControlPlane) -> Row:
    size = len(get(control, "/v1/health/service/svc1?passing"))
    url = f"http://127.0.0.1:{control.api}/v1/health/service/svc1?passing"

    def work() -> float:
        said = output(pinned(1, ["wrk", "-t1", "-c32", f"-d{SECONDS}", url]))
        return float(re.findall(r"Requests/sec:\s+([\d.]+)", said)[0])

    rate, cpu = spent(control, work)
    return [
        "health queries/s",
        f"{rate:.0f}",
        f"{rate * SECONDS / cpu:.0f}",
        f"{INSTANCES // SERVICES} instances, {size} bytes each",
        "20000",
    ]


def get(control: ControlPlane, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", control.api, timeout=30)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return body


def watchers(control: ControlPlane, services: int) -> list[Row]:
    settle(control)
    size = len(get(control, "/v1/health/service/svc0?passing"))
    before = memory(control.pid)["rss"]
    with running(
        load("watch", control.api, WATCHERS, services), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, bufsize=0
    ) as process:
        fleet = Fleet(process)
        fleet.hear()
        settle(control)
        each = (memory(control.pid)["rss"] - before) * 1024 / WATCHERS
        touched = WATCHERS // services
        found = []
        for turn in range(ROUNDS):
            fleet.expect(touched)
            cpu, begin = control.cpu(), time.monotonic()
            control.call("PUT", "/v1/agent/service/register", {"Name": "svc0", "ID": "svc0-0", "Address": "10.9.9.9", "Port": 1000 + turn})
            heard = fleet.hear()
            found.append((heard["p50"] - begin, heard["last"] - begin))
            fleet.hear()
            settle(control)
            spent_here = control.cpu() - cpu
        middle, last = (median([one[n] for one in found]) * 1e3 for n in (0, 1))
    name = f"{WATCHERS} watchers of {services} service{'s' if services > 1 else ''}: ms from a change to the last of {touched}"
    note = f"p50 {middle:.0f} ms, {size} bytes each; with asking anew {spent_here / touched * 1e6:.0f} us each"
    row: Row = [name, f"{last:.0f}", "", note, "500" if services == 1 else ""]
    return [row, ["kB of memory for each", f"{each:.1f}", "", "", ""]] if services == 1 else [row]


def query(name: str) -> bytes:
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0" + labels + b"\0\0\x01\0\x01"


def change_to_answer(control: ControlPlane, dns: int) -> Row:
    """From the request that registers a service to the first answer that gives its address; asked without a pause."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", dns))
        client.settimeout(5)
        for turn in range(20):
            body = json.dumps({"Name": f"new{turn}", "Address": f"10.8.0.{turn + 1}", "Port": 80}).encode()
            head = f"PUT /v1/agent/service/register HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            with socket.create_connection(("127.0.0.1", control.api)) as registrar:
                begin = time.monotonic()
                registrar.sendall(head + body)
                while True:
                    client.send(query(f"new{turn}.service.consul"))
                    if client.recv(4096)[3] & 15 == 0:
                        break
                found.append((time.monotonic() - begin) * 1e3)
    return ["ms from a change to the DNS answer", f"{median(found):.1f}", "", f"longest of {len(found)}: {max(found):.1f}", ""]


def answers(control: ControlPlane, dns: int, folder: Path) -> Row:
    names = folder / "names"
    names.write_text("".join(f"svc{n}.service.consul A\n" for n in range(100)))
    command = ["dnsperf", "-s", "127.0.0.1", "-p", str(dns), "-d", str(names), "-l", str(SECONDS), "-c", "8", "-q", "200"]

    def work() -> float:
        said = output(pinned(1, command))
        return float(re.findall(r"Queries per second:\s+([\d.]+)", said)[0])

    work()
    rate, cpu = spent(control, work)
    return ["DNS answers/s from the cache", f"{rate:.0f}", f"{rate * SECONDS / cpu:.0f}", "100 names, UDP, no EDNS", "50000"]


def checks(folder: Path) -> Row:
    """Of a control plane of their own, as they are this machine's and nothing else is to be measured."""
    target = free_port()
    with running(load("serve", target)), control_plane(folder, core=0) as control:
        wait_for_port(target)
        register(control, 0, CHECKS, SERVICES, target)
        deadline = time.monotonic() + 60
        while json.loads(get(control, "/v1/health/state/critical")) and time.monotonic() < deadline:
            time.sleep(1)
        settle_for = 20
        before, begin = control.cpu(), time.monotonic()
        time.sleep(settle_for)
        share = (control.cpu() - before) / (time.monotonic() - begin)
    return [f"{CHECKS} HTTP checks every 10 s: percent of a core", f"{share * 100:.0f}", "", f"{share / CHECKS * 10 * 1e6:.0f} us each", ""]


def main() -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        dns = free_port()
        with control_plane(Path(name) / "a", core=0, dns=f"127.0.0.1:{dns}") as control:
            rows += [registrations(control, 0), queries(control), registrations(control, INSTANCES)]
            rows += [answers(control, dns, Path(name)), change_to_answer(control, dns)]
            rows += watchers(control, 1) + watchers(control, 100)
        rows.append(checks(Path(name) / "b"))
    versions = {name: version(name) for name in ("httptools", "uvicorn", "uvloop")}
    versions |= {"wrk": version_of("wrk", "-v"), "dnsperf": output(["dnsperf", "-h"]).splitlines()[1].strip()}
    header = ["what", "measured", "a core", "how", "goal"]
    publish("registry", versions, header, rows, ("", "Core 0: the control plane, one process. Core 1: its clients."))


if __name__ == "__main__":
    main()
