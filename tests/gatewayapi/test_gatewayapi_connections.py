"""TLS, TCP, UDP and gRPC by the Gateway API, and services of the mesh as parents: real Envoys and clients that know nothing of Tulle."""

from __future__ import annotations

import asyncio
import json
import socket
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.backend import backend
from support.carried import ask, at, carried
from support.certificates import Ca, tls_secret
from support.compiled import gateway, sidecar, warnings
from support.dns_server import dns_server, query
from support.eventually import soon
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import asked, context, refused
from support.tls_server import TlsServer
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

CA = Ca()
SHOP, NEWS, CALLER = CA.issue("shop.example"), CA.issue("*.news.example"), CA.issue("caller.example")
STRANGER = Ca("nobody").issue("caller.example")
API = "apiVersion: gateway.networking.k8s.io/v1"


def edge(listeners: str, more: str = "") -> str:
    """On loopback alone, as the Gateway asks for."""
    spec = f"gatewayClassName: tulle, addresses: [{{value: 127.0.0.1}}], listeners: {listeners}{more}"
    return f"{API}\nkind: Gateway\nmetadata: {{name: edge}}\nspec: {{{spec}}}\n---\n"


def route(kind: str, backend_: str, port: int, more: str = "", *, name: str = "r", section: str = "") -> str:
    parent = f"{{name: edge{f', sectionName: {section}' if section else ''}}}"
    rules = f"[{{backendRefs: [{{name: {backend_}, port: {port}}}]}}]"
    return f"{API}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{parentRefs: [{parent}], {more} rules: {rules}}}\n---\n"


def https(name: str, port: int, host: str, secret: str) -> str:
    return f'{{name: {name}, port: {port}, protocol: HTTPS, hostname: "{host}", tls: {{certificateRefs: [{{name: {secret}}}]}}}}'


def test_https_by_server_name() -> None:
    port = free_port()
    text = edge(f"[{https('shop', port, 'shop.example', 'shop')}, {https('news', port, '*.news.example', 'news')}]")
    text += (
        tls_secret("shop", SHOP)
        + "---\n"
        + tls_secret("news", NEWS)
        + "---\n"
        + tls_secret("shop", NEWS, namespace="istio-system")
        + "---\n"
    )
    text += route("HTTPRoute", "far", 80, section="shop") + route("HTTPRoute", "near", 80, "hostnames: [a.news.example],", name="n")

    async def run() -> None:
        with backend("far") as far, backend("near") as near:
            registered = (at("far", 80, far.port, id="far"), at("near", 80, near.port, id="near"))
            async with led_mesh(gateway(), text, *registered) as mesh:
                shop = await asked(port, "shop.example", context(CA))
                assert (shop.status, shop.serial, shop.json["name"]) == (200, SHOP.serial, "far"), "of its own namespace, not the proxy's"
                assert shop.json["headers"]["x-forwarded-proto"] == "https"
                news = await asked(port, "a.news.example", context(CA))
                assert (news.status, news.serial, news.json["name"]) == (200, NEWS.serial, "near")
                assert (await asked(port, "b.news.example", context(CA))).status == 404
                assert await refused(port, "other.example", context(CA))
                assert mesh.rejections == []

    asyncio.run(run())


@pytest.mark.parametrize(("mode", "lenient"), [("AllowValidOnly", False), ("AllowInsecureFallback", True)])
def test_callers_show_certificates(mode: str, lenient: bool) -> None:
    port = free_port()
    validation = f'caCertificateRefs: [{{group: "", kind: Secret, name: callers}}], mode: {mode}'
    frontend = f", tls: {{frontend: {{default: {{validation: {{{validation}}}}}}}}}"
    text = edge(f"[{https('shop', port, 'shop.example', 'shop')}]", frontend) + route("HTTPRoute", "far", 80)
    text += tls_secret("shop", SHOP) + "---\n" + tls_secret("callers", CALLER, CA)

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                assert (await asked(port, "shop.example", context(CA, CALLER))).status == 200
                for own in (None, STRANGER):
                    if lenient:
                        assert (await asked(port, "shop.example", context(CA, own))).status == 200
                    else:
                        assert await refused(port, "shop.example", context(CA, own))
                assert mesh.rejections == []

    asyncio.run(run())


def test_a_listener_without_its_certificate_is_not_served_and_the_others_are() -> None:
    port = free_port()
    text = edge(f"[{https('shop', port, 'shop.example', 'shop')}, {https('news', port, '*.news.example', 'missing')}]")
    text += tls_secret("shop", SHOP) + "---\n" + route("HTTPRoute", "far", 80)

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                assert (await asked(port, "shop.example", context(CA))).status == 200
                assert await refused(port, "a.news.example", context(CA))
                assert mesh.rejections == []

    asyncio.run(run())


def test_tls_is_passed_on_by_name_and_tcp_as_it_is(tmp_path: Path) -> None:
    tcp, tls = free_port(), free_port()
    listeners = (
        f"[{{name: tcp, port: {tcp}, protocol: TCP}},"
        f" {{name: tls, port: {tls}, protocol: TLS, hostname: '*.example', tls: {{mode: Passthrough}}}}]"
    )
    text = (
        edge(listeners)
        + route("TCPRoute", "far", 443, section="tcp")
        + route("TLSRoute", "far", 443, "hostnames: [shop.example],", name="t")
    )

    async def run() -> None:
        async with TlsServer(tmp_path, SHOP).serving() as far:
            registered = at("far", 443, far, id="far", protocol=Protocol.TCP)
            async with led_mesh(gateway(), text, registered) as mesh:
                for port in (tcp, tls):
                    answer = await asked(port, "shop.example", context(CA))
                    assert (answer.status, answer.serial) == (200, SHOP.serial)
                assert await refused(tls, "a.news.example", context(CA))
                assert mesh.rejections == []

    asyncio.run(run())


def test_tls_ended_for_what_is_no_http(tmp_path: Path) -> None:
    """Each hostname of a TLSRoute is a name of its own; a TCPRoute takes what the listener's hostname leaves."""
    port = free_port()
    refs = "certificateRefs: [{name: shop}]"
    listeners = f"[{{name: tls, port: {port}, protocol: TLS, hostname: '*.example', tls: {{mode: Terminate, {refs}}}}}]"
    text = edge(listeners) + tls_secret("shop", CA.issue("shop.example", "other.example")) + "---\n"
    text += route("TLSRoute", "far", 80, "hostnames: [shop.example],") + route("TCPRoute", "near", 80, name="rest")

    async def run() -> None:
        with backend("far") as far, backend("near") as near:
            registered = [at(b.name, 80, b.port, id=b.name, protocol=Protocol.TCP) for b in (far, near)]
            async with led_mesh(gateway(), text, *registered) as mesh:
                assert (await asked(port, "shop.example", context(CA))).json["name"] == "far"
                assert (await asked(port, "other.example", context(CA))).json["name"] == "near"
                assert await refused(port, "elsewhere.test", context(CA))
                assert mesh.rejections == []

    asyncio.run(run())


def test_datagrams(tmp_path: Path) -> None:
    port = free_port()
    text = edge(f"[{{name: dns, port: {port}, protocol: UDP}}]") + route("UDPRoute", "dns", 53)
    with dns_server("192.0.2.1") as target, carried(text, gateway(), tmp_path, at("dns", 53, target, id="dns", protocol=Protocol.UDP)):
        assert query(port) == "192.0.2.1"


def test_connections_for_nothing_valid_are_closed(tmp_path: Path) -> None:
    port = free_port()
    text = edge(f"[{{name: tcp, port: {port}, protocol: TCP}}]") + route("TCPRoute", "gone", 1)
    with carried(text, gateway(), tmp_path), socket.create_connection(("127.0.0.1", port), timeout=60) as caller:
        assert caller.recv(1) == b""


MESH = f"""
{API}
kind: HTTPRoute
metadata: {{name: producer}}
spec:
  parentRefs: [{{group: "", kind: Service, name: a}}]
  rules: [{{matches: [{{path: {{value: /b}}}}], backendRefs: [{{name: b, port: 80}}]}}]
---
{API}
kind: HTTPRoute
metadata: {{name: consumer, namespace: team}}
spec:
  parentRefs: [{{group: "", kind: Service, name: a, namespace: default}}]
  rules: [{{backendRefs: [{{name: c, port: 80}}]}}]
"""


def test_a_service_as_parent(tmp_path: Path) -> None:
    """Callers of the service's own namespace and of others follow its routes; a namespace's own routes are for its callers alone."""
    port = free_port()
    with backend("a") as a, backend("b") as b, backend("c") as c:
        registered = (at("a", 80, a.port, id="a"), at("b", 80, b.port, id="b"), at("c", 80, c.port, id="c", namespace="team"))

        def call(namespace: str, path: str) -> Any:
            from dataclasses import replace

            node = replace(sidecar(namespace, app="caller"), http_proxy=("127.0.0.1", port))
            with carried(MESH, node, tmp_path, *registered):
                status, _, body = ask(port, path, headers={"host": "a.default"})
                return json.loads(body)["name"] if status == 200 else status

        assert call("default", "/b") == "b"
        assert call("default", "/else") == 404, "a service with routes has no other"
        assert call("other", "/b") == "b"
        assert call("team", "/else") == "c"


def test_listeners_come_change_and_go() -> None:
    """Ports open and close while the others go on."""
    ports = [free_port(), free_port()]
    one, two = (f"{{name: l{n}, port: {port}, protocol: HTTP, hostname: {'abc'[n]}.example}}" for n, port in enumerate(ports))
    moved = two.replace("b.example", "c.example")
    steps = (
        (f"[{one}]", {"a": 200, "b": 0}),
        (f"[{one}, {two}]", {"a": 200, "b": 200, "c": 404}),
        (f"[{one}, {moved}]", {"a": 200, "b": 404, "c": 200}),
        (f"[{moved}]", {"a": 0, "b": 404, "c": 200}),
    )

    def status(host: str) -> int:
        """Zero where nobody listens."""
        try:
            return ask(ports[host != "a"], headers={"host": f"{host}.example"})[0]
        except ConnectionError:
            return 0

    async def served(wanted: dict[str, int]) -> bool:
        return {host: await asyncio.to_thread(status, host) for host in wanted} == wanted

    async def run() -> None:
        with backend("far") as far:
            routes = route("HTTPRoute", "far", 80)
            async with led_mesh(gateway(), edge(steps[0][0]) + routes, at("far", 80, far.port, id="far")) as mesh:
                for listed, wanted in steps:
                    await mesh.change(edge(listed) + routes)
                    await soon(partial(served, wanted), every=0.05)
                assert mesh.rejections == []

    asyncio.run(run())


def test_warnings_reach_those_who_look() -> None:
    from support.compiled import built

    made = built(edge("[{name: tcp, port: 1, protocol: TCP}]") + route("TCPRoute", "gone", 1))
    assert "BackendNotFound" in warnings(made, "TCPRoute/r")[0]
