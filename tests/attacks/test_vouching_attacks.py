"""What is tried with certificates that another authority signs for machines that are to join: each lets in one workload, at one door."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from support.eventually import eventually
from support.guarded import Guarded, Pair, forged, guarded, holder_of
from support.vouching import CLIENT, DAY, SERVER, Outside, malleated, uri
from support.xds_client import node_message
from tulle.agent.membership import JoinError, Membership
from tulle.agent.voucher import Voucher
from tulle.ca import files
from tulle.ca.authority import Authority
from tulle.ca.files import AuthorityError
from tulle.ca.issue import Signer, Term, intermediate
from tulle.ca.joining import requested
from tulle.ca.keys import dump_key, load_key, new_key
from tulle.ca.vouching import JoinAuthority, vouching
from tulle.model.proxy import Node, Role
from tulle.translate.snapshot import CLUSTER

WEB, EDGE = "shop/web", "shop/edge"


@dataclass
class Meshes:
    mesh: Guarded
    outside: Outside = field(default_factory=Outside)

    async def join(self, pair: Pair, workload: str = WEB, *, csr: bytes = b"", signed: bytes = b"", roots: str = "") -> tuple[int, Any]:
        """As an agent does; `signed`: another request than the one that is sent, `roots`: those of another mesh."""
        csr = csr or requested(new_key())
        voucher = Voucher(chain=pair.chain, key=load_key(pair.key.encode()), workload=workload)
        body = {**voucher.body(signed or csr, roots or self.mesh.roots), "csr": csr.decode()}
        return await self.mesh.ask("POST", "/api/v1/join/certificate", body, self.mesh.shows())

    def member(self, pair: Pair, root: str = "", workload: str = WEB) -> Membership:
        voucher = Voucher(chain=pair.chain, key=load_key(pair.key.encode()), workload=workload, root=root)
        path = self.mesh.place.folder / f"vouched-{id(voucher)}.json"
        roots = "" if root else self.mesh.roots
        return Membership(path, self.mesh.api, workload, report=print, roots=roots, voucher=voucher)


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Meshes]:
    folder, outside = tmp_path_factory.mktemp("vouched"), Outside()
    with guarded(folder, TULLE_JOIN_CA=outside.file(folder / "machines.pem"), TULLE_JOIN_GATEWAY=EDGE) as running:
        yield Meshes(running, outside)


async def refused(meshes: Meshes, pair: Pair, why: str, workload: str = WEB, **more: Any) -> None:
    status, answer = await meshes.join(pair, workload, **more)
    assert (status, why in answer["error"]) == (403, True), answer


def sidecar(workload: str = WEB, role: Role = Role.SIDECAR) -> Node:
    namespace, _, account = workload.partition("/")
    return Node(id="sidecar~vouched", role=role, namespace=namespace, service_account=account, instance="1")


async def at_proxies_port(mesh: Guarded, pair: Pair, node: Node) -> grpc.StatusCode:
    """OK where there is an answer."""
    async with mesh.proxy(pair) as client:
        try:
            await client.send(node=node_message(node), type_url=CLUSTER)
            await client.receive()
        except (EOFError, grpc.aio.AioRpcError):
            return (await client.ending())[0]
        return grpc.StatusCode.OK


def test_a_machine_joins_with_a_certificate(meshes: Meshes) -> None:
    """ECDSA or RSA, known by the mesh's root or by its file; what it gets then is what any member gets."""

    async def run() -> None:
        fingerprint = meshes.mesh.authority().roots()[0].fingerprint
        for member in (meshes.member(meshes.outside.pair()), meshes.member(meshes.outside.rsa(), fingerprint)):
            await member.enter("")
            assert member.papers
            assert member.papers.identity == "spiffe://cluster.local/ns/shop/sa/web"
            assert await at_proxies_port(meshes.mesh, Pair.of(member), sidecar()) is grpc.StatusCode.OK
            assert (await meshes.mesh.ask("GET", "/api/v1/version", by=member))[0] == 200
            await member.renew()
        assert (await meshes.join(meshes.outside.pair(uri(), x509.DNSName("machine.example"))))[0] == 201

    asyncio.run(run())


def test_a_certificate_of_another_authority(meshes: Meshes) -> None:
    asyncio.run(refused(meshes, Outside().pair(), "none of the authority"))


def test_a_certificate_that_only_bears_the_authoritys_name(meshes: Meshes) -> None:
    stranger = Outside(signer=Signer(certificate=meshes.outside.signer.certificate, key=new_key()))
    asyncio.run(refused(meshes, stranger.pair(), "none of the authority"))


def test_a_certificate_for_another_trust_domain(meshes: Meshes) -> None:
    for domain in ("partner.example", "CLUSTER.LOCAL", "cluster.local.example"):
        asyncio.run(refused(meshes, meshes.outside.pair(uri(trust_domain=domain)), "trust domain"))


@pytest.mark.parametrize(
    "names",
    [
        [uri(), uri("shop/admin")],
        [uri(), x509.UniformResourceIdentifier("https://shop.example/")],
        [x509.UniformResourceIdentifier("spiffe://cluster.local/shop/web")],
        [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/web/../admin")],
        [x509.DNSName("web.shop")],
    ],
    ids=["two-identities", "another-uri", "another-form", "a-path", "no-identity"],
)
def test_a_certificate_without_the_one_identity(meshes: Meshes, names: list[x509.GeneralName]) -> None:
    asyncio.run(refused(meshes, meshes.outside.pair(*names), "no identity of a workload"))


@pytest.mark.parametrize("workload", ["shop/We%62", "SHOP/web", "shop/web#x"])
def test_a_certificate_for_names_that_could_be_read_as_others(meshes: Meshes, workload: str) -> None:
    asyncio.run(refused(meshes, meshes.outside.pair(uri(workload)), "no name for an identity", workload))


@pytest.mark.parametrize(("begins", "ends"), [(-2 * DAY, -DAY), (DAY, 2 * DAY)], ids=["expired", "not-yet"])
def test_a_certificate_out_of_its_time(meshes: Meshes, begins: timedelta, ends: timedelta) -> None:
    asyncio.run(refused(meshes, meshes.outside.pair(begins=begins, ends=ends), "not its time"))


def test_a_certificate_that_signs_others(meshes: Meshes) -> None:
    async def run() -> None:
        assert (await meshes.join(meshes.outside.pair(signs=True)))[0] == 403
        root = meshes.outside.signer
        own = Pair(chain=meshes.outside.roots, key=dump_key(root.key).reveal().decode())
        assert (await meshes.join(own))[0] == 403

    asyncio.run(run())


def test_a_certificate_that_is_not_for_clients(meshes: Meshes) -> None:
    async def run() -> None:
        assert (await meshes.join(meshes.outside.pair(use=SERVER)))[0] == 403
        await refused(meshes, meshes.outside.pair(use=None), "not for clients")
        assert (await meshes.join(meshes.outside.pair(use=CLIENT)))[0] == 201

    asyncio.run(run())


def test_nobody_joins_as_the_control_plane(meshes: Meshes) -> None:
    workload = "tulle-system/control"
    asyncio.run(refused(meshes, meshes.outside.pair(uri(workload)), "nobody joins there", workload))


def test_a_request_for_another_account_than_the_certificates(meshes: Meshes) -> None:
    def asking(name: x509.GeneralName) -> bytes:
        asked = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([]))
        asked = asked.add_extension(x509.SubjectAlternativeName([name]), critical=False)
        return asked.sign(new_key(), SHA256()).public_bytes(Encoding.PEM)

    async def run() -> None:
        pair = meshes.outside.pair()
        await refused(meshes, pair, "another identity", csr=asking(uri("shop/admin")))
        await refused(meshes, pair, "for another than", "shop/admin")
        assert (await meshes.join(pair, csr=asking(uri())))[0] == 201

    asyncio.run(run())


def test_a_stolen_certificate_without_its_key(meshes: Meshes) -> None:
    async def run() -> None:
        pair, other = meshes.outside.pair(), meshes.outside.pair()
        await refused(meshes, Pair(chain=pair.chain, key=other.key), "not signed with the key")
        await refused(meshes, Pair(chain=pair.chain, key=meshes.outside.rsa().key), "not signed with the key")
        await refused(meshes, pair, "not signed with the key", signed=requested(new_key()))  # another's request
        await refused(meshes, pair, "not signed with the key", roots=meshes.outside.roots)  # sent to another mesh, which passes it on

    asyncio.run(run())


def test_the_certificate_opens_nothing_but_the_door_to_join(meshes: Meshes) -> None:
    """Neither with the id of somebody else in its name, nor once its machine has joined."""

    async def run() -> None:
        member = await meshes.mesh.member()
        admin = await meshes.mesh.person(role="admin")
        known = x509.load_pem_x509_certificate(admin.chain.encode()).subject.rfc4514_string().partition("=")[2]
        joined = meshes.outside.pair()
        assert (await meshes.join(joined))[0] == 201
        assert member.papers
        for common in ("", "bootstrap", known, holder_of(member)):
            pair = meshes.outside.pair(common=common) if common else joined
            with pytest.raises(OSError):
                await meshes.mesh.ask("GET", "/api/v1/version", by=meshes.mesh.shows(pair=pair))
            with pytest.raises(OSError):
                await meshes.mesh.ask("GET", "/api/v1/version", by=meshes.mesh.shows(member.papers.token, pair))
            assert await at_proxies_port(meshes.mesh, pair, sidecar()) is grpc.StatusCode.UNAVAILABLE
        assert (await meshes.mesh.ask("GET", "/api/v1/version", by=member))[0] == 200

    asyncio.run(run())


def test_a_certificate_does_not_renew_anothers_membership(meshes: Meshes) -> None:
    async def run() -> None:
        member = await meshes.mesh.member()
        assert member.papers
        body = Voucher(chain=(pair := meshes.outside.pair()).chain, key=load_key(pair.key.encode()), workload=WEB).body(
            requested(new_key()), meshes.mesh.roots
        )
        del body["for"]
        assert (await meshes.mesh.ask("POST", "/api/v1/join/renew", body, meshes.mesh.shows(member.papers.token)))[0] == 403

    asyncio.run(run())


def test_a_member_by_certificate_would_be_a_gateway(meshes: Meshes) -> None:
    """Who is one says the operator, not the authority of machines."""

    async def run() -> None:
        member = meshes.member(meshes.outside.pair())
        await member.enter("")
        assert await at_proxies_port(meshes.mesh, Pair.of(member), sidecar(role=Role.GATEWAY)) is grpc.StatusCode.PERMISSION_DENIED
        assert await at_proxies_port(meshes.mesh, Pair.of(member), sidecar()) is grpc.StatusCode.OK
        edge = meshes.member(meshes.outside.pair(uri(EDGE)), workload=EDGE)
        await edge.enter("")
        assert await at_proxies_port(meshes.mesh, Pair.of(edge), sidecar(EDGE, Role.GATEWAY)) is grpc.StatusCode.OK

    asyncio.run(run())


def test_the_certificate_of_an_ended_membership_lets_nobody_join_again(meshes: Meshes) -> None:
    """Nor written in another way, nor issued anew for the same key; all that came of it has ended. A new key is another matter."""

    async def run() -> None:
        pair = meshes.outside.pair()
        key = load_key(pair.key.encode())
        first, second = meshes.member(pair), meshes.member(pair)
        for member in (first, second):
            await member.enter("")
        listed = (await meshes.mesh.ask("GET", "/api/v1/tokens"))[1]["tokens"]
        serial = f"{x509.load_pem_x509_certificate(pair.chain.encode()).serial_number:x}"
        assert {t["id"] for t in listed if t["vouchedSerial"] == serial} == {holder_of(first), holder_of(second)}
        assert (await meshes.mesh.ask("DELETE", f"/api/v1/tokens/{holder_of(first)}"))[0] == 200
        for member in (first, second):
            assert (await meshes.mesh.ask("GET", "/api/v1/version", by=member))[0] == 401
            with pytest.raises(JoinError, match="must join anew"):
                await member.renew()
            with pytest.raises(JoinError, match="lets nobody join any more"):
                await member.enter("")
        twin = malleated(pair.chain)
        assert twin != pair.chain
        await refused(meshes, Pair(chain=twin, key=pair.key), "lets nobody join any more")
        await refused(meshes, meshes.outside.pair(key=key), "lets nobody join any more")
        left = (await meshes.mesh.ask("GET", "/api/v1/tokens"))[1]["tokens"]
        assert serial not in {t["vouchedSerial"] for t in left}
        assert (await meshes.join(meshes.outside.pair()))[0] == 201

    asyncio.run(run())


def test_the_other_form_of_a_certificate_is_a_good_one(meshes: Meshes) -> None:
    """Or the test above would show nothing."""

    async def run() -> None:
        pair = meshes.outside.pair()
        assert (await meshes.join(Pair(chain=malleated(pair.chain), key=pair.key)))[0] == 201

    asyncio.run(run())


def test_what_the_mesh_gives_out_lets_nobody_join(meshes: Meshes) -> None:
    """Neither the certificate of a member, nor one for a proxy: who steals it has it for its time, and not for good."""

    async def run() -> None:
        mesh = meshes.mesh
        for pair in (Pair.of(await mesh.member()), forged(mesh.authority(), WEB), await mesh.person(role="admin")):
            assert (await meshes.join(pair))[0] == 403

    asyncio.run(run())


def below(outside: Outside, folder: Path, *, trusted: bool) -> Authority:
    """A mesh whose own authority is below another one, which its proxies trust, or else only what is below."""
    now = datetime.now(UTC)
    term = Term(not_before=now - DAY, not_after=now + DAY, serial=x509.random_serial_number())
    signer = intermediate(outside.signer, new_key(), "cluster.local", term)
    files.write(folder, outside.signer if trusted else signer, signer)
    return Authority(folder, "cluster.local", given=True)


def test_nor_where_another_authority_stands_above_both(tmp_path: Path) -> None:
    above, now = Outside(), datetime.now(UTC)
    authority = below(above, tmp_path / "ca", trusted=False)
    join = JoinAuthority(above.file(tmp_path / "above.pem"), lambda: authority)
    own, csr = forged(authority, WEB), requested(new_key())

    def check(pair: Pair, between: str = "") -> str:
        signature = vouching(load_key(pair.key.encode()), csr, authority.bundle())
        return join.check((pair.chain + between).encode(), csr, signature, now).identity.service_account

    with pytest.raises(ValueError, match="the mesh's own"):
        check(own, authority.bundle().decode())
    assert check(above.pair()) == "web"


def test_the_roots_of_the_mesh_vouch_for_nobody(tmp_path: Path) -> None:
    outside = Outside()
    authority = below(outside, tmp_path / "ca", trusted=True)
    with pytest.raises(AuthorityError, match="the mesh itself"):
        JoinAuthority(outside.file(tmp_path / "own.pem"), lambda: authority)
    for text in ("", "no certificate"):
        (tmp_path / "bad.pem").write_text(text)
        with pytest.raises(AuthorityError, match=r"--join-ca: .*bad\.pem"):
            JoinAuthority(str(tmp_path / "bad.pem"), lambda: authority)


def test_a_machine_does_not_join_whom_it_does_not_know(meshes: Meshes) -> None:
    async def run() -> None:
        pair = meshes.outside.pair()
        with pytest.raises(JoinError, match="another mesh"):
            await meshes.member(pair, "0" * 64).enter("")
        unknown = meshes.member(pair)
        unknown._roots = ""
        with pytest.raises(JoinError, match="--join-root"):
            await unknown.enter("")

    asyncio.run(run())


def test_without_an_authority_for_it_nobody_joins_so(tmp_path: Path) -> None:
    with guarded(tmp_path) as mesh:
        asyncio.run(refused(Meshes(mesh), Outside().pair(), "without --join-ca"))


def test_the_log_tells_who_joined_with_which_certificate(meshes: Meshes) -> None:
    async def run() -> None:
        pair = meshes.outside.pair()
        assert (await meshes.join(pair))[0] == 201
        log = meshes.mesh.place.folder / "control.log"
        told = f"serial={x509.load_pem_x509_certificate(pair.chain.encode()).serial_number:x}"
        await eventually(lambda: told in log.read_text())
        assert "PRIVATE KEY" not in log.read_text()

    asyncio.run(run())
