"""Benchmarks, side by side in one run: `python -m bench [NAME ...]`. Each prints what it ran, versions and a table, and writes JSON."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = {
    "authorization": "0, 10 and 1,000 rules of who may call what, at a sidecar, beside HAProxy and nginx",
    "compile": "5,000 routes: to compile all, and to change one",
    "firewall": "what the web application firewall refuses, and its cost a request, against nginx with the same engine and rules",
    "limits": "rate limit decisions a second of one control plane, in memory and on Redis, and how exact they are",
    "mtls": "mutual TLS between sidecars against plain text; handshakes and identities issued a second",
    "protocols": "HTTP/1.1, HTTP/2, HTTP/3, gRPC, WebSocket, TCP and UDP through the gateway, against the same peers",
    "proxy": "requests/s and latency through gateway and sidecar, against hand-written Envoy, nginx, HAProxy and Caddy",
    "push": "time from a change to the last acknowledgement, for 10, 100 and 1000 proxies",
    "registry": "registrations, health queries, watchers, checks and DNS answers of one control plane on one core",
    "startup": "`tulle up` to the first proxied answer; memory at rest",
}


def main(arguments: list[str]) -> int:
    names = arguments or list(BENCHMARKS)
    if unknown := [n for n in names if n not in BENCHMARKS]:
        print(f"no benchmark named {', '.join(unknown)}; there are:", *(f"  {n:8} {what}" for n, what in BENCHMARKS.items()), sep="\n")
        return 2
    for name in names:
        print(f"\n# {name}: {BENCHMARKS[name]}", flush=True)
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
