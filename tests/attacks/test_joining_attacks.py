"""What thieves, neighbours and strangers try on the way into the mesh; each is refused, and who is let in is not disturbed by it."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from support.eventually import eventually, soon
from support.guarded import Guarded, Pair, forged, guarded, holder_of
from support.xds_client import node_message
from tulle.agent.membership import JoinError, Membership
from tulle.ca.joining import bearer_of
from tulle.ca.keys import dump_key, new_key
from tulle.model.identity import Labels
from tulle.model.proxy import Node, Role
from tulle.protos import pb
from tulle.server.access.gate import NotAdmittedError
from tulle.server.ads import Ads
from tulle.server.rate_limits import SERVICE as RATE_LIMITS
from tulle.translate.snapshot import CLUSTER, SECRET

WEB = "shop/web"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("guarded")) as running:
        yield running


def node(name: str = "sidecar~web-1", workload: str = WEB, instance: str = "1") -> Node:
    namespace, _, account = workload.partition("/")
    return Node(id=name, role=Role.SIDECAR, namespace=namespace, service_account=account, instance=instance)


async def answered(mesh: Guarded, pair: Pair | None, who: Node) -> None:
    """Asks for clusters as this node. Raises when there is no answer."""
    async with mesh.proxy(pair) as client:
        await client.send(node=node_message(who), type_url=CLUSTER)
        await client.receive()


async def refusal(mesh: Guarded, pair: Pair | None, who: Node) -> tuple[grpc.StatusCode, str]:
    async with mesh.proxy(pair) as client:
        with pytest.raises((EOFError, grpc.aio.AioRpcError)):
            await client.send(node=node_message(who), type_url=CLUSTER)
            await client.receive()
        return await client.ending()


# === the request for a certificate


def asking(*names: x509.GeneralName, signs: bool = False, common: str = "") -> tuple[bytes, Any]:
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)] if common else [])
    asked = x509.CertificateSigningRequestBuilder(subject_name=subject)
    if names:
        asked = asked.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if signs:
        asked = asked.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return asked.sign(key, SHA256()).public_bytes(Encoding.PEM), key


OWN = x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/web")


@pytest.mark.parametrize(
    "names",
    [
        [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/tulle-system/sa/control")],
        [OWN, x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/admin")],
        [OWN, x509.DNSName("localhost")],
        [OWN, x509.IPAddress(ip_address("127.0.0.1"))],
    ],
    ids=["the-control-planes-identity", "a-second-identity", "a-host", "an-address"],
)
def test_a_request_for_more_names_than_ones_own(mesh: Guarded, names: list[x509.GeneralName]) -> None:
    async def run() -> None:
        token = await mesh.token(**{"for": WEB})
        body = {"token": token, "csr": asking(*names)[0].decode(), "for": WEB}
        assert (await mesh.ask("POST", "/api/v1/join", body, mesh.shows()))[0] == 403
        assert (await mesh.ask("POST", "/api/v1/join", {**body, "csr": asking()[0].decode()}, mesh.shows()))[0] == 201

    asyncio.run(run())


def test_a_request_for_a_certificate_that_signs_others(mesh: Guarded) -> None:
    async def run() -> None:
        body = {"token": await mesh.token(**{"for": WEB}), "csr": asking(signs=True)[0].decode(), "for": WEB}
        status, answer = await mesh.ask("POST", "/api/v1/join", body, mesh.shows())
        assert (status, "signs others" in answer["error"]) == (403, True)

    asyncio.run(run())


def test_a_request_in_the_name_of_another_holder(mesh: Guarded) -> None:
    """The subject of a request counts for nothing: or its certificate would be that of an admin."""

    async def run() -> None:
        csr, key = asking(common="bootstrap")
        body = {"token": await mesh.token(**{"for": WEB}), "csr": csr.decode(), "for": WEB}
        made = (await mesh.ask("POST", "/api/v1/join", body, mesh.shows()))[1]
        assert bearer_of(made["certificate"].encode())[1] == made["token"].split(".")[1]
        pair = Pair(chain=made["certificate"], key=dump_key(key).reveal().decode())
        assert (await mesh.ask("GET", "/api/v1/tokens", by=mesh.shows(pair=pair)))[0] == 403

    asyncio.run(run())


def test_nobody_joins_as_the_control_plane(mesh: Guarded) -> None:
    async def run() -> None:
        assert (await mesh.ask("POST", "/api/v1/tokens", {"for": "tulle-system/control"}))[0] == 400

    asyncio.run(run())


def test_an_impostor_of_the_control_plane_gets_no_token(mesh: Guarded, tmp_path: Path) -> None:
    """It shows the true roots to who asks for them, but has no certificate of theirs; nor do its own roots help it."""
    stranger = mesh.stranger()
    seen: list[bytes] = []

    async def serve(roots: str) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            body = json.dumps({"roots": roots}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await writer.drain()
            writer.close()

        pair = forged(stranger, "tulle-system/control")
        (tmp_path / "pair.pem").write_text(pair.chain + pair.key)
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(tmp_path / "pair.pem")
        return await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)

    async def run(roots: str, why: str) -> None:
        token = await mesh.token(**{"for": WEB})
        server = await serve(roots)
        async with server:
            api = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(JoinError, match=why):
                await Membership(tmp_path / "member.json", api, WEB, report=print).enter(token)
        assert not any(token.split(".")[2].encode() in head for head in seen)

    asyncio.run(run(mesh.roots, "not trusted"))
    asyncio.run(run(stranger.bundle().decode(), "another mesh"))


# === the port for proxies


def test_plain_text_gets_nothing_from_the_port_for_proxies(mesh: Guarded) -> None:
    async def run() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.place.xds)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
        try:
            said = await asyncio.wait_for(reader.read(), 60)
        except ConnectionError:
            said = b""
        writer.close()
        # At most an alert of TLS (RFC 8446, section 6): no frame, no byte of a configuration.
        assert len(said) <= 7
        assert said[:1] in (b"", b"\x15")
        status = await refusal_in_plain_text(mesh)
        assert status is grpc.StatusCode.UNAVAILABLE

    asyncio.run(run())


async def refusal_in_plain_text(mesh: Guarded) -> grpc.StatusCode:
    from support.xds_client import xds_client

    async with xds_client(mesh.xds) as client:
        return (await client.ending())[0]


def test_a_proxy_without_a_certificate(mesh: Guarded) -> None:
    assert asyncio.run(refusal(mesh, None, node()))[0] is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_another_mesh(mesh: Guarded) -> None:
    async def run() -> None:
        pair = forged(mesh.stranger(), WEB, holder_of(await mesh.member()))
        assert (await refusal(mesh, pair, node()))[0] is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(OSError):
            await mesh.ask("GET", "/api/v1/version", by=mesh.shows(pair=pair))

    asyncio.run(run())


@pytest.mark.parametrize("days", [-3, 3], ids=["expired", "not-yet"])
def test_a_certificate_out_of_its_time(mesh: Guarded, days: int) -> None:
    async def run() -> None:
        at = datetime.now(UTC) + timedelta(days=days)
        pair = forged(mesh.authority(at), WEB, holder_of(await mesh.member()))
        assert (await refusal(mesh, pair, node()))[0] is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(OSError):
            await mesh.ask("GET", "/api/v1/version", by=mesh.shows(pair=pair))

    asyncio.run(run())


def test_a_stream_ends_with_the_certificate_that_it_was_opened_with(mesh: Guarded) -> None:
    """And nothing more goes over its connection."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            for life in (3, 30):  # a machine may take longer than a short one for the first answer
                pair = forged(mesh.authority(), WEB, holder_of(await mesh.member()), lifetime=timedelta(seconds=life))
                client = await stack.enter_async_context(mesh.proxy(pair))
                with suppress(EOFError, grpc.aio.AioRpcError):
                    await client.send(node=node_message(node(f"sidecar~short-{life}")), type_url=CLUSTER)
                    await client.receive()
                    break
            code, why = await asyncio.wait_for(client.ending(), 60)
            assert (code, "ends with its certificate" in why) == (grpc.StatusCode.UNAUTHENTICATED, True)
            again = client.again()
            with suppress(grpc.aio.AioRpcError):  # it may have ended by then
                await again.send(node=node_message(node(f"sidecar~short-{life}")), type_url=CLUSTER)
            code, why = await again.ending()
            assert (code, "has ended" in why) == (grpc.StatusCode.PERMISSION_DENIED, True)

    asyncio.run(run())


@pytest.mark.parametrize("claimed", ["shop/admin", "bank/web", "default/default", "tulle-system/control"])
def test_a_proxy_that_claims_anothers_identity(mesh: Guarded, claimed: str) -> None:
    async def run() -> None:
        own = Pair.of(await mesh.member())
        status, why = await refusal(mesh, own, node(workload=claimed))
        assert status is grpc.StatusCode.PERMISSION_DENIED
        assert claimed in why
        assert WEB in why
        await answered(mesh, own, node())
        await eventually(lambda: f"says that it is {claimed}" in (mesh.place.folder / "control.log").read_text())

    asyncio.run(run())


def test_a_proxy_that_takes_the_name_of_anothers_instance(mesh: Guarded) -> None:
    async def run() -> None:
        web, cart = await mesh.member(), await mesh.member("shop/cart")
        said = {"service": "web", "namespace": "shop", "serviceAccount": "web", "address": "127.0.0.1"}
        assert (await mesh.ask("PUT", "/api/v1/registrations/web-7?ttl=600s", said, web))[0] == 200
        status, why = await refusal(mesh, Pair.of(cart), node("sidecar~web-7", "shop/cart"))
        assert (status, "another account" in why) == (grpc.StatusCode.PERMISSION_DENIED, True)
        await answered(mesh, Pair.of(web), node("sidecar~web-7"))

    asyncio.run(run())


CALLER = {"port": 80, "address": "10.0.0.7", "calls": 1, "last": "2026-01-02T03:04:05+00:00"}
LIES = [
    {"address": "\x1b[2J"},
    {"address": "shop/web"},
    {"address": "10.0.0.7\n"},
    {"last": "2026-01-02T03:04:05"},
    {"last": "later"},
    {"calls": -1},
]


def test_an_agent_tells_of_its_own_callers_and_only_what_can_be(mesh: Guarded) -> None:
    async def run() -> None:
        web, cart = await mesh.member(), await mesh.member("shop/cart")
        path = f"/api/v1/agents/web-{mesh.place.api}"
        assert (await mesh.ask("PUT", path, {"plain": [CALLER]}, web))[0] == 200
        assert (await mesh.ask("PUT", path, {"plain": [CALLER]}, cart))[0] == 403
        for lie in LIES:
            status, answer = await mesh.ask("PUT", path, {"plain": [CALLER | lie]}, web)
            assert (status, "\x1b" in answer["error"]) == (400, False), lie

    asyncio.run(run())


def test_a_workload_that_would_be_a_gateway(mesh: Guarded) -> None:
    """Gateways have the keys of whatever picks the labels that they say."""

    async def run() -> None:
        edge = replace(node("gateway~edge"), role=Role.GATEWAY, labels=Labels({"istio": "ingressgateway"}))
        status, why = await refusal(mesh, Pair.of(await mesh.member()), edge)
        assert (status, "--gateway" in why) == (grpc.StatusCode.PERMISSION_DENIED, True)
        await answered(mesh, Pair.of(await mesh.member(gateway=True)), edge)
        shop = mesh.shows(await mesh.token(role="admin", namespaces=["shop"]))
        assert (await mesh.ask("POST", "/api/v1/tokens", {"for": WEB, "gateway": True}, shop))[0] == 403
        assert (await mesh.ask("POST", "/api/v1/tokens", {"role": "viewer", "gateway": True}))[0] == 400

    asyncio.run(run())


def test_a_proxy_that_would_take_the_place_of_another(mesh: Guarded) -> None:
    """Even if it knows the number by which a proxy that comes again is known."""

    async def run() -> None:
        web, cart = await mesh.member(), await mesh.member("shop/cart")
        async with mesh.proxy(Pair.of(web)) as client:
            await client.send(node=node_message(node("sidecar~w")), type_url=CLUSTER)
            first = await client.receive()
            status, why = await refusal(mesh, Pair.of(cart), node("sidecar~w", "shop/cart"))
            assert (status, "connected already" in why) == (grpc.StatusCode.INVALID_ARGUMENT, True)
            await client.send(type_url=CLUSTER, response_nonce=first.nonce)
            await client.send(type_url=SECRET, resource_names_subscribe=["default"])
            assert (await client.receive()).type_url == SECRET

    asyncio.run(run())


def test_a_proxy_gets_the_key_of_its_own_identity_and_no_other(mesh: Guarded) -> None:
    """And what it is given there opens neither the API nor the port for proxies: a thief of it is no member."""

    async def run() -> None:
        async with mesh.proxy(Pair.of(await mesh.member())) as client:
            await client.send(node=node_message(node("sidecar~k")), type_url=SECRET, resource_names_subscribe=["default", "*"])
            found = await client.receive()
        secrets = [pb.Secret.FromString(resource.resource.value) for resource in found.resources]
        chains = {s.name: s.tls_certificate.certificate_chain.inline_bytes for s in secrets if s.HasField("tls_certificate")}
        assert list(chains) == ["default"]
        identity, holder, _ = bearer_of(chains["default"])
        assert (identity.uri(), holder) == (str(OWN.value), "")
        key = next(s.tls_certificate.private_key.inline_bytes for s in secrets if s.name == "default")
        stolen = Pair(chain=chains["default"].decode(), key=key.decode())
        assert (await refusal(mesh, stolen, node()))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert (await mesh.ask("GET", "/api/v1/version", by=mesh.shows(pair=stolen)))[0] == 401

    asyncio.run(run())


def test_a_certificate_of_people_is_no_proxys(mesh: Guarded) -> None:
    async def run() -> None:
        status, why = await refusal(mesh, await mesh.person(role="admin"), node())
        assert (status, "no identity of a workload" in why) == (grpc.StatusCode.PERMISSION_DENIED, True)

    asyncio.run(run())


def test_an_ended_membership_is_worth_nothing_at_once(mesh: Guarded) -> None:
    """Its stream ends, its instances leave, nothing opens again; another machine of the same account goes on."""

    async def run() -> None:
        gone, stays = await mesh.member(), await mesh.member()
        said = {"service": "web", "namespace": "shop", "serviceAccount": "web", "address": "127.0.0.1"}
        for instance, member in (("gone-1", gone), ("gone-without-proxy", gone), ("stays-1", stays)):
            assert (await mesh.ask("PUT", f"/api/v1/registrations/{instance}?ttl=600s", said, member))[0] == 200
        async with mesh.proxy(Pair.of(gone)) as one, mesh.proxy(Pair.of(stays)) as other:
            for client, name in ((one, "sidecar~gone-1"), (other, "sidecar~stays-1")):
                await client.send(node=node_message(node(name)), type_url=CLUSTER)
                await client.receive()
            assert (await mesh.ask("DELETE", f"/api/v1/tokens/{holder_of(gone)}"))[0] == 200
            code, why = await asyncio.wait_for(one.ending(), 60)
            assert (code, "membership has ended" in why) == (grpc.StatusCode.PERMISSION_DENIED, True)
            await other.send(type_url=SECRET, resource_names_subscribe=["default"])
            assert (await other.receive()).type_url == SECRET
        assert (await refusal(mesh, Pair.of(gone), node("sidecar~gone-1")))[0] is grpc.StatusCode.PERMISSION_DENIED
        assert (await mesh.ask("GET", "/api/v1/version", by=gone))[0] == 401
        assert (await mesh.ask("GET", "/api/v1/version", by=mesh.shows(pair=Pair.of(gone))))[0] == 401
        for instance in ("gone-1", "gone-without-proxy"):
            await soon(partial(left, mesh, instance), every=0.01)  # "at once" is two commits later
        assert not await left(mesh, "stays-1")
        with pytest.raises(JoinError, match="must join anew"):
            await gone.renew()
        await stays.renew()
        # With another token the same machine is a member again.
        await gone.enter(await mesh.token(**{"for": WEB}))
        await answered(mesh, Pair.of(gone), node("sidecar~gone-1"))

    asyncio.run(run())


async def left(mesh: Guarded, instance: str) -> bool:
    return (await mesh.ask("GET", f"/api/v1/registrations/{instance}"))[0] == 404


def test_services_beside_are_for_members_alone(mesh: Guarded) -> None:
    async def counted(pair: Pair) -> grpc.StatusCode:
        secure = grpc.ssl_channel_credentials(mesh.roots.encode(), pair.key.encode(), pair.chain.encode())
        async with grpc.aio.secure_channel(mesh.xds, secure) as channel:
            call = channel.unary_unary(f"/{RATE_LIMITS}/ShouldRateLimit")(pb.RateLimitRequest(domain="x").SerializeToString())
            code: grpc.StatusCode = await call.code()
            return code

    async def run() -> None:
        member = await mesh.member()
        assert await counted(Pair.of(member)) is grpc.StatusCode.OK
        assert await counted(await mesh.person(role="admin")) is grpc.StatusCode.PERMISSION_DENIED
        await mesh.ask("DELETE", f"/api/v1/tokens/{holder_of(member)}")
        assert await counted(Pair.of(member)) is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(run())


def test_over_tls_no_certificate_is_no_pass() -> None:
    """Whatever it is that brings a stream there without one, as a session that goes on might: it does not count as one of this machine."""

    class Context:
        def auth_context(self) -> dict[str, list[bytes]]:
            return {"transport_security_type": [b"ssl"]}

    unused: Any = None
    with pytest.raises(NotAdmittedError):
        asyncio.run(Ads(unused, gate=unused)._proven(Context()))


# === the API


def test_a_stolen_members_token_is_nothing_without_its_key(mesh: Guarded) -> None:
    async def run() -> None:
        web, other = await mesh.member(), await mesh.member()
        assert web.papers
        assert (await mesh.ask("GET", "/api/v1/version", by=web))[0] == 200
        for pair in (None, Pair.of(other), await mesh.person(role="viewer")):
            status, answer = await mesh.ask("GET", "/api/v1/version", by=mesh.shows(web.papers.token, pair))
            assert (status, "together with the certificate" in answer["error"]) == (401, True)

    asyncio.run(run())


def test_a_client_certificate_may_what_its_role_may_until_it_is_taken_back(mesh: Guarded) -> None:
    async def run() -> None:
        viewer, shop = await mesh.person(role="viewer"), await mesh.person(role="operator", namespaces=["shop"])
        said = {"service": "web", "serviceAccount": "web", "address": "127.0.0.1"}
        path = "/api/v1/registrations/by-certificate"
        assert (await mesh.ask("GET", "/api/v1/services", by=mesh.shows(pair=viewer)))[0] == 200
        assert (await mesh.ask("PUT", path, {**said, "namespace": "shop"}, mesh.shows(pair=viewer)))[0] == 403
        assert (await mesh.ask("PUT", path, {**said, "namespace": "shop"}, mesh.shows(pair=shop)))[0] == 200
        assert (await mesh.ask("PUT", path, {**said, "namespace": "bank"}, mesh.shows(pair=shop)))[0] == 403
        assert (await mesh.ask("POST", "/api/v1/tokens", {"role": "viewer"}, mesh.shows(pair=shop)))[0] == 403
        holder = x509.load_pem_x509_certificate(shop.chain.encode()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        assert (await mesh.ask("DELETE", f"/api/v1/tokens/{holder!s}"))[0] == 200
        assert (await mesh.ask("GET", path, by=mesh.shows(pair=shop)))[0] == 401

    asyncio.run(run())


def test_a_member_with_its_certificate_alone_may_what_its_token_may(mesh: Guarded) -> None:
    async def run() -> None:
        member = mesh.shows(pair=Pair.of(await mesh.member()))
        said = {"service": "web", "namespace": "shop", "serviceAccount": "web", "address": "127.0.0.1"}
        assert (await mesh.ask("PUT", "/api/v1/registrations/own", said, member))[0] == 200
        assert (await mesh.ask("PUT", "/api/v1/registrations/own2", {**said, "serviceAccount": "admin"}, member))[0] == 403
        for path in ("/api/v1/resources", "/api/v1/tokens", "/api/v1/ca", "/api/v1/services"):
            assert (await mesh.ask("GET", path, by=member))[0] == 403

    asyncio.run(run())


def test_a_certificate_that_nobody_issued_for_a_token_opens_nothing(mesh: Guarded) -> None:
    """Signed by the mesh's own authority, with the id of another's token, or of none."""

    async def run() -> None:
        for holder in ("bootstrap", "0123456789", "../documents", ""):
            pair = forged(mesh.authority(), WEB, holder)
            assert (await mesh.ask("GET", "/api/v1/version", by=mesh.shows(pair=pair)))[0] == 401
            assert (await refusal(mesh, pair, node()))[0] is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(run())


def test_without_anything_only_what_everybody_may_know_is_told(mesh: Guarded) -> None:
    async def run() -> None:
        assert (await mesh.ask("GET", "/api/v1/version", by=mesh.shows()))[0] == 401
        status, told = await mesh.ask("GET", "/api/v1/join/roots", by=mesh.shows())
        assert (status, told) == (200, {"roots": mesh.roots})

    asyncio.run(run())


def test_requests_in_plain_text_are_not_read(mesh: Guarded) -> None:
    async def run() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", mesh.place.api)
        writer.write(f"GET /api/v1/tokens HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {mesh.admin}\r\n\r\n".encode())
        try:
            said = await asyncio.wait_for(reader.read(), 60)
        except ConnectionError:
            said = b""
        writer.close()
        assert b"HTTP" not in said

    asyncio.run(run())


def test_the_log_has_lines_of_its_own_alone_and_no_secret(mesh: Guarded) -> None:
    """Whoever fails to shake hands, as many did by now, cannot write there."""
    log = (mesh.place.folder / "control.log").read_text()
    assert [line for line in log.splitlines() if not re.match(r"20\d\d-\d\d-\d\dT[\d:.]+Z (info|warning) \w+: ", line)] == []
    assert "PRIVATE KEY" not in log
    assert mesh.admin.split(".")[2] not in log
