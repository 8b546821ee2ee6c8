"""Real servers of protocols over TCP, each on a port of its own while a block lasts, run by an unprivileged user where we are root."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.certificates import Pair
from support.running import free_port

_USER = "nobody"
_PATIENCE = 60.0


def postgres_program(name: str) -> str:
    """The path of a program of PostgreSQL; Debian keeps those of its server apart. Empty where there is none."""
    there = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(there[-1]) if there else shutil.which(name) or ""


def _system_program(name: str) -> str:
    """Its path, also where Debian keeps what only servers need."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") or name


def _as_nobody() -> dict[str, Any]:
    return {"user": _USER, "group": pwd.getpwnam(_USER).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}


@contextmanager
def _folder(files: dict[str, bytes]) -> Iterator[Path]:
    """A private folder of the server's user, with files that nobody else may read."""
    with tempfile.TemporaryDirectory(prefix="server-", dir="/tmp") as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
            (folder / file).chmod(0o600)
        if os.geteuid() == 0:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, _USER)
        yield folder


@contextmanager
def _server(command: Sequence[str], folder: Path, port: int) -> Iterator[int]:
    """Yields the port as soon as the server takes connections there."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL, **_as_nobody())
    try:
        _until_accepting(process, port, log)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def _until_accepting(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return


def _files(tls: Pair | None) -> dict[str, bytes]:
    return {"own.crt": tls.certificate, "own.key": tls.key} if tls else {}


@contextmanager
def postgres(tls: Pair | None = None) -> Iterator[int]:
    """A database server without passwords, its superuser is `tester`; it takes TLS where it has a certificate."""
    port = free_port()
    with _folder(_files(tls)) as folder:
        made = [postgres_program("initdb"), "--auth=trust", "--username=tester", "--no-sync", "--no-instructions", "--pgdata=data"]
        done = subprocess.run(made, cwd=folder, capture_output=True, text=True, **_as_nobody())
        assert done.returncode == 0, done.stderr
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off", "max_connections": 20}
        if tls:
            options |= {"ssl": "on", "ssl_cert_file": folder / "own.crt", "ssl_key_file": folder / "own.key"}
        words = (word for name, value in options.items() for word in ("-c", f"{name}={value}"))
        with _server([postgres_program("postgres"), "-D", "data", *words], folder, port):
            yield port


@contextmanager
def redis() -> Iterator[int]:
    port = free_port()
    with _folder({}) as folder:
        options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder))
        with _server([shutil.which("redis-server") or "redis-server", *options], folder, port):
            yield port


@contextmanager
def mosquitto(tls: Pair | None = None) -> Iterator[int]:
    """An MQTT broker that lets everybody in; with a certificate it speaks TLS alone."""
    port = free_port()
    lines = ["persistence false", "allow_anonymous true", f"listener {port} 127.0.0.1"]
    lines += ["certfile own.crt", "keyfile own.key"] if tls else []
    files = {**_files(tls), "broker.conf": "\n".join(lines).encode()}
    with _folder(files) as folder, _server([_system_program("mosquitto"), "-c", "broker.conf"], folder, port):
        yield port


@contextmanager
def haproxy(config: str, port: int) -> Iterator[int]:
    """HAProxy, of whose ports this is one."""
    command = [_system_program("haproxy"), "-db", "-f", "haproxy.cfg"]
    with _folder({"haproxy.cfg": config.encode()}) as folder, _server(command, folder, port):
        yield port
