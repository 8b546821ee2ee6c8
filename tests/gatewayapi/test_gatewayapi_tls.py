"""TLS at Gateways in detail: whom they trust, what they show to backends, and what becomes of connections that are used for other hosts."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from textwrap import indent

import pytest

from support.backend import backend
from support.carried import ask, at
from support.certificates import Ca, secret, tls_secret
from support.compiled import gateway
from support.led_mesh import LedMesh, led_mesh
from support.running import free_port
from support.tls_client import asked, context, get, refused
from support.tls_server import TlsServer
from tulle.compile.explain import Request, explain

pytestmark = pytest.mark.envoy

CA, FRIENDS, STRANGERS = Ca(), Ca("friends"), Ca("strangers")
SHOP = CA.issue("shop.example", "a.example", "b.example", "b.a.example", "x.test")
FAR, OWN, OTHER = CA.issue("far.example"), CA.issue("edge.example"), CA.issue("other.example")
API = "apiVersion: gateway.networking.k8s.io/v1"


def edge(name: str, listeners: str, more: str = "") -> str:
    spec = f"gatewayClassName: tulle, addresses: [{{value: 127.0.0.1}}], listeners: {listeners}{more}"
    return f"{API}\nkind: Gateway\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n---\n"


def https(name: str, port: int, host: str = "", more: str = "") -> str:
    hostname = f'hostname: "{host}", ' if host else ""
    return f"{{name: {name}, port: {port}, protocol: HTTPS, {hostname}tls: {{certificateRefs: [{{name: shop}}]{more}}}}}"


def route(name: str, parent: str, backend_: str, *, kind: str = "HTTPRoute") -> str:
    rules = f"[{{backendRefs: [{{name: {backend_}, port: 80}}]}}]"
    return f"{API}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{parentRefs: [{parent}], rules: {rules}}}\n---\n"


def config_map(name: str, ca: Ca) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata:\n  ca.crt: |\n{indent(ca.pem.decode(), '    ')}\n---\n"


TRUSTED = config_map("trusted", CA)
SECURED = f"""
{API}
kind: BackendTLSPolicy
metadata: {{name: p}}
spec:
  targetRefs: [{{group: "", kind: Service, name: far}}]
  validation: {{hostname: far.example, caCertificateRefs: [{{group: "", kind: ConfigMap, name: trusted}}]}}
---
"""
SHOWING = ", tls: {backend: {clientCertificateRef: {name: own}}}"


def test_a_gateway_shows_its_certificate_to_backends_and_no_other_gateway_does(tmp_path: Path) -> None:
    ports = [free_port() for _ in range(4)]
    names = ("own", "plain", "other", "tcp")
    listeners = [
        f"[{{name: web, port: {port}, protocol: {'TCP' if name == 'tcp' else 'HTTP'}}}]" for name, port in zip(names, ports, strict=True)
    ]
    text = edge("own", listeners[0], SHOWING) + edge("plain", listeners[1])
    text += edge("other", listeners[2], SHOWING.replace("own", "third")) + edge("tcp", listeners[3], SHOWING)
    text += "".join(route(name, f"{{name: {name}}}", "far", kind="TCPRoute" if name == "tcp" else "HTTPRoute") for name in names)
    text += TRUSTED + SECURED + tls_secret("own", OWN) + "---\n" + tls_secret("third", OTHER)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            far = await stack.enter_async_context(TlsServer(tmp_path, FAR, asks=CA).serving())
            mesh = await stack.enter_async_context(led_mesh(gateway(), text, at("far", 80, far, id="far")))
            assert mesh.rejections == []
            seen = [await asyncio.to_thread(ask, port) for port in ports]
            assert [status for status, _, _ in seen] == [200, 503, 200, 200]
            assert [b'"caller": "edge.example"' in body for _, _, body in seen] == [True, False, False, True]
            assert b'"caller": "other.example"' in seen[2][2]
            assert mesh.node
            trace = explain(mesh.built.mesh, mesh.node, Request(url=f"http://x.example:{ports[0]}/"))
            assert (trace.cluster, len(trace.endpoints)) == ("outbound~default/own|80||far.default.svc.cluster.local", 1)

    asyncio.run(run())


FRONTEND = ", tls: {frontend: {default: {validation: {caCertificateRefs: [%s]}}}}"
SOME = '{group: "", kind: ConfigMap, name: trusted}'
MORE = '{group: "", kind: Secret, name: friends}'
GONE = '{group: "", kind: Secret, name: gone}'


@pytest.mark.parametrize(
    ("refs", "taken"),
    [
        (f"{SOME}, {MORE}", (True, True)),
        (f"{MORE}, {GONE}", (False, True)),
        (SOME, (True, False)),
    ],
)
def test_callers_of_several_authorities(refs: str, taken: tuple[bool, bool]) -> None:
    """One that is not there does not open the door to anyone, and does not close it for the others."""
    port = free_port()
    text = edge("edge", f"[{https('shop', port)}]", FRONTEND % refs) + route("r", "{name: edge}", "far")
    text += tls_secret("shop", SHOP) + "---\n" + TRUSTED + secret("friends", ca_crt=FRIENDS.pem)

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                for ca, wanted in ((CA, taken[0]), (FRIENDS, taken[1]), (STRANGERS, False)):
                    assert await refused(port, "shop.example", context(CA, ca.issue("caller.example"))) is not wanted
                assert await refused(port, "shop.example", context(CA))
                assert mesh.rejections == []

    asyncio.run(run())


def test_each_port_asks_for_certificates_of_its_own() -> None:
    """What a port says takes the place of what the Gateway says, nothing at all included."""
    ports = [free_port() for _ in range(3)]
    own = f"{{port: {ports[1]}, tls: {{}}}}, {{port: {ports[2]}, tls: {{validation: {{caCertificateRefs: [{MORE}]}}}}}}"
    asking = f", tls: {{frontend: {{default: {{validation: {{caCertificateRefs: [{SOME}]}}}}, perPort: [{own}]}}}}"
    text = edge("edge", f"[{', '.join(https(f'l{n}', port) for n, port in enumerate(ports))}]", asking)
    text += route("r", "{name: edge}", "far") + tls_secret("shop", SHOP) + "---\n" + TRUSTED + secret("friends", ca_crt=FRIENDS.pem)
    shown = (None, CA.issue("caller.example"), FRIENDS.issue("caller.example"))

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                taken = [[not await refused(port, "shop.example", context(CA, pair)) for pair in shown] for port in ports]
                assert taken == [[False, True, False], [True, True, True], [False, False, True]]
                assert mesh.rejections == []

    asyncio.run(run())


def test_backends_of_several_authorities(tmp_path: Path) -> None:
    port = free_port()
    text = edge("edge", f"[{{name: web, port: {port}, protocol: HTTP}}]") + route("r", "{name: edge}", "far") + TRUSTED
    text += SECURED.replace('[{group: "", kind: ConfigMap, name: trusted}]', f"[{MORE}, {SOME}]") + secret("friends", ca_crt=FRIENDS.pem)

    async def run() -> None:
        for ca, status in ((CA, 200), (FRIENDS, 200), (STRANGERS, 503)):
            async with AsyncExitStack() as stack:
                far = await stack.enter_async_context(TlsServer(tmp_path, ca.issue("far.example")).serving())
                await stack.enter_async_context(led_mesh(gateway(), text, at("far", 80, far, id="far")))
                assert (await asyncio.to_thread(ask, port))[0] == status

    asyncio.run(run())


def test_options(tmp_path: Path) -> None:
    """Versions are bounded, and callers asked for certificates of the authority in the listener's own Secret."""
    port = free_port()
    own = ', options: {tulle.dev/minimum-version: "1.3", gateway.istio.io/tls-terminate-mode: MUTUAL}'
    text = edge("edge", f"[{https('shop', port, more=own)}]") + route("r", "{name: edge}", "far") + tls_secret("shop", SHOP, CA)

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                answer = await asked(port, "shop.example", context(CA, OWN))
                assert (answer.status, answer.version) == (200, "TLSv1.3")
                assert await refused(port, "shop.example", context(CA))
                old = context(CA, OWN)
                old.maximum_version = ssl.TLSVersion.TLSv1_2
                assert await refused(port, "shop.example", old)
                assert mesh.rejections == []

    asyncio.run(run())


MISDIRECTED = """
shop.example shop.example 200 shop
shop.example a.example 421
shop.example x.test 421
a.example a.example 200 wide
a.example b.example 200 wide
a.example b.a.example 421
a.example shop.example 421
a.example x.test 421
b.a.example b.a.example 404
b.a.example a.example 421
x.test x.test 200 rest
x.test a.example 421
x.test shop.example 421
x.test other.test 200 rest
"""


def test_requests_for_another_listener_are_sent_away() -> None:
    """A connection is for the listener that its server name belongs to."""
    port, alone = free_port(), free_port()
    listeners = (
        https("shop", port, "shop.example"),
        https("wide", port, "*.example"),
        https("deep", port, "*.a.example"),
        https("rest", port),
    )
    text = edge("edge", f"[{', '.join(listeners)}, {https('alone', alone, 'shop.example')}]") + tls_secret("shop", SHOP) + "---\n"
    text += "".join(route(name, f"{{name: edge, sectionName: {name}}}", name) for name in ("shop", "wide", "rest"))
    text += route("alone", "{name: edge, sectionName: alone}", "shop")

    async def run() -> None:
        with backend("shop") as shop, backend("wide") as wide, backend("rest") as rest:
            registered = [at(b.name, 80, b.port, id=b.name) for b in (shop, wide, rest)]
            async with led_mesh(gateway(), text, *registered) as mesh:
                assert mesh.rejections == []
                wrong = [line for line in MISDIRECTED.strip().splitlines() if (found := _seen(mesh, port, line)) != line]
                assert wrong == [], found
                answer = await asked(alone, "shop.example", context(CA), authority="a.example")
                assert answer.status == 404, "no other listener has that port"

    asyncio.run(run())


def _seen(mesh: LedMesh, port: int, line: str) -> str:
    """A line as it is found to be; explanations must say the same."""
    sni, host, *_ = line.split()
    answer = get(port, sni, context(CA), authority=host)
    said = answer.json["name"] if answer.status == 200 else ""
    assert mesh.node
    trace = explain(mesh.built.mesh, mesh.node, Request(method="GET", url=f"https://{host}:{port}/", sni=sni))
    explained = str(trace.direct_response.status) if trace.direct_response else "200"
    return f"{sni} {host} {answer.status} {said}".strip() if str(answer.status) == explained else f"explained as {explained}"
