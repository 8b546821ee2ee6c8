"""Calls out over TLS: a real Envoy beside a workload, and servers that end TLS themselves."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from support.carried import ask
from support.certificates import Ca, tls_secret
from support.compiled import sidecar, warnings
from support.http2_server import http2_server
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import asked, context
from support.tls_server import TlsServer
from tulle.model.proxy import Node, Upstream

pytestmark = pytest.mark.envoy

CA = Ca()
FAR, CALLER = CA.issue("api.example.com"), CA.issue("caller.example.com")


def external(port: int, tls: str, *, more: str = "", protocol: str = "HTTP", number: int = 80) -> str:
    return f"""---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: far}}
spec:
  hosts: [api.example.com]
  ports: [{{number: {number}, name: p, protocol: {protocol}, targetPort: {port}}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1}}]
{more}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: far}}
spec: {{host: api.example.com, trafficPolicy: {{tls: {{{tls}}}}}}}
---
"""


def caller(bind: int, number: int = 80) -> Node:
    return sidecar(upstreams=(Upstream(host="api.example.com", port=number, bind_port=bind),), app="caller")


async def called(port: int) -> tuple[int, Any]:
    status, _, body = await asyncio.to_thread(ask, port, headers={"host": "api.example.com"})
    return status, json.loads(body) if status == 200 else body.decode()


@pytest.mark.parametrize(
    ("settings", "more", "status"),
    [
        ("mode: SIMPLE, caCertificates: {ca}", "", 200),
        ("mode: SIMPLE", "", 200),
        ("mode: SIMPLE, caCertificates: {other}", "", 503),
        ("mode: SIMPLE, insecureSkipVerify: true", "", 200),
        ("mode: SIMPLE, caCertificates: {ca}, sni: other.example.com", "", 503),
        ("mode: SIMPLE, caCertificates: {ca}, sni: other.example.com, subjectAltNames: [api.example.com]", "", 200),
        ("mode: SIMPLE, caCertificates: {ca}, subjectAltNames: [other.example.com]", "", 503),
        ("mode: SIMPLE, caCertificates: {ca}", "  subjectAltNames: [other.example.com]", 503),
        ("mode: SIMPLE, caCertificates: {ca}, caCrl: {crl}", "", 503),
        ("mode: DISABLE", "", 503),
    ],
)
def test_simple(tmp_path: Path, settings: str, more: str, status: int) -> None:
    """`mode: SIMPLE` alone trusts what the machine trusts."""
    bind = free_port()
    crl = tmp_path / "crl.pem"
    crl.write_bytes(CA.revokes(FAR))
    tls = settings.format(ca=CA.write(tmp_path), other=Ca("nobody").write(tmp_path, "other"), crl=crl)

    async def run() -> None:
        async with TlsServer(tmp_path, FAR).serving() as port:
            text, roots = external(port, tls, more=more), CA.write(tmp_path, "roots")
            async with led_mesh(caller(bind), text, roots=roots) as mesh:
                found, said = await called(bind)
                assert found == status, said
                if status == 200:
                    sni = "other.example.com" if "sni" in tls else "api.example.com"
                    assert said == {"sni": sni, "caller": "", "host": "api.example.com"}
                assert mesh.rejections == []

    asyncio.run(run())


@pytest.mark.parametrize(
    ("protocol", "policy"), [("HTTP2", ""), ("GRPC", ""), ("HTTP", "connectionPool: {http: {h2UpgradePolicy: UPGRADE}}, ")]
)
def test_http2_over_tls(tmp_path: Path, protocol: str, policy: str) -> None:
    """To a server that offers nothing else, for a caller of HTTP/1.1."""
    bind = free_port()
    offers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    offers.load_cert_chain(*FAR.write(tmp_path, "far"))
    offers.set_alpn_protocols(["h2"])
    tls = f"mode: SIMPLE, caCertificates: {CA.write(tmp_path)}"

    async def run() -> None:
        async with http2_server("far", tls=offers) as port:
            text = external(port, tls, protocol=protocol).replace("trafficPolicy: {", f"trafficPolicy: {{{policy}")
            async with led_mesh(caller(bind), text) as mesh:
                status, said = await called(bind)
                assert (status, said["alpn"]) == (200, "h2"), said
                assert [":authority", "api.example.com"] in said["headers"]
                assert mesh.rejections == []

    asyncio.run(run())


def test_mutual_with_files_and_with_a_secret(tmp_path: Path) -> None:
    bind = free_port()
    certificate, key = CALLER.write(tmp_path, "caller")
    files = f"mode: MUTUAL, clientCertificate: {certificate}, privateKey: {key}, caCertificates: {CA.write(tmp_path)}"

    async def run() -> None:
        async with TlsServer(tmp_path, FAR, asks=CA).serving() as port, led_mesh(caller(bind), external(port, files)) as mesh:
            assert (await called(bind))[1]["caller"] == "caller.example.com"
            named = external(port, "mode: MUTUAL, credentialName: mine")
            await mesh.change(named)
            assert (await called(bind))[0] == 503, "never in plain text, nor without a certificate"
            assert "in a Secret mine in namespace default" in "".join(warnings(mesh.built, "DestinationRule/far"))
            await mesh.change(named + tls_secret("mine", CA.issue("another.example.com"), CA))
            assert (await called(bind))[1]["caller"] == "another.example.com"
            await mesh.change(named + tls_secret("mine", CA.issue("third.example.com"), CA))
            async with asyncio.timeout(60):
                while (await called(bind))[1]["caller"] != "third.example.com":
                    pass
            assert mesh.rejections == []

    asyncio.run(run())


def test_a_port_that_is_not_http(tmp_path: Path) -> None:
    """Whole connections are encrypted; the name that is asked for is the service's."""
    bind = free_port()

    async def run() -> None:
        async with TlsServer(tmp_path, FAR).serving() as port:
            text = external(port, f"mode: SIMPLE, caCertificates: {CA.write(tmp_path)}", protocol="TCP")
            async with led_mesh(caller(bind), text) as mesh:
                assert (await called(bind))[1]["sni"] == "api.example.com"
                assert mesh.rejections == []

    asyncio.run(run())


def test_workloads_connections_by_server_name(tmp_path: Path) -> None:
    """The workload's own TLS is passed on, to where the name that it asks for belongs."""
    bind = free_port()
    rules = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: far}
spec:
  hosts: [api.example.com]
  tls:
  - match: [{port: 443, sniHosts: [api.example.com]}]
    route: [{destination: {host: other.example.com, port: {number: 443}}}]
"""
    one, two = CA.issue("api.example.com"), CA.issue("api.example.com")

    async def run() -> None:
        async with TlsServer(tmp_path, one).serving() as first, TlsServer(tmp_path, two).serving() as second:
            text = external(first, "mode: DISABLE", protocol="TLS", number=443)
            other = (
                external(second, "mode: DISABLE", protocol="TLS", number=443).replace("api.", "other.").replace("name: far", "name: other")
            )
            async with led_mesh(caller(bind, 443), text + other) as mesh:
                tls = context(CA)
                assert (await asked(bind, "api.example.com", tls)).serial == one.serial
                await mesh.change(text + other + rules)
                assert (await asked(bind, "api.example.com", tls)).serial == two.serial
                tls.check_hostname = False
                assert (await asked(bind, "elsewhere.example.com", tls)).serial == one.serial, "no rule: the service that was called"
                assert mesh.rejections == []

    asyncio.run(run())


def test_connect_follows_the_rules_for_the_name_in_it(tmp_path: Path) -> None:
    proxy = free_port()
    node = Node(**{name: getattr(sidecar(app="caller"), name) for name in Node.__slots__} | {"http_proxy": ("127.0.0.1", proxy)})
    rules = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: far}
spec:
  hosts: [api.example.com]
  tls:
  - match: [{port: 443, sniHosts: [api.example.com]}]
    route: [{destination: {host: other.example.com, port: {number: 443}}}]
"""

    def through(tls: ssl.SSLContext) -> int:
        with socket.create_connection(("127.0.0.1", proxy), timeout=60) as plain:
            plain.sendall(b"CONNECT api.example.com:443 HTTP/1.1\r\nhost: api.example.com:443\r\n\r\n")
            assert b" 200 " in plain.recv(4096)
            with tls.wrap_socket(plain, server_hostname="api.example.com") as wrapped:
                return int(str((wrapped.getpeercert() or {})["serialNumber"]), 16)

    one, two = CA.issue("api.example.com"), CA.issue("api.example.com")

    async def run() -> None:
        async with TlsServer(tmp_path, one).serving() as first, TlsServer(tmp_path, two).serving() as second:
            text = external(first, "mode: DISABLE", protocol="HTTPS", number=443)
            other = external(second, "mode: DISABLE", protocol="HTTPS", number=443).replace("api.", "other.")
            async with led_mesh(node, text + other.replace("name: far", "name: other")) as mesh:
                assert await asyncio.to_thread(through, context(CA)) == one.serial
                await mesh.change(text + other.replace("name: far", "name: other") + rules)
                assert await asyncio.to_thread(through, context(CA)) == two.serial

    asyncio.run(run())
