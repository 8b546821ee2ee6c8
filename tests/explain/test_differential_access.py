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
from contextlib import closing

import pytest
import yaml

from support.carried import at
from support.certificates import Ca, tls_secret
from support.compiled import built, gateway
from support.generated_policies import PRINCIPALS, Call, Policies
from support.judges import HEADER, LET_IN, REFUSAL, grpc_judge
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import context
from tulle.compile import view
from tulle.compile.explain import Request, explain_view
from tulle.compile.explain.trace import Trace
from tulle.model.proxy import ProxyView
from tulle.model.service import Protocol, Registration

CALLS = int(os.environ.get("TULLE_CALLS", "3000"))
SEED = int(os.environ.get("TULLE_SEED", "20260301"))
GATEWAYS = 25
CA = Ca()
SNI = "edge.example"

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(600 + CALLS // 20)]


class Callers:
    """A connection for each port and certificate, kept open between calls."""

    def __init__(self) -> None:
        pairs = {p: CA.issue("caller", p) if p else None for p in PRINCIPALS}
        self._contexts = {p: context(CA, pair) for p, pair in pairs.items()}
        self._open: dict[tuple[int, str], ssl.SSLSocket] = {}

    def send(self, port: int, call: Call) -> tuple[int, bytes]:
        if (port, call.principal) not in self._open:
            plain = socket.create_connection(("127.0.0.1", port), timeout=60)
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
    return [edge, *policies.authentication(name), *policies.some(name)]


def routes(gateways: list[str]) -> dict:
    """Every call that is let in is answered by the gateway itself."""
    answer = {"directResponse": {"status": 200, "body": {"string": "in"}}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "all"},
        "spec": {"hosts": ["*"], "gateways": gateways, "http": [answer]},
    }


def foretold(seen: ProxyView, call: Call, port: int) -> tuple[Trace, tuple[int, bytes], str]:
    """The explanation, the answer that it means, and what kind of answer that is."""
    trace = explain_view(seen, gateway(), asked(call, port))
    assert trace.direct_response is not None
    answer = trace.direct_response.status, trace.direct_response.body.encode()
    if any("an authorisation service decides" in step.why for step in trace.steps) and answer != (403, b"RBAC: access denied"):
        return (trace, answer, "asked") if (HEADER, LET_IN) in call.headers else (trace, (403, REFUSAL), "asked and refused")
    return trace, answer, trace.allowed.decision if trace.allowed else "open"


def compared(seen: ProxyView, ports: dict[str, int], dice: Policies) -> Counter[str]:
    """How many calls were let in and how many refused, as Envoy and the explanation agree."""
    kinds: Counter[str] = Counter()
    with closing(Callers()) as callers:
        for n in range(CALLS):
            call, (name, port) = dice.call(), tuple(ports.items())[n % GATEWAYS]
            answer = callers.send(port, call)
            trace, expected, kind = foretold(seen, call, port)
            # Where the judge and a policy would both refuse, it is not said which of them does so first.
            same = answer == expected or (kind == "deny" and answer == (403, REFUSAL))
            told = f"seed {SEED}, call {n} {call} at {name}: Envoy {answer}, explained {expected} {trace.allowed}"
            steps = "\n".join(f"  {s.matched} {s.rule} {s.source} {s.why}" for s in trace.steps)
            assert same, f"{told}\n{steps}"
            kinds["bad token" if answer[0] == 401 else kind] += 1
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


def judged(port: int) -> tuple[str, Registration]:
    """The judge as a service, and who calls him."""
    provider = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "extensionProviders: [{name: judge, envoyExtAuthzGrpc: {service: judge.default.svc.cluster.local, port: 9000}}]"}
"""
    return provider, at("judge", 9000, port, id="judge", protocol=Protocol.GRPC)


async def agree() -> None:
    dice = Policies(SEED)
    ports = {f"edge{n}": free_port() for n in range(GATEWAYS)}
    found = [routes(list(ports)), *(d for name, port in ports.items() for d in documents(name, port, dice))]
    with grpc_judge() as (heard, judge):
        provider, registration = judged(judge)
        rest = provider + "---\n" + tls_secret("edge", CA.issue(SNI), CA, namespace="istio-system")
        text = yaml.safe_dump_all(found) + rest
        async with led_mesh(gateway(), text, registration) as mesh:
            assert mesh.rejections == []
            kinds = await asyncio.to_thread(compared, view(built(text, registration).mesh, gateway()), ports, dice)
    print(f"seed {SEED}: {CALLS} calls: {dict(kinds)}, {len(heard)} of them asked about")
    least = CALLS / 100
    assert min(kinds[kind] for kind in ("allow", "deny", "open", "asked", "asked and refused", "bad token")) > least, kinds
