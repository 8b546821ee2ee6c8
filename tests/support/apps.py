"""The sample applications as processes of their own, on ports that the kernel picks."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()


@contextmanager
def running(name: str, *arguments: str, env: Mapping[str, str] | None = None) -> Iterator[App]:
    """Starts `python -m tulle.demo.apps.NAME` and ends it with SIGTERM; it must then exit with 0."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"tulle.demo.apps.{name}", *arguments],
        env={**os.environ, "PORT": "0", "http_proxy": "", **(env or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield App(port=int(line.rpartition(":")[2]), process=process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        process.stdout.close()
    assert status == 0
