"""BackendTLSPolicy and XBackendTrafficPolicy."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from textwrap import indent
from typing import Any

import grpc
import pytest

from support.carried import ask, at
from support.certificates import Ca, secret
from support.compiled import built, cluster, gateway, instance, sidecar, warnings
from support.grpc_echo import handlers
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_server import TlsServer
from tulle.compile import view
from tulle.model.frozen import FrozenMap
from tulle.model.service import Protocol
from tulle.model.tls import SYSTEM_ROOTS, Trust

CA, OTHER = Ca(), Ca("another")
FAR = CA.issue("far.example", "spiffe://cluster.local/ns/default/sa/far")
API = "apiVersion: gateway.networking.k8s.io/v1"


def config_map(name: str, ca: Ca) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  ca.crt: |\n{indent(ca.pem.decode(), '    ')}\n---\n"


def policy(validation: str, *, name: str = "p", section: str = "") -> str:
    target = f'{{group: "", kind: Service, name: far{f", sectionName: {section}" if section else ""}}}'
    spec = f"spec: {{targetRefs: [{target}], validation: {{{validation}}}}}"
    return f"{API}\nkind: BackendTLSPolicy\nmetadata: {{name: {name}}}\n{spec}\n---\n"


def edge(port: int) -> str:
    listener = f"[{{name: web, port: {port}, protocol: HTTP}}]"
    gate = f"spec: {{gatewayClassName: tulle, addresses: [{{value: 127.0.0.1}}], listeners: {listener}}}"
    route = "spec: {parentRefs: [{name: edge}], rules: [{backendRefs: [{name: far, port: 80}]}]}"
    return f"{API}\nkind: Gateway\nmetadata: {{name: edge}}\n{gate}\n---\n{API}\nkind: HTTPRoute\nmetadata: {{name: r}}\n{route}\n---\n"


FROM_MAP = "caCertificateRefs: [{group: '', kind: ConfigMap, name: trusted}], hostname: far.example"


@pytest.mark.envoy
@pytest.mark.parametrize(
    ("text", "status"),
    [
        (policy(FROM_MAP) + config_map("trusted", CA), 200),
        (policy(FROM_MAP.replace("ConfigMap", "Secret")) + secret("trusted", **{"ca.crt": CA.pem}), 200),
        (policy(FROM_MAP) + config_map("trusted", OTHER), 503),
        (policy(FROM_MAP.replace("far.example", "wrong.example")) + config_map("trusted", CA), 503),
        (
            policy(
                FROM_MAP.replace("far.example", "wrong.example")
                + ", subjectAltNames: [{type: URI, uri: 'spiffe://cluster.local/ns/default/sa/far'}]"
            )
            + config_map("trusted", CA),
            200,
        ),
        (policy(FROM_MAP), 503),
        (policy(FROM_MAP, section="http") + config_map("trusted", CA), 200),
        (policy(FROM_MAP, section="http") + policy(FROM_MAP.replace("trusted", "nope"), name="q") + config_map("trusted", CA), 200),
    ],
)
def test_gateways_speak_tls_to_services(text: str, status: int, tmp_path: Path) -> None:
    port = free_port()

    async def run() -> tuple[int, Any]:
        async with AsyncExitStack() as stack:
            far = await stack.enter_async_context(TlsServer(tmp_path, FAR).serving())
            registered = at("far", 80, far, id="far", protocol=Protocol.HTTP)
            mesh = await stack.enter_async_context(led_mesh(gateway(), edge(port) + text, registered))
            got, _, body = await asyncio.to_thread(ask, port)
            assert mesh.rejections == []
            return got, json.loads(body) if got == 200 else body

    got, said = asyncio.run(run())
    assert got == status, said
    if status == 200:
        assert said["sni"] == ("wrong.example" if "wrong" in text else "far.example")


def test_the_authorities_of_the_machine() -> None:
    made = built(policy("wellKnownCACertificates: System, hostname: far.example") + edge(80), instance("far", number=80))
    found = cluster(view(made.mesh, gateway()), "far:80").tls
    assert found
    assert (found.sni, found.trust) == ("far.example", Trust(authority=SYSTEM_ROOTS, names=("far.example",)))


def test_sidecars_go_on_as_before() -> None:
    made = built(policy(FROM_MAP) + config_map("trusted", CA), instance("far", number=80))
    assert cluster(view(made.mesh, sidecar()), "far:80").tls is None


def conditions(text: str, name: str = "p") -> dict[str, str]:
    status = next(s for key, s in built(text, instance("far", number=80)).statuses.items() if key.name == name)
    return {c.type: f"{c.status} {c.reason}" for c in status.conditions}


@pytest.mark.parametrize(
    ("text", "accepted", "resolved"),
    [
        (policy(FROM_MAP) + config_map("trusted", CA), "True Accepted", "True ResolvedRefs"),
        (policy(FROM_MAP), "False NoValidCACertificate", "False InvalidCACertificateRef"),
        (policy(FROM_MAP.replace("ConfigMap", "Bucket")), "False NoValidCACertificate", "False InvalidKind"),
        (policy("wellKnownCACertificates: System, hostname: a").replace("far", "gone"), "False TargetNotFound", "True ResolvedRefs"),
        (policy("wellKnownCACertificates: System, hostname: a", name="older") + policy(FROM_MAP), "False NoValidCACertificate", ""),
        (policy("wellKnownCACertificates: System, hostname: a", section="http"), "True Accepted", "True ResolvedRefs"),
        (policy("wellKnownCACertificates: System, hostname: a", section="nope"), "False TargetNotFound", "True ResolvedRefs"),
    ],
)
def test_conditions(text: str, accepted: str, resolved: str) -> None:
    found = conditions(text)
    assert found["Accepted"] == accepted
    assert found["ResolvedRefs"] == resolved or not resolved


def test_of_two_policies_the_older_holds_and_gateways_are_told() -> None:
    system = "wellKnownCACertificates: System, hostname: a"
    text = edge(80) + policy(system, name="older") + policy(system, name="newer")
    assert conditions(text, "newer")["Accepted"] == "False Conflicted"
    made = built(text, instance("far", number=80))
    status = next(s for key, s in made.statuses.items() if key.name == "older")
    assert [a["ancestorRef"]["name"] for a in status.details["ancestors"]] == ["edge"]  # type: ignore[attr-defined,index]
    assert "older and speaks for it (Conflicted)" in warnings(made, "BackendTLSPolicy/newer")[0]


ENDED = """
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: ended}
spec:
  gatewayClassName: tulle
  listeners:
  - {name: tls, port: 443, protocol: TLS, hostname: "*.example", tls: {mode: Terminate, certificateRefs: [{name: shop}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: TLSRoute
metadata: {name: t}
spec: {parentRefs: [{name: ended}], hostnames: [a.example], rules: [{backendRefs: [{name: far, port: 80}]}]}
---
"""


def test_gateways_that_end_tls_are_told_too() -> None:
    made = built(ENDED + policy("wellKnownCACertificates: System, hostname: a"), instance("far", number=80))
    status = next(s for key, s in made.statuses.items() if key.name == "p")
    assert [a["ancestorRef"]["name"] for a in status.details["ancestors"]] == ["ended"]  # type: ignore[attr-defined,index]


def test_retries_are_limited() -> None:
    text = """
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: p}
spec:
  targetRefs: [{group: "", kind: Service, name: far}]
  retryConstraint: {budget: {percent: 5, interval: 3s}}
---
"""
    made = built(text + edge(80), instance("far", number=80))
    for node in (gateway(), sidecar()):
        budget = cluster(view(made.mesh, node), "far:80").policy.retry_budget
        assert budget
        assert (budget.percent, budget.interval.total_seconds()) == (5.0, 3.0)  # type: ignore[union-attr]


def test_a_port_that_says_nothing_is_spoken_to_as_callers_speak_where_calls_go_to_it() -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: far}\nspec: {ports: [{name: a, port: 80}, {name: b, port: 81}]}\n---\n"
    call = "spec: {parentRefs: [{name: edge}], hostnames: [call.example], rules: [{backendRefs: [{name: far, port: 80}]}]}"
    grpc = f"{API}\nkind: GRPCRoute\nmetadata: {{name: g}}\n{call}\n---\n"
    only = edge(80).replace("rules:", "hostnames: [web.example], rules:")
    for text, as_called in ((only, False), (only + grpc, True)):
        found = view(built(service + text, instance("far", number=80)).mesh, gateway())
        pools = [cluster(found, f"far:{port}").policy.connection_pool.use_client_protocol for port in (80, 81)]
        assert pools == [as_called, False]


RULE_SPEC = "spec: {host: far, trafficPolicy: {tls: {mode: SIMPLE}}}"
RULE = f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\n{RULE_SPEC}\n"


@pytest.mark.parametrize("text", [policy(FROM_MAP) + config_map("trusted", CA), RULE])
def test_datagrams_are_not_encrypted(text: str) -> None:
    edge_ = edge(80).replace("protocol: HTTP", "protocol: UDP").replace("HTTPRoute", "UDPRoute")
    found = view(built(edge_ + text, instance("far", number=80, protocol=Protocol.UDP)).mesh, gateway())
    assert [c.tls for c in found.clusters if "far" in c.name] == [None]


OUTSIDE = """apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: outside, namespace: {namespace}}}
spec:
  hosts: [far.example]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  location: MESH_EXTERNAL
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
---
"""


def for_entry(name: str) -> str:
    return policy(FROM_MAP).replace('group: "", kind: Service, name: far', f"group: networking.istio.io, kind: ServiceEntry, name: {name}")


@pytest.mark.envoy
def test_gateways_speak_tls_to_hosts_of_a_service_entry(tmp_path: Path) -> None:
    port = free_port()
    to = "backendRefs: [{group: networking.istio.io, kind: Hostname, name: far.example, port: 80}]"
    routed = edge(port).replace("backendRefs: [{name: far, port: 80}]", to)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            far = await stack.enter_async_context(TlsServer(tmp_path, FAR).serving())
            text = routed + OUTSIDE.format(namespace="default", port=far) + for_entry("outside") + config_map("trusted", CA)
            mesh = await stack.enter_async_context(led_mesh(gateway(), text))
            status, _, body = await asyncio.to_thread(ask, port)
            assert (status, json.loads(body)["sni"], mesh.rejections) == (200, "far.example", [])

    asyncio.run(run())


@pytest.mark.parametrize(
    ("name", "namespace", "said"),
    [
        ("outside", "default", []),
        ("nope", "default", ["targetRefs[0]: ServiceEntry default/nope does not exist (TargetNotFound)"]),
        ("outside", "team", ["targetRefs[0]: ServiceEntry default/outside does not exist (TargetNotFound)"]),
    ],
)
def test_service_entries_of_the_policys_own_namespace(name: str, namespace: str, said: list[str]) -> None:
    """Nobody decides whom others believe."""
    to = "backendRefs: [{group: networking.istio.io, kind: Hostname, name: far.example, port: 80}]"
    text = edge(8080).replace("backendRefs: [{name: far, port: 80}]", to)
    result = built(text + OUTSIDE.format(namespace=namespace, port=1) + for_entry(name) + config_map("trusted", CA))
    assert bool(cluster(view(result.mesh, gateway()), "far.example:80").tls) is (not said)
    assert [found.partition(": spec.")[2] for found in warnings(result, "BackendTLSPolicy/p")] == said


SPOKEN = "apiVersion: v1\nkind: Service\nmetadata: {name: far}\nspec: {selector: {app: far}, ports: [{name: %s, port: 80}]}\n---\n"


@contextmanager
def calls_over_tls() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers(b"far")),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(FAR.key, FAR.certificate)]))
    server.start()
    try:
        yield port
    finally:
        server.stop(0)


def say(port: int) -> bytes | grpc.StatusCode:
    """The answer to a call, or its status."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=(("grpc.enable_http_proxy", 0),)) as channel:
        try:
            answer: bytes = channel.unary_unary("/test.Echo/Say")(b"hi", timeout=60, wait_for_ready=True)
        except grpc.RpcError as error:
            status: grpc.StatusCode = error.code()
            return status
        return answer


@pytest.mark.envoy
@pytest.mark.parametrize("name", ["odd", "https-odd", "grpc-odd"])
def test_calls_of_grpc_go_on_over_tls(name: str) -> None:
    """Servers of gRPC ask for HTTP/2 in the handshake, also on ports that do not say that they speak it."""
    port = free_port()
    text = edge(port).replace("HTTPRoute", "GRPCRoute") + config_map("trusted", CA) + SPOKEN % name
    wrong = FROM_MAP.replace("far.example", "wrong.example")

    async def run(target: int) -> list[bytes | grpc.StatusCode]:
        registered = at("far", 80, target, id="far", protocol=Protocol.TCP, labels=FrozenMap({"app": "far"}))
        async with led_mesh(gateway(), text + policy(FROM_MAP), registered) as mesh:
            said = [await asyncio.to_thread(say, port)]
            await mesh.change(text + policy(wrong))
            said.append(await asyncio.to_thread(say, port))
            assert mesh.rejections == []
            return said

    with calls_over_tls() as target:
        assert asyncio.run(run(target)) == [b"far:hi", grpc.StatusCode.UNAVAILABLE]


def test_ports_that_a_policy_speaks_for_are_not_told_of_requests_as_the_mesh_does() -> None:
    """What is offered in the handshake is for anyone's server to read."""
    text = edge(80) + SPOKEN % "odd"
    for more, told in (("", True), (policy("wellKnownCACertificates: System, hostname: a"), False)):
        found = view(built(text + more, instance("far", number=80)).mesh, gateway(privileged=True))
        (route,) = (
            route for layer in found.layers for table in layer.route_tables for host in table.virtual_hosts for route in host.routes
        )
        assert [share.told for share in route.action.clusters] == [told]  # type: ignore[union-attr]
