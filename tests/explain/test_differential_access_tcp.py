"""Explain against a real Envoy, for policies on connections that are not HTTP: generated policies, callers with and without certificates.

`TULLE_CONNECTIONS=20000` makes a deeper run; `TULLE_SEED=7` repeats one. The seed is printed with every difference.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import Counter
from contextlib import suppress
from random import Random

import pytest
import yaml

from support.carried import at
from support.certificates import Ca, tls_secret
from support.compiled import built, gateway
from support.generated_policies import PRINCIPALS, Policies
from support.led_mesh import led_mesh
from support.line_server import line_server
from support.running import free_port
from support.tls_client import context
from tulle.compile import view
from tulle.compile.explain import Request, explain_view
from tulle.model.proxy import ProxyView
from tulle.model.service import Protocol

CONNECTIONS = int(os.environ.get("TULLE_CONNECTIONS", "400"))
SEED = int(os.environ.get("TULLE_SEED", "20260302"))
GATEWAYS = 40
NAMES = ("edge.example", "other.example")
CA = Ca()

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(600 + CONNECTIONS // 20)]


def documents(name: str, port: int, policies: Policies) -> list[dict]:
    tls = {"mode": "OPTIONAL_MUTUAL", "credentialName": "edge"}
    server = {"port": {"number": port, "name": name, "protocol": "TLS"}, "bind": "127.0.0.1", "hosts": ["*"], "tls": tls}
    edge = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
    }
    return [edge, *policies.some(name)]


def routes(gateways: list[str]) -> dict:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "all"},
        "spec": {"hosts": ["*"], "gateways": gateways, "tcp": [{"route": [{"destination": {"host": "far"}}]}]},
    }


def reaches(port: int, name: str, tls: ssl.SSLContext) -> bool:
    """Whether a line comes back."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=60)
    with suppress(ConnectionError, ssl.SSLError), plain, tls.wrap_socket(plain, server_hostname=name) as wrapped:
        wrapped.sendall(b"line\n")
        return wrapped.recv(100) == b"hello line\n"
    return False


def compared(seen: ProxyView, ports: dict[str, int]) -> Counter[str]:
    """How many connections were let in and how many refused, as Envoy and the explanation agree."""
    dice, kinds = Random(SEED), Counter[str]()
    contexts = {p: context(CA, CA.issue("caller", p) if p else None) for p in PRINCIPALS}
    for n in range(CONNECTIONS):
        gate, port = tuple(ports.items())[n % GATEWAYS]
        principal, name = dice.choice(PRINCIPALS), dice.choice(NAMES)
        request = Request(url=f"tls://{name}:{port}", connect_to=("127.0.0.1", port), sni=name, principal=principal)
        trace = explain_view(seen, gateway(), request)
        let_in = reaches(port, name, contexts[principal])
        steps = "\n".join(f"  {s.matched} {s.rule} {s.source} {s.why}" for s in trace.steps)
        told = (
            f"seed {SEED}, connection {n} of {principal!r} for {name} at {gate}: Envoy {let_in}, explained {trace.closed or trace.allowed}"
        )
        assert let_in == (not trace.closed), f"{told}\n{steps}"
        kinds[trace.allowed.decision if trace.allowed else "open"] += 1
    return kinds


def test_connections_are_let_in_as_explained() -> None:
    asyncio.run(agree())


async def agree() -> None:
    dice = Policies(SEED)
    dice.providers = ("nobody",)
    ports = {f"edge{n}": free_port() for n in range(GATEWAYS)}
    found = [routes(list(ports)), *(d for name, port in ports.items() for d in documents(name, port, dice))]
    text = yaml.safe_dump_all(found) + "---\n" + tls_secret("edge", CA.issue(*NAMES), CA, namespace="istio-system")
    with line_server() as line:
        far = at("far", 80, line, id="far", protocol=Protocol.TCP)
        async with led_mesh(gateway(), text, far) as mesh:
            assert mesh.rejections == []
            kinds = await asyncio.to_thread(compared, view(built(text, far).mesh, gateway()), ports)
    print(f"seed {SEED}: {CONNECTIONS} connections: {dict(kinds)}")
    assert min(kinds[kind] for kind in ("allow", "deny", "open")) > CONNECTIONS / 50, kinds
