"""A real Envoy on a static configuration, with its admin interface on a Unix socket."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tulle.agent.validation import complete
from tulle.protos import envoy_path

_PATIENCE = 120.0
_UNFINISHED = (
    "udp_proxy.v3.UdpProxyConfig.matcher' is marked as work-in-progress",
    "api_key_auth/v3/api_key_auth.proto' marked as work-in-progress",
)
"""The only way to name a cluster there that is not deprecated, and the filter for keys of clients, of which there is no other."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


class LoneEnvoy:
    """`get` asks the admin interface, on the socket `admin`; `port` finds where a listener that asked for port 0 listens."""

    def __init__(self, admin: Path) -> None:
        self.admin = admin

    def get(self, path: str) -> str:
        connection = _UnixConnection(self.admin)
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == 200, text
        return text

    def counter(self, name: str) -> int:
        """A counter or gauge by its full name; 0 when Envoy has none of that name."""
        lines = (line.partition(": ") for line in self.get("/stats").splitlines())
        return next((int(value) for key, _, value in lines if key == name), 0)

    def port(self, listener: str) -> int:
        listeners = json.loads(self.get("/listeners?format=json"))["listener_statuses"]
        return int(next(one["local_address"]["socket_address"]["port_value"] for one in listeners if one["name"] == listener))


@contextmanager
def lone_envoy(config: dict[str, Any], folder: Path) -> Iterator[LoneEnvoy]:
    """Runs Envoy until the block ends. The listeners are open when it begins."""
    with tempfile.TemporaryDirectory(prefix="envoy-", dir="/tmp") as short, (folder / "envoy.log").open("w") as log:
        admin = Path(short) / "admin"
        config = config | {"admin": {"address": {"pipe": {"path": str(admin), "mode": 0o600}}}}
        file = folder / "envoy.json"
        file.write_text(json.dumps(config))
        program = [envoy_path(), "-c", file, "--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
        process = subprocess.Popen(program, stdout=log, stderr=subprocess.STDOUT)
        try:
            envoy = LoneEnvoy(admin)
            _wait_until_live(envoy, process, folder / "envoy.log")
            yield envoy
        finally:
            process.terminate()
            process.wait(timeout=_PATIENCE)


def _wait_until_live(envoy: LoneEnvoy, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if json.loads(envoy.get("/server_info"))["state"] == "LIVE":
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.02)
    raise AssertionError(f"Envoy was not ready in {_PATIENCE} s: {log.read_text()}")


def validate(config: dict[str, Any], folder: Path) -> str:
    """What `envoy --mode validate` has against a configuration, warnings included; empty when it is content."""
    file = folder / "validate.json"
    file.write_text(json.dumps(complete(config)))
    program = [envoy_path(), "--mode", "validate", "-c", file, "-l", "warning"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=_PATIENCE)
    kept = "".join(line for line in done.stderr.splitlines(keepends=True) if not any(words in line for words in _UNFINISHED))
    return done.stderr if kept or done.returncode else ""
