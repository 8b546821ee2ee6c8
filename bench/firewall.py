"""The cost of a firewall: the gateway without one, and with one that detects or blocks, beside nginx with the same engine and rules.

Core 0 carries the proxy under test and the process that looks at requests, core 1 the load generator and the backend. Before that, what the
firewall makes of the published attacks and of ordinary requests.
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
import time
import urllib.request
from pathlib import Path

from bench.proxy import BACKEND, nginx_config
from bench.report import envoy_version, free_port, median, pinned, publish, running, version_of, wait_for_port

from tulle.model.firewall import Firewall
from tulle.server.firewall.directives import RULES, directives
from tulle.server.firewall.engine import Engine, missing
from tulle.server.firewall.words import HttpRequest

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "3"))
CONNECTIONS = 8
MODULE = Path("/usr/lib/nginx/modules/ngx_http_modsecurity_module.so")
PROSE = "It rained all day, and the shop around the corner sold more umbrellas than in the whole month before. "
NAMES = ("tulle gateway", "tulle gateway, detect", "tulle gateway, block", "nginx", "nginx, block")

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: bench}}
spec: {{gateway: {{}}, config: [rules.yaml]}}
"""
BACK = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: backend}}
spec:
  hosts: [backend.bench]
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints: [{{address: 127.0.0.1, ports: {{http: {backend}}}}}]
"""
EDGE = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec: {{hosts: ["*"], gateways: [{name}], http: [{{route: [{{destination: {{host: backend.bench}}}}]}}]}}
"""
WALL = """
---
apiVersion: tulle.dev/v1
kind: Firewall
metadata: {{name: {name}}}
spec: {{targetRefs: [{{kind: Gateway, group: networking.istio.io, name: {name}}}], mode: {mode}, required: true}}
"""


def loads() -> dict[str, str]:
    """Name, and what is sent."""
    small = json.dumps({f"field{n}": PROSE for n in range(9)})
    large = json.dumps({f"field{n}": PROSE * 63 for n in range(10)})
    return {"GET": "", f"POST, {len(small) / 1000:.0f} kB of JSON": small, f"POST, {len(large) / 1000:.0f} kB of JSON": large}


def effectiveness() -> list[list[object]]:
    """Of the published requests, how many are refused at the first level."""
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from support.attacks import ATTACKS, ORDINARY, Sent  # noqa: PLC0415

    engine, firewall = Engine(), Firewall(name="bench/all")

    def refused(sent: Sent) -> bool:
        headers = tuple((name.encode(), value.encode()) for name, value in sent.all_headers.items())
        asked = HttpRequest(method=sent.verb, uri=sent.path.encode(), headers=headers, body=sent.body.encode())
        return bool(engine.judge(firewall, asked).status)

    rows: list[list[object]] = [[kind, len(every), sum(map(refused, every))] for kind, every in ATTACKS.items()]
    everything = [one for every in ATTACKS.values() for one in every]
    return [
        *rows,
        ["all attacks", len(everything), sum(map(refused, everything))],
        ["ordinary", len(ORDINARY), sum(map(refused, ORDINARY))],
    ]


def script(folder: Path, number: int, body: str) -> Path:
    """What wrk is to send, as a browser would."""
    lines = ['wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"', 'wrk.headers["Host"] = "shop.example"']
    lines += ['wrk.headers["accept"] = "text/html,*/*"']
    if body:
        lines += ['wrk.method = "POST"', 'wrk.headers["content-type"] = "application/json"', f"wrk.body = [==[{body}]==]"]
    path = folder / f"load{number}.lua"
    path.write_text("\n".join(lines))
    return path


def load(port: int, lua: Path) -> tuple[float, float, float]:
    """Requests a second, and the 50th and 99th percentile of latency in milliseconds. Raises RuntimeError where one was refused."""
    command = [
        "wrk",
        "-t1",
        f"-c{CONNECTIONS}",
        f"-d{SECONDS}s",
        "--latency",
        "-s",
        str(lua),
        f"http://127.0.0.1:{port}/find?q=shoes&size=42",
    ]
    out = subprocess.run(pinned(1, command), capture_output=True, text=True, check=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    if "Non-2xx" in out or rate is None:
        raise RuntimeError(out)
    tails = dict(re.findall(r"^\s+(50|99)%\s+([\d.]+(?:us|ms|s))", out, re.MULTILINE))
    scale = {"us": 0.001, "ms": 1.0, "s": 1000.0}
    p50, p99 = (float(tails[p].rstrip("mus")) * scale[tails[p].lstrip("0123456789.")] for p in ("50", "99"))
    return float(rate.group(1)), p50, p99


def start_tulle(stack: contextlib.ExitStack, root: Path, backend: int) -> dict[str, int]:
    """Three Gateways of one proxy, on ports of their own."""
    ports = {name: free_port() for name in NAMES[:3]}
    text = BACK.format(backend=backend)
    for (full, port), mode in zip(ports.items(), ("", "DETECT", "BLOCK"), strict=True):
        name = full.rpartition(" ")[2]
        text += EDGE.format(name=name, port=port) + (WALL.format(name=name, mode=mode) if mode else "")
    (root / "rules.yaml").write_text(text)
    (root / "mesh.yaml").write_text(MESH.format())
    options = ["--state-dir", str(root / "state"), "--api", f"127.0.0.1:{free_port()}", "--xds", f"127.0.0.1:{free_port()}"]
    command = [str(Path(sys.executable).with_name("tulle")), "up", str(root / "mesh.yaml"), *options, "--concurrency", "1"]
    stack.enter_context(running(pinned(0, command)))
    for port in ports.values():
        wait_for_port(port, 30)
        answered(port)
    return ports


def answered(port: int, seconds: float = 30) -> None:
    """Returns when requests get through."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
            return
        time.sleep(0.1)
    raise TimeoutError(f"127.0.0.1:{port} does not let requests through")


def start_nginx(stack: contextlib.ExitStack, root: Path, backend: int) -> dict[str, int]:
    if shutil.which("nginx") is None:
        return {}
    (root / "rules.conf").write_text(directives(Firewall(name="bench/nginx")))
    answer = "client_body_buffer_size 1m; server {{ listen 127.0.0.1:{listen}; "
    upstream = f"upstream app {{{{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 100000000; }}}}"
    found = {}
    for name in NAMES[3:] if MODULE.exists() else NAMES[3:4]:
        port, walled = free_port(), name != "nginx"
        wall = f"modsecurity on; modsecurity_rules_file {root}/rules.conf; " if walled else ""
        location = f'location / {{{{ {wall}proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}}}'
        config = nginx_config(port, f"{upstream} {answer}{location} }}}}", root)
        (root / f"{port}.conf").write_text((f"load_module {MODULE};\n" if walled else "") + config)
        stack.enter_context(running(pinned(0, ["nginx", "-c", str(root / f"{port}.conf")])))
        wait_for_port(port)
        found[name] = port
    return found


def main() -> None:
    if why := missing():
        print(f"skipped: {why}")
        return
    versions = {
        "envoy": envoy_version(),
        "nginx": version_of("nginx", "-v"),
        "rules": next(iter(re.findall(r"OWASP ModSecurity Core Rule Set ver\.([\d.]+)", next(RULES.glob("*.conf")).read_text())), "?"),
        "load": f"wrk, {CONNECTIONS} connections, {SECONDS} s, {ROUNDS} rounds in turns; one core for proxy and firewall",
    }
    publish("firewall-requests", versions, ["requests", "sent", "refused"], effectiveness())
    print()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        root, backend = Path(name), free_port()
        (root / "backend.conf").write_text(nginx_config(backend, BACKEND, root))
        stack.enter_context(running(pinned(1, ["nginx", "-c", str(root / "backend.conf")])))
        wait_for_port(backend)
        targets = start_tulle(stack, root, backend) | start_nginx(stack, root, backend)
        scripts = {kind: script(root, number, body) for number, (kind, body) in enumerate(loads().items())}
        for port in targets.values():
            load(port, scripts["GET"])
        rounds = [{(t, kind): load(port, lua) for kind, lua in scripts.items() for t, port in targets.items()} for _ in range(ROUNDS)]
    rows: list[list[object]] = []
    for kind in scripts:
        for target in targets:
            rate, p50, p99 = (median([r[target, kind][i] for r in rounds]) for i in range(3))
            plain, peer = target.partition(",")[0], "nginx, block"
            own = median([r[target, kind][0] / r[plain, kind][0] for r in rounds])
            other = median([r[target, kind][0] / r[peer, kind][0] for r in rounds]) if peer in targets else 0
            rows.append([kind, target, round(rate), f"{p50:.2f}", f"{p99:.2f}", f"{own:.2f}", f"{other:.2f}" if "," in target else ""])
    publish("firewall", versions, ["request", "proxy", "requests/s", "p50 ms", "p99 ms", "ratio to none", "ratio to nginx, block"], rows)


if __name__ == "__main__":
    main()
