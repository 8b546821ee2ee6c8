"""What programs cost. Only shares of it tell something of the code: seconds are those of the machine, and of all else that it does."""

from __future__ import annotations

import resource
import subprocess
import sys


def processor_time(*command: str) -> float:
    """Seconds of a command; the least of some runs."""
    return min(_once(command) for _ in range(4))


def _once(command: tuple[str, ...]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def little() -> float:
    """Seconds of a small Python program, as a measure for others."""
    return processor_time(sys.executable, "-c", "import argparse, dataclasses, inspect, json, subprocess, typing")
