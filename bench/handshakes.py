"""Handshakes of mutual TLS: `openssl s_time` shows a certificate of the mesh to a sidecar and to nginx, in turns."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path

from bench.proxy import nginx_config
from bench.report import cpu_seconds, free_port, median, running, wait_for_port

from tulle.ca.authority import Authority
from tulle.model.identity import Identity

SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
"""Of each turn."""
_TLS = """server {{{{ listen 127.0.0.1:{{listen}} ssl backlog=1024; ssl_session_tickets off; ssl_session_cache off;
  ssl_certificate {root}/own.crt; ssl_certificate_key {root}/own.key;
  ssl_client_certificate {root}/roots.pem; ssl_verify_client on; ssl_verify_depth 3; return 200 ok; }}}}"""


def compared(stack: contextlib.ExitStack, root: Path, port: int, sidecar: int, rounds: int) -> list[str]:
    """What is said of them below the table. `root`: the folder of the mesh; `port`, `sidecar`: where its proxy listens, and its process."""
    _identity(root)
    peer = free_port()
    (root / "tls.conf").write_text(nginx_config(peer, _TLS.format(root=root), root))
    nginx = stack.enter_context(running(["nginx", "-c", str(root / "tls.conf")]))
    wait_for_port(peer)
    found = [(_shaken(root, port, sidecar), _shaken(root, peer, nginx.pid)) for _ in range(rounds)]
    rates, spent = ([median([turn[who][what] for turn in found]) for who in (0, 1)] for what in (0, 1))
    ratio = median([ours[1] / theirs[1] for ours, theirs in found])
    return [
        f"mutual handshakes with one client: {rates[0]:.0f} a second with the sidecar, {rates[1]:.0f} with nginx",
        f"CPU of the server a handshake: {spent[0]:.0f} us, beside nginx {ratio:.2f}; so {1e6 / spent[0]:.0f} a second of one core",
    ]


def _identity(root: Path) -> None:
    """A certificate of the mesh that runs, with its key and the roots."""
    authority = Authority(root / "state" / "ca", "cluster.local")
    issued = authority.issue(Identity(service_account="bench"))
    (root / "own.crt").write_bytes(issued.chain)
    (root / "own.key").touch(mode=0o600)
    (root / "own.key").write_bytes(issued.key.reveal() if issued.key else b"")
    (root / "roots.pem").write_bytes(authority.bundle())


def _shaken(root: Path, port: int, server: int) -> tuple[float, float]:
    """Handshakes a second, one after the other, and microseconds of the server's CPU for each."""
    options = ["-cert", str(root / "own.crt"), "-key", str(root / "own.key"), "-new", "-time", str(SECONDS)]
    before = cpu_seconds(server)
    done = subprocess.run(["openssl", "s_time", "-connect", f"127.0.0.1:{port}", *options], check=True, capture_output=True, text=True)
    found = re.search(r"(\d+) connections in (\d+) real seconds", done.stdout)
    if found is None or not int(found[1]):
        raise RuntimeError(f"openssl s_time counted nothing: {done.stdout[-300:]}")
    return int(found[1]) / int(found[2]), (cpu_seconds(server) - before) * 1e6 / int(found[1])
