"""What the specification expects of TLSRoutes, TCPRoutes and UDPRoutes at a gateway, and of listeners that share a port."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import at, carried
from support.certificates import Ca, tls_secret
from support.compiled import gateway
from support.dns_server import dns_server, query
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import asked, context, get, refused
from support.tls_server import TlsServer
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

CA = Ca()
OURS, FAR = CA.issue("ended.example", "web.example", "a.deep.example", "b.deep.example"), CA.issue("passed.example", "*.wide.example")
API = "apiVersion: gateway.networking.k8s.io/v1"


def edge(listeners: str) -> str:
    spec = f"gatewayClassName: tulle, addresses: [{{value: 127.0.0.1}}], listeners: [{listeners}]"
    return f"{API}\nkind: Gateway\nmetadata: {{name: edge}}\nspec: {{{spec}}}\n---\n"


def route(kind: str, section: str, backends: str, more: str = "", *, name: str = "") -> str:
    rules = f"[{{backendRefs: [{backends}]}}]"
    spec = f"parentRefs: [{{name: edge, sectionName: {section}}}], {more} rules: {rules}"
    return f"{API}\nkind: {kind}\nmetadata: {{name: {name or section}}}\nspec: {{{spec}}}\n---\n"


def test_listeners_of_three_kinds_on_one_port(tmp_path: Path) -> None:
    """HTTPS ended here, TLS ended here, and TLS passed on are told apart by the server name; routes speak of some of a listener's names."""
    port = free_port()
    listeners = ", ".join(
        f"{{name: {name}, port: {port}, protocol: {protocol}, hostname: '{host}', tls: {{{tls}}}}}"
        for name, protocol, host, tls in (
            ("web", "HTTPS", "web.example", "certificateRefs: [{name: ours}]"),
            ("ended", "TLS", "ended.example", "mode: Terminate, certificateRefs: [{name: ours}]"),
            ("deep", "TLS", "*.deep.example", "mode: Terminate, certificateRefs: [{name: ours}]"),
            ("passed", "TLS", "passed.example", "mode: Passthrough"),
            ("wide", "TLS", "*.wide.example", "mode: Passthrough"),
        )
    )
    text = edge(listeners) + tls_secret("ours", OURS) + "---\n"
    text += route("HTTPRoute", "web", "{name: plain, port: 80}") + route("TLSRoute", "ended", "{name: bytes, port: 80}")
    text += route("TLSRoute", "deep", "{name: bytes, port: 80}", "hostnames: [a.deep.example, elsewhere.test],")
    text += route("TLSRoute", "passed", "{name: far, port: 443}")
    text += route("TLSRoute", "wide", "{name: far, port: 443}", "hostnames: ['*.wide.example'],")

    async def run() -> None:
        async with AsyncExitStack() as stack:
            plain, raw = stack.enter_context(backend("plain")), stack.enter_context(backend("bytes"))
            far = await stack.enter_async_context(TlsServer(tmp_path, FAR).serving())
            registered = (
                at("plain", 80, plain.port, id="plain"),
                at("bytes", 80, raw.port, id="bytes", protocol=Protocol.TCP),
                at("far", 443, far, id="far", protocol=Protocol.TCP),
            )
            mesh = await stack.enter_async_context(led_mesh(gateway(), text, *registered))
            assert mesh.rejections == []
            for host, serial, name in (
                ("web.example", OURS.serial, "plain"),
                ("ended.example", OURS.serial, "bytes"),
                ("a.deep.example", OURS.serial, "bytes"),
                ("passed.example", FAR.serial, None),
                ("x.wide.example", FAR.serial, None),
            ):
                answer = await asked(port, host, context(CA))
                assert (answer.status, answer.serial, answer.json.get("name")) == (200, serial, name), host
            for host in ("b.deep.example", "other.example"):
                assert await refused(port, host, context(CA)), host

    asyncio.run(run())


def test_tls_goes_on_to_services_over_tls(tmp_path: Path) -> None:
    """A BackendTLSPolicy holds for what comes out of a TLSRoute, too, and for calls that came in over HTTPS."""
    port = free_port()
    tls = "tls: {mode: Terminate, certificateRefs: [{name: ours}]}"
    kinds = (("web", "HTTPS"), ("ended", "TLS"))
    listeners = ", ".join(f"{{name: {n}, port: {port}, protocol: {protocol}, hostname: {n}.example, {tls}}}" for n, protocol in kinds)
    text = edge(listeners) + tls_secret("ours", OURS, CA) + "---\n"
    text += route("HTTPRoute", "web", "{name: far, port: 443}") + route("TLSRoute", "ended", "{name: far, port: 443}")
    refs = 'caCertificateRefs: [{group: "", kind: Secret, name: ours}]'
    target = 'targetRefs: [{group: "", kind: Service, name: far}]'
    text += f"{API}\nkind: BackendTLSPolicy\nmetadata: {{name: p}}\nspec: {{{target}, validation: {{hostname: passed.example, {refs}}}}}\n"

    async def run() -> None:
        async with AsyncExitStack() as stack:
            far = await stack.enter_async_context(TlsServer(tmp_path, FAR).serving())
            mesh = await stack.enter_async_context(led_mesh(gateway(), text, at("far", 443, far, id="far")))
            assert mesh.rejections == []
            for host in ("web.example", "ended.example"):
                answer = await asyncio.to_thread(get, port, host, context(CA))
                assert (answer.status, answer.serial, answer.json["sni"]) == (200, OURS.serial, "passed.example")

    asyncio.run(run())


WEIGHTS = "{name: a, port: 80, weight: 3}, {name: b, port: 80, weight: 1}, {name: c, port: 80, weight: 0}"


def test_shares_of_connections(tmp_path: Path) -> None:
    """By weight; nothing goes to one of none, the share of one that is not there is closed, and of several routes the oldest has all."""
    ports = [free_port() for _ in range(5)]
    text = edge(", ".join(f"{{name: l{n}, port: {port}, protocol: TCP}}" for n, port in enumerate(ports)))
    text += route("TCPRoute", "l0", WEIGHTS) + route("TCPRoute", "l1", "{name: a, port: 80, weight: 0}")
    text += route("TCPRoute", "l2", "{name: a, port: 80}, {name: gone, port: 80}")
    text += route("TCPRoute", "l3", "{name: b, port: 80}", name="older") + route("TCPRoute", "l3", "{name: a, port: 80}", name="newer")
    by_port = f"{{name: edge, port: {ports[4]}}}"
    text += route("TCPRoute", "l4", "{name: c, port: 80}").replace("{name: edge, sectionName: l4}", by_port)
    with backend("a") as a, backend("b") as b, backend("c") as c:
        registered = [at(one.name, 80, one.port, id=one.name, protocol=Protocol.TCP) for one in (a, b, c)]
        with carried(text, gateway(), tmp_path, *registered):
            seen = Counter(_name(ports[0]) for _ in range(120))
            assert seen.keys() == {"a", "b"}
            assert 60 < seen["a"] < 118
            assert {_name(ports[1]) for _ in range(3)} == {""}
            assert {_name(ports[2]) for _ in range(40)} == {"a", ""}
            assert {_name(ports[3]) for _ in range(5)} == {"b"}
            assert _name(ports[4]) == "c"


def _name(port: int) -> str:
    """Of the backend that answers; empty where the connection is closed."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as caller:
        try:
            caller.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            found = b"".join(iter(lambda: caller.recv(4096), b""))
        except ConnectionError:
            return ""
    return found.partition(b'"name": "')[2].partition(b'"')[0].decode()


def test_shares_of_datagrams(tmp_path: Path) -> None:
    port, other = free_port(), free_port()
    text = edge(f"{{name: dns, port: {port}, protocol: UDP}}, {{name: more, port: {other}, protocol: UDP}}")
    text += route(
        "UDPRoute", "dns", "{name: one, port: 53, weight: 1}, {name: two, port: 53, weight: 1}, {name: three, port: 53, weight: 0}"
    )
    text += route("UDPRoute", "more", "{name: three, port: 53}") + route("UDPRoute", "more", "{name: one, port: 53}", name="newer")
    with dns_server("192.0.2.1") as one, dns_server("192.0.2.2") as two, dns_server("192.0.2.3") as three:
        found = {"one": one, "two": two, "three": three}
        registered = [at(name, 53, target, id=name, protocol=Protocol.UDP) for name, target in found.items()]
        with carried(text, gateway(), tmp_path, *registered):
            assert {query(port) for _ in range(40)} == {"192.0.2.1", "192.0.2.2"}
            assert query(other) == "192.0.2.3"
