"""Mutual TLS between real sidecars: who is let in, who is believed, and that nobody notices when certificates and roots change."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask
from support.certificates import Pair
from support.eventually import eventually
from support.load import load
from support.meshed import DISABLE, PERMISSIVE, STRICT, Meshed, instance, meshed, opened, sidecar
from support.running import free_port
from support.tls_client import unverified
from support.tls_server import TlsServer
from tulle.ca.authority import Authority
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Identity
from tulle.model.proxy import Node, Role, Upstream
from tulle.model.service import Protocol

pytestmark = pytest.mark.envoy
HOUR = timedelta(hours=1)


class Pairing:
    """A web server behind a sidecar, and a client behind another. `direct` is where the server's sidecar listens."""

    def __init__(self, mesh: Meshed, direct: int, local: int) -> None:
        self.mesh, self.direct, self.local = mesh, direct, local

    async def through_the_mesh(self) -> tuple[int, dict[str, str]]:
        """Status, and the headers that the server saw."""
        status, _, body = await asyncio.to_thread(ask, self.local, headers={"host": "web"})
        return status, json.loads(body)["headers"] if status == 200 else {}

    async def plain(self, **headers: str) -> dict[str, str]:
        """Past the client's sidecar. Raises OSError where the connection is closed."""
        _, _, body = await asyncio.to_thread(ask, self.direct, headers=headers)
        seen: dict[str, str] = json.loads(body)["headers"]
        return seen


@asynccontextmanager
async def pairing(folder: Path, text: str, *, delta: bool = True) -> AsyncIterator[Pairing]:
    direct, local = free_port(), free_port()
    with backend("app") as app:
        web = sidecar("web", opened(80, direct, app.port))
        client = sidecar("client", calls=(Upstream(host="web", port=80, bind_port=local),))
        async with meshed(folder, text, (web, client), delta=delta) as mesh:
            yield Pairing(mesh, direct, local)


@pytest.mark.parametrize("delta", [True, False])
def test_permissive_takes_both_and_strict_refuses_plain_text(tmp_path: Path, delta: bool) -> None:
    async def run() -> None:
        async with pairing(tmp_path, PERMISSIVE, delta=delta) as pair:
            status, seen = await pair.through_the_mesh()
            assert status == 200
            who = dict(part.split("=", 1) for part in seen["x-forwarded-client-cert"].split(";"))
            assert who["By"] == "spiffe://cluster.local/ns/default/sa/web"
            assert who["URI"] == "spiffe://cluster.local/ns/default/sa/client"
            assert "x-forwarded-client-cert" not in await pair.plain(
                **{"x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/admin"}
            )
            await pair.mesh.change(STRICT)
            assert (await pair.through_the_mesh())[0] == 200
            with pytest.raises(ConnectionError):
                await pair.plain()
            await pair.mesh.change(DISABLE)
            status, seen = await pair.through_the_mesh()
            assert (status, "x-forwarded-client-cert" in seen) == (200, False)
            await pair.plain()

    asyncio.run(run())


def test_a_forged_certificate_header_is_replaced(tmp_path: Path) -> None:
    async def run() -> None:
        async with pairing(tmp_path, STRICT) as pair:
            forged = {"host": "web", "x-forwarded-client-cert": "URI=spiffe://cluster.local/ns/default/sa/admin"}
            _, _, body = await asyncio.to_thread(ask, pair.local, headers=forged)
            assert "sa/admin" not in json.loads(body)["headers"]["x-forwarded-client-cert"]

    asyncio.run(run())


async def knock(port: int, pair: Pair | None, *, alpn: str = "istio", first: bytes = b"GET / HTTP/1.1\r\nhost: web\r\n\r\n") -> bytes:
    """What a sidecar answers a caller with this certificate; empty where it closes. The server's certificate is not looked at here."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unverified(pair, alpn))
        writer.write(first)
        answer = await asyncio.wait_for(reader.read(65536), 60)
        writer.close()
    except (ConnectionError, ssl.SSLError):
        return b""
    return answer


def test_only_callers_with_a_certificate_of_the_mesh_are_let_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with pairing(tmp_path, STRICT) as pair:
            mesh, now = pair.mesh, datetime.now(UTC)
            late = Authority(tmp_path / "ca", "cluster.local", now=lambda: now - 2 * HOUR)
            early = Authority(tmp_path / "ca", "cluster.local", now=lambda: now + HOUR)
            stranger = Authority(tmp_path / "other", "cluster.local")
            assert (await knock(pair.direct, mesh.pair("client"))).startswith(b"HTTP/1.1 200")
            refused = {
                "none": None,
                "of another trust domain": mesh.pair("client", trust_domain="evil.example"),
                "of a trust domain that begins alike": mesh.pair("client", trust_domain="cluster.local.evil.example"),
                "expired": mesh.pair("client", by=late),
                "not yet valid": mesh.pair("client", by=early),
                "of another authority": mesh.pair("client", by=stranger),
            }
            let_in = [what for what, certificate in refused.items() if await knock(pair.direct, certificate)]
            assert let_in == []

    asyncio.run(run())


def test_only_servers_with_the_accounts_of_their_service_are_believed(tmp_path: Path) -> None:
    async def run() -> None:
        local = free_port()
        client = sidecar("client", calls=(Upstream(host="web", port=80, bind_port=local),))
        async with meshed(tmp_path, "", (client,), instance("web", opened(80, 1), account="web", proxy="sidecar~web")) as mesh:
            now = datetime.now(UTC)
            late = Authority(tmp_path / "ca", "cluster.local", now=lambda: now - 2 * HOUR)
            early = Authority(tmp_path / "ca", "cluster.local", now=lambda: now + HOUR)
            stranger = Authority(tmp_path / "other", "cluster.local")
            shown = {
                "its own": mesh.pair("web"),
                "another account's": mesh.pair("cart"),
                "another trust domain's": mesh.pair("web", trust_domain="evil.example"),
                "expired": mesh.pair("web", by=late),
                "not yet valid": mesh.pair("web", by=early),
                "another authority's": mesh.pair("web", by=stranger),
            }
            believed = []
            for what, certificate in shown.items():
                async with TlsServer(tmp_path, certificate).serving() as port:
                    await mesh.change("", instance("web", opened(80, port), account="web", proxy="sidecar~web"))
                    status, _, _ = await asyncio.to_thread(ask, local, headers={"host": "web"})
                    believed += [what] if status == 200 else []
            assert believed == ["its own"]

    asyncio.run(run())


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A protocol in which the server speaks first, and then says again what it hears."""
    writer.write(b"hello ")
    try:
        writer.write(await reader.read(100))
        await writer.drain()
    except OSError:
        pass
    writer.close()


def test_connections_that_are_no_http(tmp_path: Path) -> None:
    """PERMISSIVE takes mutual TLS, passes TLS of the workload's own on, and does not keep callers waiting whose server speaks first."""

    async def run() -> None:
        direct, local, secure = free_port(), free_port(), free_port()
        async with AsyncExitStack() as stack:
            app = await stack.enter_async_context(await asyncio.start_server(greet, "127.0.0.1", 0))
            target = app.sockets[0].getsockname()[1]
            own = Authority(tmp_path / "own", "shop.example")
            issued = own.issue(Identity(trust_domain="shop.example"))
            assert issued.key
            encrypted = await stack.enter_async_context(TlsServer(tmp_path, Pair(issued.chain, issued.key.reveal())).serving())
            lines = sidecar("lines", opened(9000, direct, target, Protocol.TCP), opened(9443, secure, encrypted, Protocol.TCP))
            client = sidecar("client", calls=(Upstream(host="lines", port=9000, bind_port=local),))
            mesh = await stack.enter_async_context(meshed(tmp_path, PERMISSIVE, (lines, client)))
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            assert await asyncio.wait_for(reader.readexactly(6), 60) == b"hello "
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", direct)
            assert await asyncio.wait_for(reader.readexactly(6), 60) == b"hello "
            writer.close()
            assert (await knock(secure, None, alpn="http/1.1")).startswith(b"HTTP/1.1 200")
            assert (await knock(direct, mesh.pair("client"), first=b"x")).startswith(b"hello ")
            await mesh.change(STRICT)
            assert await knock(secure, None, alpn="http/1.1") == b""
            reader, writer = await asyncio.open_connection("127.0.0.1", direct)
            writer.write(b"a line in plain text\n")
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await asyncio.wait_for(reader.readexactly(6), 60)

    asyncio.run(run())


def serials(pair: Pairing) -> set[str]:
    """Of the certificates that the server's proxy has."""
    found = json.loads(pair.mesh.envoys["sidecar~web"].get("/certs"))["certificates"]
    return {part["serial_number"].lstrip("0") for one in found for part in one["cert_chain"]}


FEW_REQUESTS = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 3}}}}
"""
"""New connections all the time: those that are open go on with what they began with."""


def test_certificates_and_roots_are_replaced_under_load_and_nobody_notices(tmp_path: Path) -> None:
    async def run() -> None:
        async with pairing(tmp_path, STRICT + FEW_REQUESTS) as pair, load(pair.local, ("/",), connections=4) as pulling:
            mesh = pair.mesh
            seen = [serials(pair)]

            async def more(count: int = 200) -> None:
                before = pulling.requests
                await eventually(lambda: pulling.requests >= before + count)

            await more()
            for _ in range(3):
                mesh.deliveries.renew(everything=True)
                await mesh.offered()
                await more()
                seen.append(serials(pair))
            roots = {root.fingerprint for root in mesh.authority.roots()}
            for step in (mesh.authority.begin, mesh.authority.switch, mesh.authority.finish):
                step()
                mesh.deliveries.renew()
                await mesh.offered()
                await more()
            seen.append(serials(pair))
            assert not roots & {root.fingerprint for root in mesh.authority.roots()}
            assert len({frozenset(one) for one in seen}) == len(seen)
            pulling.stop()
            assert not pulling.failures
            assert pulling.requests > 1000

    asyncio.run(run())


GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{app: edge}}
  servers:
  - {{port: {{number: {port}, name: tls, protocol: {protocol}}}, bind: 127.0.0.1, hosts: ["{host}"], tls: {{mode: {mode}}}}}
"""
TO_WEB = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec: {hosts: ["*"], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}
"""
OTHER_DOOR = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: door}}
spec:
  hosts: [door.example.com]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: door}}
spec:
  host: door.example.com
  trafficPolicy: {{tls: {{mode: ISTIO_MUTUAL, sni: {sni}, subjectAltNames: [{identity}]}}}}
"""


@asynccontextmanager
async def behind_a_gateway(folder: Path, mode: str, sni: str, server: str) -> AsyncIterator[tuple[int, int]]:
    """A client's sidecar, a gateway, and a server's sidecar that takes mutual TLS alone: where the client calls, and the gateway's port."""
    direct, local, edge = free_port(), free_port(), free_port()
    protocol, host = ("HTTPS", "*") if mode == "ISTIO_MUTUAL" else ("TLS", "*")
    rules = GATEWAY.format(port=edge, protocol=protocol, host=host, mode=mode) + (TO_WEB if mode == "ISTIO_MUTUAL" else "")
    rules += OTHER_DOOR.format(port=edge, sni=sni, identity=f"spiffe://cluster.local/ns/default/sa/{server}")
    with backend("app") as app:
        web = sidecar("web", opened(80, direct, app.port))
        client = sidecar("client", calls=(Upstream(host="door.example.com", port=80, bind_port=local),))
        gate = Node(id="gateway~edge", role=Role.GATEWAY, labels=FrozenMap({"app": "edge"}), service_account="edge", bind="127.0.0.1")
        async with meshed(folder, f"{STRICT}---{rules}", (web, client, gate)):
            yield local, edge


def test_a_gateway_takes_calls_of_the_mesh_alone(tmp_path: Path) -> None:
    async def run() -> None:
        async with behind_a_gateway(tmp_path, "ISTIO_MUTUAL", "web.example.com", "edge") as (local, edge):
            status, _, body = await asyncio.to_thread(ask, local, headers={"host": "door.example.com"})
            assert (status, json.loads(body)["name"]) == (200, "app")
            # The server knows the gateway as its caller, which knew the client.
            assert "URI=spiffe://cluster.local/ns/default/sa/edge" in json.loads(body)["headers"]["x-forwarded-client-cert"]
            assert await knock(edge, None) == b""

    asyncio.run(run())


def test_a_gateway_passes_mutual_tls_on_untouched(tmp_path: Path) -> None:
    async def run() -> None:
        async with behind_a_gateway(tmp_path, "AUTO_PASSTHROUGH", "outbound_.80_._.web.default.svc.cluster.local", "web") as (local, _):
            status, _, body = await asyncio.to_thread(ask, local, headers={"host": "door.example.com"})
            assert (status, json.loads(body)["name"]) == (200, "app")
            assert "URI=spiffe://cluster.local/ns/default/sa/client" in json.loads(body)["headers"]["x-forwarded-client-cert"]

    asyncio.run(run())


def test_another_trust_domain_is_believed_for_itself_alone(tmp_path: Path) -> None:
    """Federation: its roots vouch for its own workloads, not for ours, and those of a third for nobody."""

    async def run() -> None:
        partner, third = Authority(tmp_path / "partner", "partner.example"), Authority(tmp_path / "third", "third.example")
        bundle = tmp_path / "partner.pem"
        bundle.write_bytes(partner.bundle())
        direct, local = free_port(), free_port()
        with backend("app") as app:
            web = sidecar("web", opened(80, direct, app.port), calls=(Upstream(host="door.example.com", port=80, bind_port=local),))
            async with meshed(tmp_path, STRICT, (web,), partners={"partner.example": bundle}) as mesh:

                async def let_in(domain: str, by: Authority) -> bool:
                    return (await knock(direct, mesh.pair("client", trust_domain=domain, by=by))).startswith(b"HTTP/1.1 200")

                assert await let_in("cluster.local", mesh.authority)
                assert await let_in("partner.example", partner)
                assert not await let_in("cluster.local", partner)
                assert not await let_in("partner.example", mesh.authority)
                assert not await let_in("third.example", third)
                # The other way: a service of theirs, by the identity that a rule names.
                answers = []
                for domain in ("partner.example", "cluster.local"):
                    async with TlsServer(tmp_path, mesh.pair("shop", trust_domain=domain, by=partner)).serving() as port:
                        rule = OTHER_DOOR.format(port=port, sni="door.example.com", identity=f"spiffe://{domain}/ns/default/sa/shop")
                        await mesh.change(f"{STRICT}{rule}")
                        answers.append((await asyncio.to_thread(ask, local, headers={"host": "door.example.com"}))[0])
                assert answers == [200, 503]
                # Their roots change, and ours: both are taken over.
                partner.begin()
                partner.switch()
                assert not await let_in("partner.example", partner)
                bundle.write_bytes(partner.bundle())
                mesh.authority.begin()
                mesh.deliveries.renew()
                await mesh.offered()
                assert await let_in("partner.example", partner)
                assert await let_in("cluster.local", mesh.authority)

    asyncio.run(run())
