"""HTTP/3 at a gateway, with a client that knows nothing of Tulle."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from support.backend import backend
from support.carried import at
from support.certificates import Ca, Pair, tls_secret
from support.compiled import built, gateway, warnings
from support.http3_client import http3
from support.led_mesh import LedMesh, led_mesh
from support.running import Place, free_port, running
from support.tls_client import asked, context, program
from tulle.compile import view
from tulle.model.proxy import Listener
from tulle.resources.read import read

envoy = pytest.mark.envoy

CA = Ca()
SHOP, BLOG = CA.issue("shop.example.com"), CA.issue("blog.example.com")
EDGE = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, annotations: {tulle.dev/http3: "SAID"}}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: PORT, name: shop, protocol: HTTPS}
    bind: 127.0.0.1
    hosts: [shop.example.com]
    tls: {mode: SIMPLE, credentialName: shop}
  - port: {number: PORT, name: blog, protocol: HTTPS}
    bind: 127.0.0.1
    hosts: [blog.example.com]
    tls: {mode: SIMPLE, credentialName: blog}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec:
  hosts: ["*.example.com"]
  gateways: [edge]
  http:
  - {match: [{uri: {prefix: /old}}], redirect: {uri: /new}}
  - {match: [{uri: {prefix: /here}}], route: [{destination: {host: far}}]}
---
"""


def documents(port: int, shop: Pair = SHOP, *, said: str = "true") -> str:
    return EDGE.replace("PORT", str(port)).replace("SAID", said) + tls_secret("shop", shop) + "---\n" + tls_secret("blog", BLOG) + "---\n"


@asynccontextmanager
async def served(text: str) -> AsyncIterator[LedMesh]:
    with backend("far") as far:
        async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
            assert mesh.rejections == []
            yield mesh


def run(text: str, check: Callable[[LedMesh], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with served(text) as mesh:
            await check(mesh)

    asyncio.run(whole())


async def alt_svc(port: int, path: str, folder: Path) -> tuple[str, str]:
    """Status and Alt-Svc header of an answer over TCP."""
    name = f"shop.example.com:{port}"
    _, head = await program(
        "curl", "-si", "--cacert", CA.write(folder), "--resolve", f"{name}:127.0.0.1", f"https://{name}{path}", "-o", "/dev/null", "-D", "-"
    )
    found = re.search(r"(?i)^alt-svc: (.*?)\r?$", head, re.M)
    return head.split()[1], found[1] if found else ""


@envoy
def test_callers_are_told_and_come(tmp_path: Path) -> None:
    port = free_port()

    async def check(_mesh: LedMesh) -> None:
        for path, status in (("/here", "200"), ("/old", "301"), ("/nowhere", "404")):
            assert await alt_svc(port, path, tmp_path) == (status, f'h3=":{port}"; ma=86400')
        for name, pair in (("shop.example.com", SHOP), ("blog.example.com", BLOG)):
            async with http3(port, name, ca=CA.write(tmp_path)) as client:
                both = await asyncio.gather(client.ask(name, "/here"), client.ask(name, "/here/too", method="POST", body=b"x" * 100_000))
                assert [one.status for one in both] == [200, 200]
                seen = json.loads(both[0].body)
                assert (seen["path"], seen["headers"]["host"], seen["headers"]["x-forwarded-proto"]) == ("/here", name, "https")
                # For callers on loopback Envoy writes the machine's own address.
                assert ip_address(seen["headers"]["x-forwarded-for"])
                assert client.serial == pair.serial
                moved = await client.ask(name, "/old")
                assert (moved.status, moved.get("location")) == (301, f"https://{name}/new")
                assert (await client.ask(name, "/nowhere")).status == 404
                assert moved.get("alt-svc") is None

    run(documents(port), check)


@envoy
def test_a_name_that_nobody_serves_is_refused() -> None:
    port = free_port()

    async def check(_mesh: LedMesh) -> None:
        with pytest.raises((ConnectionError, TimeoutError)):
            async with http3(port, "other.example.com", patience=1):
                pass

    run(documents(port), check)


@envoy
def test_certificates_are_replaced_while_callers_are_connected(tmp_path: Path) -> None:
    port, ca = free_port(), CA.write(tmp_path)
    leaves = [CA.issue("shop.example.com") for _ in range(3)]

    async def check(mesh: LedMesh) -> None:
        async with http3(port, "shop.example.com", ca=ca) as before:
            for leaf in leaves:
                await mesh.change(documents(port, leaf))
                await shown(leaf)
                assert (await before.ask("shop.example.com", "/here")).status == 200, "a connection lives on"
        assert mesh.rejections == []

    async def shown(leaf: Pair) -> None:
        """As soon as new connections see it: the proxy says that it has a secret before all its threads do."""
        async with asyncio.timeout(60):
            while True:
                async with http3(port, "shop.example.com", ca=ca) as client:
                    assert (await client.ask("shop.example.com", "/here")).status == 200
                    if client.serial == leaf.serial:
                        return

    run(documents(port), check)


@envoy
def test_servers_come_and_go_while_callers_are_connected(tmp_path: Path) -> None:
    port, ca = free_port(), CA.write(tmp_path)
    fewer = documents(port).replace("hosts: [blog.example.com]", "hosts: [news.example.com]")

    async def check(mesh: LedMesh) -> None:
        async with http3(port, "shop.example.com", ca=ca) as before:
            for text, there in ((fewer, False), (documents(port), True)):
                await mesh.change(text)
                await settled(there)
                assert (await before.ask("shop.example.com", "/here")).status == 200, "a connection lives on"
        assert mesh.rejections == []

    async def settled(there: bool) -> None:
        """The proxy says that it has a listener before all its threads do."""
        async with asyncio.timeout(60):
            while await connects(port, "blog.example.com") is not there:
                pass
        assert await connects(port, "shop.example.com", patience=60)

    run(documents(port), check)


async def connects(port: int, name: str, *, patience: float = 1) -> bool:
    try:
        async with http3(port, name, patience=patience) as client:
            return (await client.ask(name, "/here")).status == 200
    except (ConnectionError, TimeoutError):
        return False


@envoy
def test_one_of_several_certificates_is_shown(tmp_path: Path) -> None:
    """Callers of QUIC know elliptic curves."""
    port = free_port()
    older = CA.issue("shop.example.com", key=rsa.generate_private_key(65537, 2048))
    text = documents(port).replace("credentialName: shop}", "credentialNames: [shop, older]}") + tls_secret("older", older)

    async def check(_mesh: LedMesh) -> None:
        async with http3(port, "shop.example.com", ca=CA.write(tmp_path)) as client:
            assert (await client.ask("shop.example.com", "/here")).status == 200
            assert client.serial in (SHOP.serial, older.serial)

    run(text, check)


PATCH = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: mark, namespace: istio-system}
spec:
  configPatches:
  - applyTo: HTTP_FILTER
    match: {context: GATEWAY, listener: {portNumber: PORT, filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}}
    patch:
      operation: INSERT_FIRST
      value:
        name: envoy.filters.http.lua
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code: {inline_string: 'function envoy_on_response(h) h:headers():add("x-patched", "yes") end'}
"""


@envoy
def test_envoy_filters_are_for_both(tmp_path: Path) -> None:
    port = free_port()

    async def check(_mesh: LedMesh) -> None:
        async with http3(port, "shop.example.com", ca=CA.write(tmp_path)) as client:
            assert (await client.ask("shop.example.com", "/here")).get("x-patched") == "yes"

    run(documents(port) + PATCH.replace("PORT", str(port)), check)


@envoy
def test_it_comes_and_goes_with_the_annotation(tmp_path: Path) -> None:
    port = free_port()

    async def check(mesh: LedMesh) -> None:
        assert await alt_svc(port, "/here", tmp_path) == ("200", "")
        await mesh.change(documents(port))
        async with http3(port, "shop.example.com", ca=CA.write(tmp_path)) as client:
            assert (await client.ask("shop.example.com", "/here")).status == 200
        await mesh.change(documents(port, said="false"))
        async with asyncio.timeout(60):
            while await connects(port, "shop.example.com"):
                """The proxy says that it has no listener before all its threads do."""
        assert mesh.rejections == []

    run(documents(port, said="false"), check)


def listeners(text: str) -> dict[str, Listener]:
    return {x.name: x for x in view(built(text).mesh, gateway()).listeners}


def test_callers_may_be_told_of_another_port() -> None:
    found = listeners(documents(8443, said="443"))
    assert {name: x.http3_port for name, x in found.items()} == {"127.0.0.1_8443": 443, "udp_127.0.0.1_8443": 443}


def test_gateways_on_one_port_each_say_it_for_themselves() -> None:
    other = documents(8443).replace('{tulle.dev/http3: "true"}', "{}").replace("name: edge", "name: plain").replace("shop", "news")
    text = documents(8443) + other.replace("blog", "wiki").replace("name: all}", "name: more}").replace(
        "gateways: [edge]", "gateways: [plain]"
    )
    found = listeners(text)
    assert [c.server_names for c in found["udp_127.0.0.1_8443"].chains] == [("shop.example.com",), ("blog.example.com",)]
    assert len(found["127.0.0.1_8443"].chains) == 4


PLAIN = "{mode: SIMPLE, credentialName: shop}"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ((PLAIN, "{mode: MUTUAL, credentialName: shop}"), "over QUIC callers cannot be asked for certificates"),
        ((PLAIN, "{mode: ISTIO_MUTUAL}"), "over QUIC callers cannot be asked for certificates"),
        ((PLAIN, "{mode: OPTIONAL_MUTUAL, credentialName: shop}"), "over QUIC callers cannot be asked for certificates"),
        (
            (PLAIN, "{mode: SIMPLE, credentialName: shop, maxProtocolVersion: TLSV1_2}"),
            "QUIC needs TLS 1.3, and maxProtocolVersion is older",
        ),
    ],
)
def test_servers_that_cannot_are_told(change: tuple[str, str], complaint: str) -> None:
    text = EDGE.replace("PORT", "8443").replace("SAID", "true").replace(*change)
    text += tls_secret("shop", SHOP, CA) + "---\n" + tls_secret("blog", BLOG)
    assert [c.server_names for c in listeners(text)["udp_127.0.0.1_8443"].chains] == [("blog.example.com",)]
    (found,) = warnings(built(text), "Gateway/edge")
    assert found.endswith(f"spec.servers[0]: not served by HTTP/3: {complaint}")


def test_behind_a_proxy_that_speaks_the_proxy_protocol() -> None:
    """Its header has no place in QUIC: callers would pass for the proxy in front."""
    config = "proxy.istio.io/config: 'gatewayTopology: {proxyProtocol: {}}'"
    text = documents(8443).replace('tulle.dev/http3: "true"', f'tulle.dev/http3: "true", {config}')
    assert [*listeners(text)] == ["127.0.0.1_8443"]
    assert all("PROXY protocol" in found for found in warnings(built(text), "Gateway/edge"))


def test_a_server_for_datagrams_has_the_port() -> None:
    more = "  - {port: {number: 8443, name: dns, protocol: UDP}, bind: 127.0.0.1, hosts: ['*']}\n"
    text = documents(8443).replace("  servers:\n", "  servers:\n" + more)
    assert [*listeners(text)] == ["127.0.0.1_8443"]
    assert not listeners(text)["127.0.0.1_8443"].http3_port
    assert [w.rpartition(": ")[2] for w in warnings(built(text), "Gateway/edge")] == ["another server has the datagrams of port 8443"] * 2


def test_without_https_there_is_nothing_to_serve() -> None:
    text = documents(8443).replace("protocol: HTTPS", "protocol: TLS")
    (found,) = warnings(built(text), "Gateway/edge")
    assert "tulle.dev/http3 has no effect: no server of this Gateway ends HTTPS" in found


def test_gateways_of_the_other_api_say_it_the_same_way() -> None:
    text = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system, annotations: {{tulle.dev/http3: "true"}}}}
spec:
  gatewayClassName: tulle
  listeners:
  - {{name: a, port: 8443, protocol: HTTPS, hostname: shop.example.com, tls: {{certificateRefs: [{{name: shop}}]}}}}
  - {{name: b, port: 8444, protocol: HTTPS, hostname: shop.example.com, tls: {{certificateRefs: [{{name: shop}}]}}}}
  tls:
    frontend:
      default: {{}}
      perPort: [{{port: 8444, tls: {{validation: {{caCertificateRefs: [{{kind: Secret, group: "", name: shop}}]}}}}}}]
---
{tls_secret("shop", SHOP, CA, namespace="istio-system")}"""
    assert [*listeners(text)] == ["0.0.0.0_8443", "udp_0.0.0.0_8443", "0.0.0.0_8444"]
    (found,) = warnings(built(text), "Gateway.gateway.networking.k8s.io/edge")
    assert "spec.listeners[1]: not served by HTTP/3: over QUIC callers cannot be asked for certificates" in found


@pytest.mark.parametrize("said", ["yes", "0", "-1", "65536", "on"])
def test_what_is_wrong_in_the_annotation(said: str) -> None:
    (found,) = read(documents(8443, said=said), "f.yaml").violations
    wanted = 'metadata.annotations.tulle.dev/http3: must be "true", "false" or the port that callers are told of (1 to 65535), not '
    assert wanted + repr(said) in str(found)


@envoy
def test_over_tcp_all_is_as_before() -> None:
    port = free_port()

    async def check(_mesh: LedMesh) -> None:
        answer = await asked(port, "shop.example.com", context(CA, alpn=("http/1.1",)), "/here")
        assert (answer.status, answer.serial) == (200, SHOP.serial)

    run(documents(port), check)


DENY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-posts, namespace: istio-system}
spec:
  selector: {matchLabels: {istio: ingressgateway}}
  action: DENY
  rules: [{to: [{operation: {methods: [POST]}}]}]
"""


@envoy
def test_who_may_call_is_the_same(tmp_path: Path) -> None:
    port = free_port()

    async def check(_mesh: LedMesh) -> None:
        async with http3(port, "shop.example.com", ca=CA.write(tmp_path)) as client:
            assert (await client.ask("shop.example.com", "/here")).status == 200
            denied = await client.ask("shop.example.com", "/here", method="POST")
            assert (denied.status, denied.body) == (403, b"RBAC: access denied")

    run(documents(port) + DENY, check)


MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {name: shop}
spec:
  workloads:
  - {service: far, ports: [{port: 80}], command: ["PYTHON", -m, tulle.demo.apps.echo]}
---
"""


@envoy
def test_a_gateway_with_several_threads(tmp_path: Path) -> None:
    """Datagrams of a connection always come to the thread that has it."""
    place, port, ca = Place(folder=tmp_path), free_port(), CA.write(tmp_path)
    place.write("mesh.yaml", MESH.replace("PYTHON", sys.executable) + documents(port))

    async def one() -> None:
        async with http3(port, "shop.example.com", ca=ca) as client:
            answers = [await client.ask("shop.example.com", f"/here/{n}") for n in range(3)]
            assert [a.status for a in answers] == [200] * 3

    async def whole() -> None:
        async with running(place, "up", "mesh.yaml", "--concurrency", "3"):
            await place.until("/api/v1/services", lambda a: any(s["healthy"] for s in a["services"]))
            await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 2 and all(p["current"] for p in a["proxies"]))
            await asyncio.gather(*(one() for _ in range(20)))

    asyncio.run(whole())
