"""A Redis, or a Valkey, of one test."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.carried import until


@contextmanager
def redis(path: Path, *options: str) -> Iterator[None]:
    """A server on that Unix socket, and wherever else its options say."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--dir", str(path.parent), *options]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        until(lambda: _listens(path))
        yield
    finally:
        server.terminate()
        server.wait(60)


def _listens(path: Path) -> bool:
    """The file is there a moment before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
