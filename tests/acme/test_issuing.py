"""Certificates from a real authority (pebble), proved by a real gateway, and in force there."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from support.eventually import eventually
from support.pebble import KEY_ID, MAC, Pebble, needs_pebble, pebble
from support.running import Place, free_port, running

pytestmark = [pytest.mark.envoy, needs_pebble]

HOST = "shop.example.com"
WHERE = "/api/v1/resources/certificates/default/shop"


def plain(port: int) -> str:
    """A server that sends everybody to HTTPS, and a policy that lets nobody in."""
    return f"""---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: plain}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: [{HOST}], tls: {{httpsRedirect: true}}}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: only-shop, namespace: istio-system}}
spec: {{selector: {{matchLabels: {{istio: ingressgateway}}}}, rules: [{{to: [{{operation: {{paths: [/shop]}}}}]}}]}}
"""


def secure(port: int) -> str:
    return f"""---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: secure}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: {port}, name: https, protocol: HTTPS}}, hosts: ["*.example.com"], tls: {{mode: SIMPLE, credentialName: shop}}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop}}
spec: {{hosts: ["*.example.com"], gateways: [secure, plain], http: [{{directResponse: {{status: 200, body: {{string: hello}}}}}}]}}
"""


def certificate(of: Pebble, more: str = "", issuer: str = "") -> str:
    return f"""---
apiVersion: tulle.dev/v1
kind: Certificate
metadata: {{name: shop}}
spec: {{dnsNames: [{HOST}], issuer: {of.issuer(issuer)}{more}}}
"""


EXPIRED = 10
"""As OpenSSL says it: X509_V_ERR_CERT_HAS_EXPIRED."""


@dataclass(kw_only=True)
class Shop:
    """A mesh with a gateway, and an authority that asks it on its own ports."""

    place: Place
    authority: Pebble
    trust: ssl.SSLContext | None = field(default=None)

    async def apply(self, *documents: str) -> None:
        path = self.place.write("documents.yaml", "".join(documents))
        code, said = await self.place.tulle("apply", "--wait", "--timeout", "4m", "-f", str(path))
        assert code == 0, said

    async def tulle(self, *words: str) -> str:
        code, said = await self.place.tulle(*words)
        assert code == 0, said
        return said

    async def item(self) -> dict[str, Any]:
        found: dict[str, Any] = await self.place.get(WHERE)
        return found

    async def until(self, kind: str, status: str, reason: str = "", seconds: float = 180) -> dict[str, str]:
        """A condition of the Certificate, once it stands so."""

        def found(item: dict[str, Any]) -> list[dict[str, str]]:
            return [c for c in item["status"]["conditions"] if (c["type"], c["status"]) == (kind, status) and reason in ("", c["reason"])]

        return found(await self.place.until(WHERE, found, seconds))[0]

    async def shown(self) -> x509.Certificate:
        """What the gateway shows to a caller who trusts the authority alone. A short life may be over: then the next certificate."""
        self.trust = self.trust or ssl.create_default_context(cadata=await self.authority.roots())
        while True:
            try:
                return await asyncio.to_thread(self._shown, self.trust)
            except ssl.SSLCertVerificationError as error:
                if error.verify_code != EXPIRED:
                    raise
                await asyncio.sleep(0.1)

    def _shown(self, trust: ssl.SSLContext) -> x509.Certificate:
        with (
            socket.create_connection(("127.0.0.1", self.authority.tls), timeout=60) as raw,
            trust.wrap_socket(raw, server_hostname=HOST) as s,
        ):
            found = s.getpeercert(binary_form=True)
        assert found
        return x509.load_der_x509_certificate(found)


@asynccontextmanager
async def shop(folder: Path, *, binding: bool = False, life: int = 90 * 86400) -> AsyncIterator[Shop]:
    place = Place(folder=folder)
    with pebble(folder, http=free_port(), tls=free_port(), binding=binding, life=life) as authority:
        async with running(place, "up"):
            await place.until("/api/v1/proxies", is_connected)
            yield Shop(place=place, authority=authority)


def test_a_certificate_is_issued_and_renewed_under_load_without_a_lost_request(tmp_path: Path) -> None:
    async def run() -> None:
        async with shop(tmp_path) as mesh:
            ports = mesh.authority
            await mesh.apply(plain(ports.http), secure(ports.tls), certificate(ports))
            assert "certificate/shop is there until" in await mesh.tulle("certs", "wait", "shop")
            first = await mesh.shown()
            assert isinstance(first.public_key(), ec.EllipticCurvePublicKey)
            stop, served = asyncio.Event(), list[int]()
            async with asyncio.TaskGroup() as group:
                for lasting in (True, False):
                    group.create_task(load(mesh, stop, served, lasting=lasting))
                serials = {first.serial_number}
                for _ in range(2):
                    await mesh.tulle("certs", "renew", "shop", "--wait")
                    serials.add((await mesh.shown()).serial_number)
                await eventually(lambda: len(served) > 30)
                stop.set()
            assert len(serials) == 3
            assert set(served) == {200}, "a request was lost"
            await it_is_told(mesh)
            await nothing_shows_a_key(mesh)
            await what_is_deleted_comes_back(mesh)

    async def load(mesh: Shop, stop: asyncio.Event, served: list[int], *, lasting: bool) -> None:
        """Request after request, each on a new connection, or all on one, which nothing may end."""
        assert mesh.trust
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.authority.tls, ssl=mesh.trust, server_hostname=HOST)
        while not stop.is_set():
            writer.write(f"GET /shop HTTP/1.1\r\nhost: {HOST}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            served.append(int(head.split()[1]))
            assert await reader.readexactly(5) == b"hello"
            await asyncio.sleep(0.02)
            if not lasting:
                writer.transport.abort()
                reader, writer = await asyncio.open_connection("127.0.0.1", mesh.authority.tls, ssl=mesh.trust, server_hostname=HOST)
        writer.transport.abort()

    async def it_is_told(mesh: Shop) -> None:
        said = await mesh.tulle("certs")
        row = next(line for line in said.splitlines() if line.startswith("default "))
        assert row.split()[:4] == ["default", "shop", HOST, "True"]
        assert HOST in await mesh.tulle("get", "certificates")
        item = await mesh.item()
        assert {c["type"]: c["status"] for c in item["status"]["conditions"]} == {
            "Accepted": "True",
            "Programmed": "True",
            "Ready": "True",
            "Issuing": "False",
        }
        assert item["status"]["termsOfService"].startswith("data:")
        end = datetime.fromisoformat(item["status"]["notAfter"]).timestamp()
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.place.api)
        writer.write(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        metrics = (await reader.read()).decode()
        writer.close()
        (value,) = re.findall(r'tulle_certificate_end_seconds\{name="shop",namespace="default"\} (\S+)', metrics)
        assert float(value) == end

    async def nothing_shows_a_key(mesh: Shop) -> None:
        seen = [await mesh.tulle("get", "all", "-A", "-o", "json"), await mesh.tulle("secret", "show", "shop", "-o", "yaml")]
        assert "PRIVATE" not in "".join(seen) + written("*.log").decode(errors="replace")
        held = written("state/tulle.db*")
        assert b"acme/accounts/" in held, "names are no secret"
        assert [text for text in (b"PRIVATE KEY", base64.b64encode(b"-----BEGIN PRIVATE KEY")[:24]) if text in held] == []

    def written(pattern: str) -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.glob(pattern))

    async def what_is_deleted_comes_back(mesh: Shop) -> None:
        before, orders = (await mesh.shown()).serial_number, ordered(mesh.authority)
        await mesh.tulle("secret", "delete", "shop")
        await mesh.place.until("/api/v1/resources/secrets/default/shop", bool)
        await mesh.until("Programmed", "True")
        assert ((await mesh.shown()).serial_number, ordered(mesh.authority)) == (before, orders), "the authority is not asked for it"
        await mesh.tulle("delete", "certificate", "shop")
        assert json.loads(await mesh.tulle("secret", "show", "shop", "-o", "json"))["entries"] == ["tls.crt", "tls.key"]

    asyncio.run(run())


def test_tls_alpn_01_opens_a_port_that_waits_for_its_first_certificate(tmp_path: Path) -> None:
    """With an RSA key that stays the same, and a life so short that it is renewed by itself."""

    async def run() -> None:
        async with shop(tmp_path, life=12) as mesh:
            wish = ", challenge: TLS-ALPN-01, privateKey: {algorithm: RSA, rotationPolicy: Never}"
            await mesh.apply(secure(mesh.authority.tls), certificate(mesh.authority, wish))
            await mesh.tulle("certs", "wait", "shop")
            first = await mesh.shown()
            assert isinstance(first.public_key(), rsa.RSAPublicKey)
            before = (await mesh.item())["status"]["serialNumber"]
            await mesh.place.until(WHERE, lambda item: item["status"]["serialNumber"] != before and programmed(item))
            again = await mesh.shown()
            assert (again.serial_number != first.serial_number, again.public_key()) == (True, first.public_key())

    def programmed(item: dict[str, Any]) -> bool:
        return any((c["type"], c["status"]) == ("Programmed", "True") for c in item["status"]["conditions"])

    asyncio.run(run())


def test_what_stands_in_the_way_is_told_until_it_is_mended(tmp_path: Path) -> None:
    """No port to answer on; no account with the authority; a host that it cannot reach."""
    account = f", externalAccountBinding: {{keyId: {KEY_ID}, keySecretRef: {{name: account}}}}"
    secret = f"---\napiVersion: v1\nkind: Secret\nmetadata: {{name: account}}\nstringData: {{secret: {MAC}}}\n"

    async def run() -> None:
        async with shop(tmp_path, binding=True) as mesh:
            ports = mesh.authority
            await mesh.apply(certificate(ports))
            blocked = await mesh.until("Issuing", "False", "Blocked")
            assert f"no connected gateway can answer for {HOST}: the authority asks in plain text on port 80" in blocked["message"]
            await mesh.apply(secure(ports.tls), plain(free_port()))
            failed = await mesh.until("Issuing", "False", "Failed")
            assert "the authority asks for an account that you have with it" in failed["message"]
            code, said = await mesh.place.tulle("certs", "wait", "shop")
            assert (code, "fill in issuer.externalAccountBinding" in said) == (1, True)
            await mesh.apply(certificate(ports, issuer=account))
            assert "there is no entry secret in a Secret account" in (await mesh.until("Issuing", "False", "Failed"))["message"]
            await mesh.apply(secret)
            code, said = await mesh.place.tulle("certs", "renew", "shop", "--wait")
            assert (code, f"the authority could not see that {HOST} is yours" in said) == (1, True), said
            assert "next try at" in said
            assert "warning: Certificate/shop: the authority could not see" in await mesh.tulle("certs")
            await mesh.apply(certificate(ports, ", challenge: TLS-ALPN-01", account))
            await mesh.tulle("certs", "wait", "shop")
            assert (await mesh.shown()).serial_number

    asyncio.run(run())


def test_an_order_goes_on_after_the_control_plane_was_killed(tmp_path: Path) -> None:
    """The authority takes its time to look; meanwhile the control plane dies. The gateway answers, and the database has all the rest."""

    async def run() -> None:
        place = Place(folder=tmp_path)
        with pebble(tmp_path, http=free_port(), tls=free_port(), PEBBLE_VA_NOSLEEP="0", PEBBLE_VA_SLEEPTIME="6") as authority:
            mesh = Shop(place=place, authority=authority)
            async with running(place, "control") as first, running(place, "gateway"):
                await place.until("/api/v1/proxies", is_connected)
                await mesh.apply(plain(authority.http), secure(authority.tls), certificate(authority))
                # Seldom it looks at once, and has done so before anybody can see that it is to.
                await place.until(WHERE, lambda item: is_so(item, "Issuing", "Validating") or is_so(item, "Ready", "Issued"))
                await first.kill()
                async with running(place, "control"):
                    await place.until("/api/v1/version", bool)
                    await mesh.until("Ready", "True")
                    await place.until("/api/v1/proxies", is_connected)
                    assert (await mesh.shown()).serial_number
            assert ordered(authority) == 1

    asyncio.run(run())


def is_connected(said: dict[str, Any]) -> bool:
    return any(proxy["current"] for proxy in said["proxies"])


def is_so(item: dict[str, Any], kind: str, reason: str) -> bool:
    return any((c["type"], c["reason"]) == (kind, reason) for c in item["status"]["conditions"])


def ordered(authority: Pebble) -> int:
    """How many orders it was given."""
    return authority.log.read_text().count("Added order")
