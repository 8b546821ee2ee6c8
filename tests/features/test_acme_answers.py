"""What gateways answer an authority that asks whether a host is ours: a real Envoy, whatever policies stand before it."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509

from support.backend import backend
from support.carried import ask, at
from support.certificates import Ca, tls_secret
from support.compiled import gateway
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import asked, context, refused
from tulle.compile import view
from tulle.compile.challenges import answers
from tulle.compile.explain import Request, explain_view
from tulle.model.challenges import Challenge, ChallengeType
from tulle.model.tls import Hidden
from tulle.server.acme.material import validation
from tulle.translate.tokens import nobodys_keys

pytestmark = pytest.mark.envoy

CA = Ca()
SHOP = CA.issue("shop.example.com")
WILD = CA.issue("*.example.com")


def http_01(host: str, token: str = "tok-1") -> Challenge:
    return Challenge(kind=ChallengeType.HTTP_01, host=host, token=token, answer=f"{token}.of-{host}")


def tls_alpn_01(host: str) -> Challenge:
    chain, key = validation(host, "tok.print", datetime.now(UTC))
    return Challenge(kind=ChallengeType.TLS_ALPN_01, host=host, chain=chain, key=key)


def edge(port: int, hosts: str, more: str = "", *, tls: str = "", name: str = "edge") -> str:
    """A Gateway and a VirtualService that sends everything for its hosts to `far`."""
    protocol = "HTTPS" if tls else "HTTP"
    made = f", tls: {tls or more}" if tls or more else ""
    return f"""---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}, namespace: istio-system}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: {name}, protocol: {protocol}}}, bind: 127.0.0.1, hosts: [{hosts}]{made}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: istio-system}}
spec: {{hosts: [{hosts}], gateways: [{name}], http: [{{route: [{{destination: {{host: far.default.svc.cluster.local}}}}]}}]}}
---
"""


POLICIES = f"""
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: nobody, namespace: istio-system}}
spec: {{selector: {{matchLabels: {{istio: ingressgateway}}}}}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: istio-system}}
spec: {{jwtRules: [{{issuer: someone, jwks: '{nobodys_keys()}'}}]}}
---
apiVersion: tulle.dev/v1
kind: Authentication
metadata: {{name: keys, namespace: istio-system}}
spec: {{apiKeys: {{secret: keys, from: [{{header: x-key}}]}}}}
---
apiVersion: tulle.dev/v1
kind: Authentication
metadata: {{name: some, namespace: istio-system}}
spec: {{basic: {{secret: users}}, excludedPaths: [/open]}}
---
apiVersion: tulle.dev/v1
kind: RateLimit
metadata: {{name: few, namespace: istio-system}}
spec: {{limits: [{{requests: 1, per: day}}]}}
---
apiVersion: tulle.dev/v1
kind: Guard
metadata: {{name: guard, namespace: istio-system}}
spec: {{methods: [POST], addresses: {{deny: [127.0.0.0/8]}}, maxBodyBytes: 1}}
---
apiVersion: tulle.dev/v1
kind: Firewall
metadata: {{name: firewall, namespace: istio-system}}
spec: {{required: true}}
"""
PATH = "/.well-known/acme-challenge/tok-1"
HOST = {"host": "shop.example.com", "authorization": "Bearer e30.e30.e30"}
REFUSED = (401, 403, 429, 503)


def test_http_01_is_answered_before_all_policies_and_nothing_else_is() -> None:
    port = free_port()
    documents = edge(port, "shop.example.com") + POLICIES

    async def run() -> None:
        async with led_mesh(gateway(), documents, at("far", 80, 1, id="far")) as mesh:
            assert (await asyncio.to_thread(ask, port, PATH, headers=HOST))[0] in REFUSED
            await mesh.change(documents, http_01("shop.example.com"))
            for _ in range(3):
                status, _, body = await asyncio.to_thread(ask, port, PATH, headers=HOST)
                assert (status, body) == (200, b"tok-1.of-shop.example.com")
            others = (
                PATH + "x",
                PATH + "/",
                PATH + "/../../x",
                "/.well-known/acme-challenge/",
                "/",
                f"/a?{PATH}",
                f"/x{PATH}",
                f"/..{PATH}/../x",
            )
            for path in others:
                assert (await asyncio.to_thread(ask, port, path, headers=HOST))[0] in REFUSED, path
            assert (await asyncio.to_thread(ask, port, PATH, headers={"host": "other.example.com"}))[0] in REFUSED
            assert mesh.rejections == []
            trace = explain_view(
                view(mesh.built.mesh, gateway()),
                gateway(),
                Request(url=f"http://shop.example.com{PATH}", connect_to=("127.0.0.1", port)),
            )
            assert trace.direct_response and trace.direct_response.status == 200

    asyncio.run(run())


def test_http_01_leaves_redirects_and_routes_as_they_are() -> None:
    """One host redirects to HTTPS, one is taken by a pattern, one by nobody."""
    port = free_port()
    documents = edge(port, "shop.example.com", "{httpsRedirect: true}", name="a") + edge(port, '"*.example.org"', name="b")
    hosts = ("shop.example.com", "www.example.org", "nobody.example.net")

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), documents, at("far", 80, far.port, id="far")) as mesh:
                before = [await seen(host) for host in hosts]
                await mesh.change(documents, *(http_01(host) for host in hosts), http_01("shop.example.com", "tok-2"))
                for host in hosts:
                    assert (await asyncio.to_thread(ask, port, PATH, headers={"host": host}))[2] == f"tok-1.of-{host}".encode()
                second = PATH.replace("tok-1", "tok-2")
                assert (await asyncio.to_thread(ask, port, second, headers=HOST))[2] == b"tok-2.of-shop.example.com"
                assert [await seen(host) for host in hosts] == before
                await mesh.change(documents)
                assert [await seen(host) for host in hosts] == before
                assert [status for status, _ in before] == [301, 200, 404]
                assert mesh.rejections == []

    async def seen(host: str) -> tuple[int, str]:
        status, headers, _ = await asyncio.to_thread(ask, port, "/a?b=c", headers={"host": host})
        return status, headers.get("location", "")

    asyncio.run(run())


ASKING = ("acme-tls/1",)


def shown_by(port: int, host: str) -> x509.Certificate:
    """The certificate of a handshake as an authority makes it (RFC 8737, section 3)."""
    asking = ssl.create_default_context()
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    asking.set_alpn_protocols(list(ASKING))
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, asking.wrap_socket(plain, server_hostname=host) as wrapped:
        assert wrapped.selected_alpn_protocol() == "acme-tls/1"
        found = wrapped.getpeercert(binary_form=True)
    assert found
    return x509.load_der_x509_certificate(found)


@pytest.mark.parametrize("hosts", ["shop.example.com", '"*.example.com"', '"*"'])
def test_tls_alpn_01_is_answered_and_ordinary_callers_see_no_difference(hosts: str) -> None:
    port = free_port()
    documents = edge(port, hosts, tls="{mode: SIMPLE, credentialName: wild}") + tls_secret("wild", WILD, namespace="istio-system")
    challenge = tls_alpn_01("shop.example.com")

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), documents, at("far", 80, far.port, id="far")) as mesh:
                await mesh.change(documents, challenge)
                there = await asyncio.to_thread(shown_by, port, "shop.example.com")
                assert there == x509.load_pem_x509_certificate(challenge.chain.reveal())
                names = ("shop.example.com",) if hosts == "shop.example.com" else ("shop.example.com", "other.example.com")
                for host in names:
                    for alpn in ((), ("http/1.1",)):
                        assert (await asked(port, host, context(CA, alpn=alpn))).serial == WILD.serial
                await mesh.change(documents)
                for host in names:
                    assert (await asked(port, host, context(CA))).status == 200
                assert mesh.rejections == []

    asyncio.run(run())


def test_tls_alpn_01_is_answered_before_there_is_any_certificate() -> None:
    port = free_port()
    documents = edge(port, "shop.example.com", tls="{mode: SIMPLE, credentialName: shop}")

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), documents, at("far", 80, far.port, id="far")) as mesh:
                await mesh.change(documents, tls_alpn_01("shop.example.com"), tls_alpn_01("other.example.com"))
                assert (await asyncio.to_thread(shown_by, port, "shop.example.com")).subject == x509.Name([])
                assert await refused(port, "shop.example.com", context(CA)), "others have to wait"
                with pytest.raises(OSError, match=r"."):
                    await asyncio.to_thread(shown_by, port, "other.example.com")
                await mesh.change(documents + tls_secret("shop", SHOP, namespace="istio-system"))
                assert (await asked(port, "shop.example.com", context(CA))).serial == SHOP.serial
                with pytest.raises((OSError, AssertionError)):
                    await asyncio.to_thread(shown_by, port, "shop.example.com")
                assert mesh.rejections == []

    asyncio.run(run())


def test_gateways_of_the_gateway_api_answer_alike() -> None:
    http, tls = free_port(), free_port()
    documents = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  gatewayClassName: tulle
  addresses: [{{value: 127.0.0.1}}]
  listeners:
  - {{name: web, port: {http}, protocol: HTTP, hostname: shop.example.com}}
  - {{name: tls, port: {tls}, protocol: HTTPS, hostname: "*.example.com", tls: {{certificateRefs: [{{name: shop}}]}}}}
"""

    async def run() -> None:
        async with led_mesh(gateway(), documents) as mesh:
            for kind in ChallengeType:
                assert answers(mesh.built.mesh, gateway(), kind, "shop.example.com")
            await mesh.change(documents, http_01("shop.example.com"), tls_alpn_01("www.example.com"))
            assert (await asyncio.to_thread(ask, http, PATH, headers=HOST))[2] == b"tok-1.of-shop.example.com"
            assert (await asyncio.to_thread(shown_by, tls, "www.example.com")).subject == x509.Name([])
            assert mesh.rejections == []

    asyncio.run(run())


def test_a_key_that_answers_is_not_shown() -> None:
    challenge = tls_alpn_01("shop.example.com")
    assert "PRIVATE" not in repr(replace(challenge, answer="x"))
    assert isinstance(challenge.certificate.key, Hidden)


def test_which_proxies_can_answer() -> None:
    from support.compiled import built, sidecar

    mesh = built(edge(80, "shop.example.com") + edge(443, '"*.example.org"', tls="{mode: SIMPLE, credentialName: x}", name="b")).mesh
    http, alpn = ChallengeType.HTTP_01, ChallengeType.TLS_ALPN_01
    assert answers(mesh, gateway(), http, "whatever.example.net")
    assert answers(mesh, gateway(), alpn, "www.example.org")
    assert not answers(mesh, gateway(), alpn, "shop.example.com")
    assert not answers(mesh, sidecar("web"), http, "shop.example.com")
    passing = built(edge(443, "a.example.org", tls="{mode: PASSTHROUGH}")).mesh
    assert not answers(passing, gateway(), alpn, "a.example.org")
    assert not answers(passing, gateway(), http, "a.example.org")
