"""TLS at a gateway: a real Envoy with certificates from Secrets, and clients that know nothing of Tulle."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from support.backend import backend
from support.carried import at, until
from support.certificates import Ca, secret, tls_secret
from support.compiled import gateway, warnings
from support.led_mesh import led_mesh
from support.running import free_port
from support.tls_client import asked, context, get, openssl, program, refused
from tulle.compile.explain import Request, explain
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy

CA = Ca()
SHOP, NEWS = CA.issue("shop.example.com"), CA.issue("news.example.com")
CALLER, STRANGER = CA.issue("caller.example.com", "spiffe://cluster.local/ns/a/sa/caller"), Ca("nobody").issue("caller.example.com")


def edge(port: int, *servers: str, routes: str = "") -> str:
    """A Gateway of servers, on one port where they do not name another, with a VirtualService that sends everything to `far`."""
    made = "\n".join(f"  - {{port: {{number: {port}, name: s{i}, protocol: HTTPS}}, bind: 127.0.0.1, {s}}}" for i, s in enumerate(servers))
    http = routes or "http: [{route: [{destination: {host: far}}]}]"
    return f"""---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
{made}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: all}}
spec: {{hosts: ["*"], gateways: [edge], {http}}}
---
"""


def simple(host: str, credential: str, more: str = "") -> str:
    return f'hosts: ["{host}"], tls: {{mode: SIMPLE, credentialName: {credential}{more}}}'


def test_several_certificates_by_server_name() -> None:
    port = free_port()
    servers = (simple("shop.example.com", "shop"), simple("news.example.com", "news"))
    text = edge(port, *servers) + tls_secret("shop", SHOP) + "---\n" + tls_secret("news", NEWS, namespace="istio-system")

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                for pair, host in ((SHOP, "shop.example.com"), (NEWS, "news.example.com")):
                    answer = await asked(port, host, context(CA))
                    assert (answer.status, answer.serial, answer.version) == (200, pair.serial, "TLSv1.3")
                    assert answer.json["headers"]["x-forwarded-proto"] == "https"
                assert await refused(port, "other.example.com", context(CA)), "no server has this name"
                said = await openssl(port, "-servername", "news.example.com", "-alpn", "h2,http/1.1")
                assert "CN = news.example.com" in said or "CN=news.example.com" in said
                assert "ALPN protocol: h2" in said
                curl = ("curl", "-sS", "--cacert", "/dev/stdin", "--connect-to", f"::127.0.0.1:{port}")
                code, said = await program(*curl, "-w", " %{http_version}", "https://shop.example.com/", said=CA.pem)
                assert (code, said.rpartition(" ")[2]) == (0, "2"), said
                assert mesh.rejections == []

    asyncio.run(run())


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "whole"])
def test_a_secret_that_comes_late_goes_and_changes(delta: bool) -> None:
    """The other server goes on all the time, and a port that has none at all opens when its first certificate comes."""
    port = free_port()
    documents = edge(port, simple("shop.example.com", "shop"), simple("news.example.com", "news"))
    one, both = documents + tls_secret("shop", SHOP), documents + tls_secret("shop", SHOP) + "---\n" + tls_secret("news", NEWS)
    again = CA.issue("shop.example.com")

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), documents, at("far", 80, far.port, id="far"), delta=delta) as mesh:
                assert "there is no certificate and key in a Secret shop in namespace istio-system or default" in warnings_of(mesh)
                await mesh.change(one)
                assert (await asked(port, "shop.example.com", context(CA))).serial == SHOP.serial
                assert await refused(port, "news.example.com", context(CA))
                await mesh.change(both)
                assert (await asked(port, "news.example.com", context(CA))).serial == NEWS.serial
                assert "there is no" not in warnings_of(mesh)
                await mesh.change(documents + tls_secret("shop", again) + "---\n" + tls_secret("news", NEWS))
                await asyncio.to_thread(until_serial, port, again.serial)
                await mesh.change(one)
                assert await refused(port, "news.example.com", context(CA))
                assert mesh.rejections == []

    def warnings_of(mesh: object) -> str:
        return "\n".join(warnings(mesh.built, "Gateway/edge"))  # type: ignore[attr-defined]

    asyncio.run(run())


def opened(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until_serial(port: int, serial: int) -> None:
    until(lambda: get(port, "shop.example.com", context(CA, CALLER)).serial == serial)


@pytest.mark.parametrize(
    ("mode", "caller", "comes_through"),
    [
        ("MUTUAL", CALLER, True),
        ("MUTUAL", None, False),
        ("MUTUAL", STRANGER, False),
        ("OPTIONAL_MUTUAL", CALLER, True),
        ("OPTIONAL_MUTUAL", None, True),
        ("OPTIONAL_MUTUAL", STRANGER, False),
        ("MUTUAL, insecureSkipVerify: true", STRANGER, True),
        ("MUTUAL, insecureSkipVerify: true", None, False),
        ('MUTUAL, subjectAltNames: ["spiffe://cluster.local/ns/a/sa/caller"]', CALLER, True),
        ("MUTUAL, subjectAltNames: [caller.example.com]", CALLER, True),
        ("MUTUAL, subjectAltNames: [other.example.com]", CALLER, False),
        (f'MUTUAL, verifyCertificateHash: ["{CALLER.digest()}"]', CALLER, True),
        (f'MUTUAL, verifyCertificateHash: ["{SHOP.digest()}"]', CALLER, False),
        (f'MUTUAL, verifyCertificateSpki: ["{CALLER.key_digest()}"]', CALLER, True),
        (f'MUTUAL, verifyCertificateSpki: ["{SHOP.key_digest()}"]', CALLER, False),
    ],
    ids=lambda value: value.partition("[")[0] if isinstance(value, str) else None,
)
def test_certificates_of_callers(mode: str, caller: object, comes_through: bool) -> None:
    port = free_port()
    text = edge(port, f'hosts: ["*"], tls: {{mode: {mode}, credentialName: shop}}') + tls_secret("shop", SHOP, CA)

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                assert mesh.rejections == []
                assert await refused(port, "shop.example.com", context(CA, caller)) is not comes_through  # type: ignore[arg-type]

    asyncio.run(run())


def test_an_authority_in_a_secret_of_its_own_and_a_list_of_the_revoked() -> None:
    port = free_port()
    revoked = CA.issue("revoked.example.com")
    text = edge(port, 'hosts: ["*"], tls: {mode: MUTUAL, credentialName: shop}') + tls_secret("shop", SHOP)
    roots = secret("shop-cacert", cacert=CA.pem, ca_crl=CA.revokes(revoked))

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                assert await refused(port, "shop.example.com", context(CA, CALLER)), "without an authority the server is left out"
                await mesh.change(f"{text}---\n{roots}")
                assert (await asked(port, "shop.example.com", context(CA, CALLER))).status == 200
                assert await refused(port, "shop.example.com", context(CA, revoked))
                assert mesh.rejections == []

    asyncio.run(run())


def test_versions_and_cipher_suites() -> None:
    port, strict = free_port(), free_port()
    older = simple("old.example.com", "both", ", maxProtocolVersion: TLSV1_2, cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]")
    newer = simple("new.example.com", "shop", ", minProtocolVersion: TLSV1_3, ecdhCurves: [P-256]")
    key = CA.issue("old.example.com", key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    text = edge(port, older, newer) + tls_secret("both", key) + "---\n" + tls_secret("shop", SHOP)

    async def run() -> None:
        async with led_mesh(gateway(), text, at("far", 80, strict, id="far")) as mesh:
            said = await openssl(port, "-servername", "old.example.com")
            assert "TLSv1.2" in said
            assert "ECDHE-RSA-AES256-GCM-SHA384" in said
            for arguments in (
                ("old.example.com", "-tls1_3"),
                ("old.example.com", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"),
                ("new.example.com", "-tls1_2"),
                ("new.example.com", "-curves", "X25519"),
            ):
                assert "no peer certificate available" in await openssl(port, "-servername", *arguments), arguments
            assert "TLSv1.3" in await openssl(port, "-servername", "new.example.com", "-curves", "P-256")
            assert mesh.rejections == []

    asyncio.run(run())


def test_two_kinds_of_key_on_one_server() -> None:
    """The caller's abilities tell which certificate it sees."""
    port = free_port()
    other = CA.issue("shop.example.com", key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    text = edge(port, 'hosts: ["*"], tls: {mode: SIMPLE, credentialNames: [shop, other], maxProtocolVersion: TLSV1_2}')
    text += tls_secret("shop", SHOP) + "---\n" + tls_secret("other", other)

    async def run() -> None:
        async with led_mesh(gateway(), text, at("far", 80, port, id="far")) as mesh:
            for kind in ("ECDSA", "RSA"):
                said = await openssl(port, "-servername", "shop.example.com", "-cipher", f"ECDHE-{kind}-AES128-GCM-SHA256")
                assert f"Cipher    : ECDHE-{kind}-AES128-GCM-SHA256" in said
            assert mesh.rejections == []

    asyncio.run(run())


def test_files_of_the_proxys_machine_are_read_again_when_they_are_replaced(tmp_path: Path) -> None:
    port = free_port()
    certificate, key = SHOP.write(tmp_path, "shop")
    roots = CA.write(tmp_path)
    revoked = tmp_path / "crl.pem"
    revoked.write_bytes(CA.revokes(CA.issue("bad")))
    files = f"serverCertificate: {certificate}, privateKey: {key}, caCertificates: {roots}, caCrl: {revoked}"
    text = edge(port, f'hosts: ["*"], tls: {{mode: MUTUAL, {files}}}')
    again = CA.issue("shop.example.com")

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                assert (await asked(port, "shop.example.com", context(CA, CALLER))).serial == SHOP.serial
                assert await refused(port, "shop.example.com", context(CA))
                again.write(tmp_path, "new")
                for kind in ("key", "crt"):
                    (tmp_path / f"new.{kind}").rename(tmp_path / f"shop.{kind}")
                await asyncio.to_thread(until_serial, port, again.serial)
                assert mesh.rejections == []

    asyncio.run(run())


class _Echo(threading.Thread):
    """Ends TLS itself, and says its own name and the name that it was asked for."""

    def __init__(self, name: str, ca: Ca, *names: str, alpn: tuple[str, ...] = ()) -> None:
        super().__init__(daemon=True)
        self._name = name
        self._asked = ""
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.sni_callback = self._remember
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pair = ca.issue(*names)

    def _remember(self, _socket: object, name: str | None, _context: object) -> None:
        self._asked = name or ""

    def run(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                with plain, self._tls.wrap_socket(plain, server_side=True) as wrapped:
                    wrapped.recv(65536)
                    body = json.dumps({"name": self._name, "sni": self._asked}).encode()
                    wrapped.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            except OSError:
                continue

    @contextmanager
    def serving(self, folder: Path) -> Iterator[_Echo]:
        self._tls.load_cert_chain(*self._pair.write(folder, self._name))
        self.start()
        try:
            yield self
        finally:
            self._listener.close()


PASSED = """tls:
- match: [{sniHosts: [one.example.com]}]
  route: [{destination: {host: one, port: {number: 443}}}]
- match: [{sniHosts: ["*.example.com"]}]
  route: [{destination: {host: two, port: {number: 443}}}]
"""


def test_passthrough_by_server_name(tmp_path: Path) -> None:
    port = free_port()
    one, two = _Echo("one", CA, "one.example.com"), _Echo("two", CA, "x.example.com", "y.example.com")
    servers = ('hosts: ["*.example.com"], tls: {mode: PASSTHROUGH}', simple("shop.example.com", "shop"))
    text = edge(port, *servers) + tls_secret("shop", SHOP)
    text += '---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: passed}\nspec:\n  hosts: ["*.example.com"]\n'
    text += "  gateways: [edge]\n" + "".join(f"  {line}\n" for line in PASSED.splitlines())

    async def run() -> None:
        with one.serving(tmp_path), two.serving(tmp_path), backend("far") as far:
            registered = [at(e._name, 443, e.port, id=e._name, protocol=Protocol.TLS) for e in (one, two)]
            async with led_mesh(gateway(), text, *registered, at("far", 80, far.port, id="far")) as mesh:
                for host, wanted in (("one.example.com", "one"), ("x.example.com", "two"), ("y.example.com", "two")):
                    assert (await asked(port, host, context(CA))).json == {"name": wanted, "sni": host}
                assert (await asked(port, "shop.example.com", context(CA))).serial == SHOP.serial, "the other server of the port"
                assert await refused(port, "one.example.org", context(CA))
                assert mesh.rejections == []

    asyncio.run(run())


def test_tls_ended_for_tcp() -> None:
    port = free_port()
    text = edge(port, simple("*", "shop"), routes="tcp: [{route: [{destination: {host: far}}]}]").replace(
        "protocol: HTTPS", "protocol: TLS"
    )
    text += tls_secret("shop", SHOP)

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far", protocol=Protocol.TCP)):
                answer = await asked(port, "shop.example.com", context(CA))
                assert (answer.json["name"], answer.serial) == ("far", SHOP.serial)
                assert "x-request-id" not in answer.json["headers"], "nobody looked at the request"

    asyncio.run(run())


def test_auto_passthrough_leads_to_the_service_that_is_named(tmp_path: Path) -> None:
    port = free_port()
    one = _Echo("one", CA, "one.example.com")
    text = edge(port, 'hosts: ["*.local"], tls: {mode: AUTO_PASSTHROUGH}').replace("protocol: HTTPS", "protocol: TLS")

    async def run() -> None:
        with one.serving(tmp_path):
            async with led_mesh(gateway(), text, at("one", 443, one.port, id="one", protocol=Protocol.TLS)) as mesh:
                name = "outbound_.443_._.one.default.svc.cluster.local"
                assert "CN" in (said := await openssl(port, "-servername", name, "-alpn", "istio")), said
                assert "one.example.com" in said
                assert "no peer certificate available" in await openssl(port, "-servername", name), "callers that are no sidecars"
                assert "no peer certificate available" in await openssl(port, "-servername", "one.example.com", "-alpn", "istio")
                assert mesh.rejections == []

    asyncio.run(run())


def test_plain_requests_are_sent_to_https() -> None:
    plain, secure = free_port(), free_port()
    text = edge(secure, simple("shop.example.com", "shop")) + tls_secret("shop", SHOP)
    redirect = f"port: {{number: {plain}, name: plain, protocol: HTTP}}, hosts: [shop.example.com], tls: {{httpsRedirect: true}}"
    text = text.replace("  servers:\n", f"  servers:\n  - {{bind: 127.0.0.1, {redirect}}}\n")

    curl = ("curl", "-sS", "-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", "--resolve", f"shop.example.com:{plain}:127.0.0.1")
    follow = ("-L", "--cacert", "/dev/stdin", "--resolve", f"shop.example.com:{secure}:127.0.0.1")

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                # What stands in front may lead the usual ports to these; who names a port has come without it.
                for sent, moved in (("shop.example.com", "shop.example.com"), (f"shop.example.com:{plain}", f"shop.example.com:{secure}")):
                    said = await program(*curl, "-H", f"host: {sent}", f"http://shop.example.com:{plain}/a?b")
                    assert said == (0, f"301 https://{moved}/a?b")
                    request = Request(url=f"http://shop.example.com:{plain}/a?b", headers=(("host", sent),))
                    found = explain(mesh.built.mesh, mesh.node, request).redirect
                    assert found and (found.status, found.location) == (301, f"https://{moved}/a?b")
                assert await program(*curl, *follow, f"http://shop.example.com:{plain}/a?b", said=CA.pem) == (0, "200 ")
                passed = await program(*curl, "-H", "x-forwarded-proto: https", f"http://shop.example.com:{plain}/")
                assert passed == (0, f"301 https://shop.example.com:{secure}/"), "a caller who is not trusted says so in vain"

    asyncio.run(run())


def test_a_file_that_is_not_there_is_the_trouble_of_its_own_server(tmp_path: Path) -> None:
    """Envoy 1.40 does not look again by itself: a proxy that starts later finds the file."""
    port = free_port()
    files = f"serverCertificate: {tmp_path}/news.crt, privateKey: {tmp_path}/news.key"
    text = edge(port, simple("shop.example.com", "shop"), f"hosts: [news.example.com], tls: {{mode: SIMPLE, {files}}}")

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text + tls_secret("shop", SHOP), at("far", 80, far.port, id="far")) as mesh:
                assert "news.crt" in str(mesh.rejections)
                await asyncio.to_thread(until, lambda: opened(port))
                assert (await asked(port, "shop.example.com", context(CA))).serial == SHOP.serial
                assert await refused(port, "news.example.com", context(CA))

    asyncio.run(run())
