"""What authorisation costs at the sidecar of the service that is called: without rules, with 10, and with 1,000, beside peers with as many.

Each rule lets one account read below one path. The request is one that the last rule alone lets in; once 1,000 rules refuse paths, of which
none takes it. The calls come over mutual TLS. HAProxy and nginx have the same number of rules by path and method, without identities; each
engine is compared with itself without rules, in turns. Then how long it takes to compile the rules, and to put a change of one into force.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench.mtls import start
from bench.proxy import BACKEND, CONNECTIONS, Target, haproxy_config, load, nginx_config, nginx_proxy
from bench.report import cpu_seconds, envoy_version, free_port, median, pinned, publish, running, version_of, wait_for_port

from tulle.compile import Built, build, view
from tulle.model.frozen import FrozenMap
from tulle.model.mesh import Inputs
from tulle.model.proxy import InboundPort, Node, Role
from tulle.model.service import RegisteredPort, Registration
from tulle.resources.read import read
from tulle.translate.translator import Translator

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
CHANGES = 15
COUNTS = (0, 10, 1000)
EACH = 10
"""Rules of one document."""
Figures = tuple[float, float, float, float]
"""Requests a second, the 50th and 99th percentile of latency in milliseconds, processor time a request in microseconds."""
Case = Callable[[], Figures]
STRICT = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
"""
POLICY = """---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: rules-{number:03}}}
spec:
  selector: {{matchLabels: {{app: app}}}}
  action: {action}
  rules:
"""
ALLOW = """\
  - from: [{{source: {{principals: [cluster.local/ns/default/sa/{account}]}}}}]
    to: [{{operation: {{methods: [GET], paths: [/part-{n}/*]}}}}]
"""
DENY = "  - to: [{{operation: {{paths: [/secret-{n}/*]}}}}]\n"


def document(number: int, rules: range, *, deny: bool = False, first: str = "account-0") -> str:
    """The account that calls stands in every rule, so that each is tried to its end; `first` changes the first rule."""
    lines = [
        DENY.format(n=n) if deny else ALLOW.format(n=n, account=first if n == rules.start and first != "account-0" else "caller")
        for n in rules
    ]
    return POLICY.format(number=number, action="DENY" if deny else "ALLOW") + "".join(lines)


def documents(count: int, *, deny: bool = False) -> str:
    return "".join(document(n // EACH, range(n, min(n + EACH, count)), deny=deny) for n in range(0, count, EACH))


def request(count: int) -> str:
    """The path that the last rule is about."""
    return f"part-{max(count - 1, 0)}/x"


# Tulle


class Sidecars:
    """Two sidecars, of which the one that is called has the rules."""

    def __init__(self, stack: contextlib.ExitStack, root: Path, backend: int) -> None:
        self.target, self.called, command = start(stack, root, backend)
        self._api = command[command.index("--server") + 1]
        self._applied = ""

    def hold(self, text: str) -> None:
        self._post("apply", STRICT + text)
        if gone := [part for part in self._applied.split("---\n") if part and part not in text]:
            self._post("delete", "---\n".join(gone))
        self._applied = text
        if text:
            self._post("apply", text)

    def change(self, text: str) -> float:
        """Milliseconds from the request to the last acknowledgement."""
        begin = time.monotonic()
        self._post("apply", text)
        return (time.monotonic() - begin) * 1e3

    def under(self, text: str, path: str) -> Figures:
        """As `load`, with the CPU time of the sidecar that is called instead."""
        self.hold(text)
        url, host, pid = self.target
        before, begin = cpu_seconds(self.called), time.monotonic()
        rate, p50, p99, _ = load(url + path, host, pid)
        return rate, p50, p99, (cpu_seconds(self.called) - before) * 1e6 / (rate * (time.monotonic() - begin))

    def _post(self, what: str, text: str) -> None:
        body = json.dumps({"files": [{"path": "bench.yaml", "text": text}], "wait": "30s"}).encode()
        asked = urllib.request.Request(f"{self._api}/api/v1/{what}", body, {"content-type": "application/json"})
        with urllib.request.urlopen(asked, timeout=60) as answer:
            said = json.load(answer)
        if not said["acknowledged"]["complete"]:
            raise RuntimeError(said["acknowledged"])


# Peers


def haproxy_rules(count: int) -> str:
    rules = [f"  http-request allow if {{ path_beg /part-{n}/ }} METH_GET" for n in range(count)]
    return "\n".join([*rules, "  http-request deny", ""]) if count else ""


def nginx_rules(count: int, backend: int) -> str:
    proxied = f'proxy_pass http://127.0.0.1:{backend}; proxy_http_version 1.1; proxy_set_header Connection "";'
    inner = "".join(f"location /part-{n}/ {{{{ limit_except GET {{{{ deny all; }}}} {proxied} }}}} " for n in range(count))
    return nginx_proxy(backend).replace("location / {{", f"{inner} location / {{{{ deny all; ", 1) if count else nginx_proxy(backend)


def peer(stack: contextlib.ExitStack, root: Path, backend: int, engine: str, count: int) -> Target:
    listen = free_port()
    file = root / f"{engine}-{count}.conf"
    if engine == "HAProxy":
        file.write_text(haproxy_config(listen, backend).replace("  default_backend", haproxy_rules(count) + "  default_backend"))
        command = ["haproxy", "-db", "-f", str(file)]
    else:
        file.write_text(nginx_config(listen, nginx_rules(count, backend), root))
        command = ["nginx", "-c", str(file)]
    process = stack.enter_context(running(pinned(0, command)))
    wait_for_port(listen)
    return f"http://127.0.0.1:{listen}/", None, process.pid


# Compiling


def compiled(text: str, before: Built | None) -> Built:
    found = read(text, "bench.yaml")
    resources = {r.key: replace(r, created=n) for n, r in enumerate(found.resources, 1)}
    if before:
        resources = {
            **before.inputs.resources,
            **{key: replace(r, created=before.inputs.resources[key].created) for key, r in resources.items()},
        }
    ports = (RegisteredPort(number=9080, target=9080, name="http"),)
    app = Registration(id="app", service="app", ports=ports, labels=FrozenMap({"app": "app"}), proxy="sidecar~app")
    return build(Inputs(resources=resources, registrations={"app": app}), before)


def compiling(count: int) -> tuple[float, float]:
    """Milliseconds of processor time from text to what the sidecar is sent: for all, and after a change of one."""
    inbound = (InboundPort(service_port=9080, listen=15006, target=9080),)
    node = Node(id="sidecar~app", role=Role.SIDECAR, service="app", labels=FrozenMap({"app": "app"}), inbound=inbound)
    translator, built = Translator(), None

    def sent(text: str) -> float:
        nonlocal built
        begin = time.process_time()
        built = compiled(text, built)
        translator.snapshot(view(built.mesh, node))
        return (time.process_time() - begin) * 1e3

    whole = sent(documents(count))
    return whole, median([sent(document(0, range(min(EACH, count)), first=f"account-{n}")) for n in range(1, CHANGES)])


def in_turns(cases: dict[str, Case]) -> dict[str, list[Figures]]:
    for case in cases.values():
        case()
    rounds = [{name: case() for name, case in cases.items()} for _ in range(ROUNDS)]
    return {name: [one[name] for one in rounds] for name in cases}


def cases_of(stack: contextlib.ExitStack, root: Path, backend: int, sidecars: Sidecars) -> dict[str, Case]:
    """By `engine, how many rules`; the first of each engine is what its others are compared with."""

    cases: dict[str, Case] = {f"Tulle, {count} rules": partial(sidecars.under, documents(count), request(count)) for count in COUNTS}
    cases[f"Tulle, {COUNTS[-1]} rules that refuse"] = partial(sidecars.under, documents(COUNTS[-1], deny=True), request(COUNTS[-1]))
    for engine in ("HAProxy", "nginx"):
        for count in COUNTS:
            url, host, pid = peer(stack, root, backend, engine, count)
            cases[f"{engine}, {count} rules"] = partial(load, url + request(count), host, pid)
    return cases


def main() -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        root, backend = Path(name), free_port()
        (root / "backend.conf").write_text(nginx_config(backend, BACKEND.replace("location / {{", "location / {{ "), root))
        stack.enter_context(running(["nginx", "-c", str(root / "backend.conf")]))
        wait_for_port(backend)
        sidecars = Sidecars(stack, root, backend)
        found = in_turns(cases_of(stack, root, backend, sidecars))
        notes = []
        for count in COUNTS[1:]:
            sidecars.hold(documents(count))
            pushed = median([sidecars.change(document(0, range(EACH), first=f"account-{n}")) for n in range(1, CHANGES)])
            whole, one = compiling(count)
            notes.append(
                f"{count} rules: compiled in {whole:.0f} ms; a change of one in {one:.1f} ms, in force at the proxies in {pushed:.0f} ms"
            )
    rows = []
    for name, rounds in found.items():
        bare = found[f"{name.split(',')[0]}, {COUNTS[0]} rules"]
        rates, p50, p99, spent = (median([one[i] for one in rounds]) for i in range(4))
        ratio = median([one[3] / other[3] for one, other in zip(rounds, bare, strict=True)])
        rows.append([name, round(rates), f"{p50:.2f}", f"{p99:.2f}", f"{spent:.1f}", f"{ratio:.2f}"])
    versions = {
        "envoy": envoy_version(),
        "haproxy": version_of("haproxy", "-v"),
        "nginx": version_of("nginx", "-v"),
        "load": f"wrk, {CONNECTIONS} connections, {ROUNDS} rounds in turns; mutual TLS between Tulle's sidecars, plain text for the others",
    }
    header = ["authorisation", "requests/s", "p50 ms", "p99 ms", "CPU us a request, where the rules are", "beside none"]
    publish("authorization", versions, header, rows, notes)


if __name__ == "__main__":
    main()
