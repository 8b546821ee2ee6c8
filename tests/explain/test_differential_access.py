"""Explain against a real Envoy, for policies: generated AuthorizationPolicies, and callers with and without certificates.

`TULLE_CALLS=50000` makes a deeper run; `TULLE_SEED=7` repeats one. The seed is printed with every difference.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import ssl
from collections import Counter

import pytest
import yaml

from support.certificates import Ca, tls_secret
from support.compiled import built, gateway
from support.generated_policies import PRINCIPALS, Call, Policies
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import context
from tulle.compile import view
from tulle.compile.explain import Request, explain_view
from tulle.model.proxy import ProxyView

CALLS = int(os.environ.get("TULLE_CALLS", "3000"))
SEED = int(os.environ.get("TULLE_SEED", "20260301"))
GATEWAYS = 25
CA = Ca()
SNI = "edge.example"

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(120 + CALLS // 20)]


class Callers:
    """A connection for each port and certificate, kept open between calls."""

    def __init__(self) -> None:
        pairs = {p: CA.issue("caller", p) if p else None for p in PRINCIPALS}
        self._contexts = {p: context(CA, pair) for p, pair in pairs.items()}
        self._open: dict[tuple[int, str], ssl.SSLSocket] = {}

    def send(self, port: int, call: Call) -> tuple[int, bytes]:
        if (port, call.principal) not in self._open:
            plain = socket.create_connection(("127.0.0.1", port), timeout=10)
            self._open[port, call.principal] = self._contexts[call.principal].wrap_socket(plain, server_hostname=SNI)
        connection = self._open[port, call.principal]
        lines = [f"{call.method} {call.path} HTTP/1.1", f"host: {call.host}", *(f"{k}: {v}" for k, v in call.headers)]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        answer = http.client.HTTPResponse(connection, method=call.method)
        answer.begin()
        body = answer.read()
        if answer.will_close:
            self._open.pop((port, call.principal)).close()
        return answer.status, body

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()


def documents(name: str, port: int, policies: Policies) -> list[dict]:
    server = {
        "port": {"number": port, "name": name, "protocol": "HTTPS"},
        "bind": "127.0.0.1",
        "hosts": ["*"],
        "tls": {"mode": "OPTIONAL_MUTUAL", "credentialName": "edge"},
    }
    edge = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Gateway",
        "metadata": {"name": name},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": [server]},
    }
    return [edge, *policies.some(name)]


def routes(gateways: list[str]) -> dict:
    """Every call that is let in is answered by the gateway itself."""
    answer = {"directResponse": {"status": 200, "body": {"string": "in"}}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "all"},
        "spec": {"hosts": ["*"], "gateways": gateways, "http": [answer]},
    }


def compared(seen: ProxyView, ports: dict[str, int], dice: Policies) -> Counter[str]:
    """How many calls were let in and how many refused, as Envoy and the explanation agree."""
    kinds: Counter[str] = Counter()
    callers = Callers()
    for n in range(CALLS):
        call, (name, port) = dice.call(), tuple(ports.items())[n % GATEWAYS]
        answer = callers.send(port, call)
        trace = explain_view(seen, gateway(), asked(call, port))
        assert trace.direct_response is not None
        told = f"seed {SEED}, call {n} {call} at {name}: Envoy {answer}, explained {trace.allowed}"
        steps = "\n".join(f"  {s.matched} {s.rule} {s.source} {s.why}" for s in trace.steps)
        assert answer == (trace.direct_response.status, trace.direct_response.body.encode()), f"{told}\n{steps}"
        kinds[trace.allowed.decision if trace.allowed else "open"] += 1
    callers.close()
    return kinds


def asked(call: Call, port: int) -> Request:
    return Request(
        method=call.method,
        url=f"https://{SNI}:{port}{call.path}",
        headers=(("host", call.host), *call.headers),
        connect_to=("127.0.0.1", port),
        sni=SNI,
        alpn=("http/1.1",),
        principal=call.principal,
    )


def test_calls_are_let_in_as_explained() -> None:
    asyncio.run(agree())


async def agree() -> None:
    dice = Policies(SEED)
    ports = {f"edge{n}": free_port() for n in range(GATEWAYS)}
    found = [routes(list(ports)), *(d for name, port in ports.items() for d in documents(name, port, dice))]
    text = yaml.safe_dump_all(found) + "---\n" + tls_secret("edge", CA.issue(SNI), CA, namespace="istio-system")
    async with led_mesh(gateway(), text) as mesh:
        assert mesh.rejections == []
        kinds = await asyncio.to_thread(compared, view(built(text).mesh, gateway()), ports, dice)
    assert kinds["allow"] > CALLS / 20, kinds
    assert kinds["deny"] > CALLS / 20, kinds
