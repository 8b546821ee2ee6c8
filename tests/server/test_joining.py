"""Joining over the API: what a token to join with is good for, and everything that thieves and neighbours may try."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from support.api import Api, running_api
from support.eventually import eventually
from tulle.agent.membership import JoinError, Membership
from tulle.ca.authority import Authority
from tulle.ca.joining import requested, vouched
from tulle.ca.keys import load_key, new_key
from tulle.model.identity import Identity

START = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass
class Mesh:
    """An API that asks for tokens, over an authority, both with a clock that tests move."""

    folder: Path
    now: datetime = START
    api: Api = None  # type: ignore[assignment]

    def clock(self) -> float:
        return self.now.timestamp()

    def authority(self, name: str = "ca") -> Authority:
        return Authority(self.folder / name, "cluster.local", now=lambda: self.now)

    def ask(self, method: str, path: str, body: object = None, token: str = "") -> tuple[int, Any]:
        return self.api.request(method, path, body, {"authorization": f"Bearer {token}"} if token else {})

    def token(self, workload: str = "shop/web", ttl: str = "10m") -> str:
        return str(self.ask("POST", "/api/v1/tokens", {"for": workload, "ttl": ttl}, self.api.first)[1]["token"])

    def join(self, token: str, csr: bytes, workload: str = "shop/web") -> tuple[int, Any]:
        return self.ask("POST", "/api/v1/join", {"token": token, "csr": csr.decode(), "for": workload})

    def member(self, workload: str = "shop/web", name: str = "member.json") -> Membership:
        return Membership(self.folder / "agent" / name, f"127.0.0.1:{self.api.port}", workload, report=print, now=self.clock)


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path)
    with running_api(tmp_path, guarded=True, authority=mesh.authority(), now=mesh.clock) as mesh.api:
        yield mesh


def asking_for(uri: str) -> bytes:
    asked = x509.CertificateSigningRequestBuilder(subject_name=x509.Name([]))
    asked = asked.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True)
    return asked.sign(new_key(), SHA256()).public_bytes(Encoding.PEM)


def names(chain: str) -> list[str]:
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(name.value) for name in found]


def test_a_token_gives_a_certificate_for_the_callers_own_key(mesh: Mesh) -> None:
    key = new_key()
    status, answer = mesh.join(mesh.token(), requested(key))
    assert status == 201
    assert names(answer["certificate"]) == [answer["identity"]] == ["spiffe://cluster.local/ns/shop/sa/web"]
    assert x509.load_pem_x509_certificates(answer["certificate"].encode())[0].public_key() == key.public_key()
    assert "PRIVATE" not in json.dumps(answer)


def test_a_replayed_token_is_refused(mesh: Mesh) -> None:
    token = mesh.token()
    assert mesh.join(token, requested(new_key()))[0] == 201
    status, answer = mesh.join(token, requested(new_key()))
    assert (status, "used" in answer["error"]) == (403, True)


def test_of_two_who_show_a_token_at_once_one_joins(mesh: Mesh) -> None:
    token = mesh.token()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: mesh.join(token, requested(new_key()))[0], range(8)))
    assert sorted(found) == [201] + [403] * 7


def test_an_expired_token_is_refused(mesh: Mesh) -> None:
    token = mesh.token(ttl="10m")
    mesh.now += timedelta(minutes=10)
    assert mesh.join(token, requested(new_key()))[0] == 403


def test_a_token_that_was_taken_back_is_refused(mesh: Mesh) -> None:
    token = mesh.token()
    assert mesh.ask("DELETE", f"/api/v1/tokens/{token.split('.')[1]}", token=mesh.api.first)[0] == 200
    assert mesh.join(token, requested(new_key()))[0] == 403


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://cluster.local/ns/shop/sa/admin",
        "spiffe://cluster.local/ns/bank/sa/web",
        "spiffe://partner.example/ns/shop/sa/web",
        "spiffe://cluster.local/ns/shop/sa/web/../admin",
    ],
)
def test_a_request_for_anothers_identity_is_refused_and_leaves_the_token(mesh: Mesh, uri: str) -> None:
    token = mesh.token()
    assert mesh.join(token, asking_for(uri))[0] == 403
    assert mesh.join(token, asking_for("spiffe://cluster.local/ns/shop/sa/web"))[0] == 201


def test_a_token_for_another_workload_is_refused_and_not_used_up(mesh: Mesh) -> None:
    token = mesh.token("shop/web")
    for other in ("shop/admin", "bank/web", "web", ""):
        assert mesh.join(token, requested(new_key()), other)[0] == 403
    assert mesh.join(token, requested(new_key()))[0] == 201


def test_tokens_of_other_kinds_do_not_join(mesh: Mesh) -> None:
    token = mesh.token()
    _, identifier, secret, _ = token.split(".")
    for text in (mesh.api.first, f"tulle.{identifier}.{secret}", f"tulle-join.bootstrap.{mesh.api.first.split('.')[2]}.x", "x"):
        assert mesh.join(text, requested(new_key()))[0] == 403
    for body in ({}, {"token": token}, {"token": token, "csr": "x", "for": "shop/web", "more": 1}, []):
        assert mesh.ask("POST", "/api/v1/join", body)[0] == 400


def test_a_member_speaks_for_itself_alone(mesh: Mesh) -> None:
    own = mesh.join(mesh.token(), requested(new_key()))[1]["token"]
    path = "/api/v1/registrations/web-1"
    said = {"service": "web", "namespace": "shop", "serviceAccount": "web"}
    assert mesh.ask("PUT", path, said, own)[0] == 200
    for other in ({**said, "serviceAccount": "admin"}, {**said, "namespace": "bank"}):
        assert mesh.ask("PUT", "/api/v1/registrations/other", other, own)[0] == 403
    neighbour = mesh.join(mesh.token("shop/cart"), requested(new_key()), "shop/cart")[1]["token"]
    assert mesh.ask("PUT", path, {**said, "serviceAccount": "cart"}, neighbour)[0] == 403
    assert mesh.ask("DELETE", path, token=neighbour)[0] == 403
    for method, refused in (("GET", "/api/v1/resources"), ("POST", "/api/v1/apply"), ("GET", "/api/v1/tokens"), ("GET", "/api/v1/ca")):
        assert mesh.ask(method, refused, {} if method == "POST" else None, own)[0] == 403


def test_an_agent_joins_once_and_goes_on_after_a_restart(mesh: Mesh) -> None:
    async def run() -> None:
        token = mesh.token()
        first = mesh.member()
        await first.enter(token)
        assert first.papers
        path = mesh.folder / "agent" / "member.json"
        assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
        again = mesh.member()
        await again.enter(token)
        assert again.papers == first.papers
        assert "PRIVATE" not in repr(again.papers)
        with pytest.raises(JoinError, match="used"):
            await mesh.member(name="elsewhere.json").enter(token)

    asyncio.run(run())


def test_an_agent_that_starts_again_needs_no_token(mesh: Mesh) -> None:
    async def run() -> None:
        with pytest.raises(JoinError, match="has ended"):
            await mesh.member().enter("")
        first = mesh.member()
        await first.enter(mesh.token())
        again = mesh.member()
        await again.enter("")
        assert again.papers == first.papers
        mesh.now += timedelta(hours=25)
        with pytest.raises(JoinError, match="has ended: join anew with --join-token-file"):
            await mesh.member().enter("")

    asyncio.run(run())


def test_of_several_tokens_each_workload_takes_its_own(mesh: Mesh) -> None:
    async def run() -> None:
        for order in (1, -1):
            tokens = "\n".join([mesh.token(), mesh.token("shop/cart")][::order])
            for workload in ("shop/cart", "shop/web"):
                await mesh.member(workload, f"{workload[5:]}{order}.json").enter(tokens)
            with pytest.raises(JoinError, match="used"):
                await mesh.member(name="again.json").enter(tokens)
        with pytest.raises(JoinError, match="for another than"):
            await mesh.member("bank/web", "bank.json").enter(f"{mesh.token()} {mesh.token('shop/cart')}")

    asyncio.run(run())


def test_the_token_of_before_a_rotation_does_for_a_start_after_it(mesh: Mesh) -> None:
    async def run() -> None:
        token, authority = mesh.token(), mesh.authority()
        member = mesh.member()
        await member.enter(token)
        assert member.papers
        for step in (authority.begin, authority.switch, authority.finish):
            step()
        papers = member.papers
        (mesh.folder / "agent" / "member.json").write_text(json.dumps(asdict(replace(papers, roots=authority.bundle().decode()))))
        again = mesh.member()
        await again.enter(token)
        assert again.papers
        assert again.papers.token == papers.token

    asyncio.run(run())


def test_another_token_is_used_where_the_membership_was_ended(mesh: Mesh) -> None:
    async def run() -> None:
        first = mesh.member()
        await first.enter(mesh.token())
        assert first.papers
        assert mesh.ask("DELETE", f"/api/v1/tokens/{first.papers.token.split('.')[1]}", token=mesh.api.first)[0] == 200
        again = mesh.member()
        await again.enter(mesh.token())
        assert again.papers
        assert again.papers.token != first.papers.token
        assert mesh.ask("GET", "/api/v1/version", token=again.papers.token)[0] == 200

    asyncio.run(run())


def test_what_proxies_read_lies_beside_the_papers(mesh: Mesh) -> None:
    async def run() -> None:
        member = mesh.member()
        await member.enter(mesh.token())
        assert member.papers
        folder = mesh.folder / "agent"
        assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == dict.fromkeys(
            ("member.json", "member.certificate.json", "member.roots.json"), 0o600
        )
        before = (folder / "member.certificate.json").stat().st_ino
        await member.renew()
        # Another file under the same name: proxies see it appear as a whole.
        assert (folder / "member.certificate.json").stat().st_ino != before
        shown = json.loads((folder / "member.certificate.json").read_text())["resources"][0]["tls_certificate"]
        assert shown["private_key"]["inline_string"] == member.papers.key
        assert member.files is None  # as the control plane of this test does not speak TLS to proxies

    asyncio.run(run())


def test_an_agent_whose_authority_has_changed_is_told_and_renews(mesh: Mesh) -> None:
    async def run() -> None:
        member = mesh.member()
        await member.enter(mesh.token())
        assert member.papers
        assert member.holds == mesh.authority().held()
        before = member.papers
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(member.run())
            member.outdated()
            await eventually(lambda: member.papers is not before)
            running.cancel()
        assert member.holds == mesh.authority().held()
        assert member.kept is None

    asyncio.run(run())


def test_an_agent_renews_with_a_new_key_and_the_same_token(mesh: Mesh) -> None:
    async def run() -> None:
        member = mesh.member()
        await member.enter(mesh.token())
        before = member.papers
        mesh.now += timedelta(hours=13)
        await member.renew()
        after = member.papers
        assert before
        assert after
        assert (after.token, after.identity, after.until - before.until) == (before.token, before.identity, 13 * 3600)
        assert after.key != before.key
        mesh.now += timedelta(hours=20)
        assert mesh.ask("GET", "/api/v1/version", token=after.token)[0] == 200

    asyncio.run(run())


def test_deleting_the_members_token_ends_its_membership(mesh: Mesh) -> None:
    async def run() -> None:
        member = mesh.member()
        await member.enter(mesh.token())
        assert member.papers
        assert mesh.ask("DELETE", f"/api/v1/tokens/{member.papers.token.split('.')[1]}", token=mesh.api.first)[0] == 200
        with pytest.raises(JoinError, match="must join anew"):
            await member.renew()

    asyncio.run(run())


def test_a_renewal_needs_key_certificate_and_token_of_one_workload(mesh: Mesh) -> None:
    async def run() -> None:
        web, cart = mesh.member(), mesh.member("shop/cart", "cart.json")
        await web.enter(mesh.token())
        await cart.enter(mesh.token("shop/cart"))
        assert web.papers
        assert cart.papers
        csr = requested(new_key())
        stranger = mesh.authority("other").issue(Identity(namespace="shop", service_account="web"))
        foreign_key = stranger.key.reveal().decode() if stranger.key else ""

        def renew(certificate: str, key: str, token: str, asked: bytes = csr) -> int:
            own = load_key(key.encode())
            assert isinstance(own, ec.EllipticCurvePrivateKey)
            signature = base64.b64encode(vouched(own, csr)).decode()
            body = {"certificate": certificate, "csr": asked.decode(), "signature": signature}
            return mesh.ask("POST", "/api/v1/join/renew", body, token)[0]

        own = (web.papers.certificate, web.papers.key, web.papers.token)
        assert renew(own[0], cart.papers.key, own[2]) == 403  # a stolen certificate without its key
        assert renew(own[0], own[1], "") == 403
        assert renew(own[0], own[1], cart.papers.token) == 403
        assert renew(own[0], own[1], mesh.api.first) == 403
        assert renew(*own, asked=requested(new_key())) == 403  # another request than the one that was signed
        assert renew(stranger.chain.decode(), foreign_key, own[2]) == 403  # another authority's word for the same name
        assert renew("no certificate", own[1], own[2]) == 403
        assert renew(*own) == 201
        mesh.now += timedelta(hours=25)
        assert renew(*own) == 403

    asyncio.run(run())


def test_a_control_plane_of_another_mesh_is_not_believed(mesh: Mesh) -> None:
    async def run() -> None:
        token = mesh.token()
        member = mesh.member()
        with pytest.raises(JoinError, match="another mesh"):
            await member.enter(token[:-64] + "0" * 64)
        assert member.papers is None
        assert not (mesh.folder / "agent" / "member.json").exists()

    asyncio.run(run())


def test_papers_that_others_can_read_are_not_used(mesh: Mesh) -> None:
    async def run() -> None:
        token = mesh.token()
        await mesh.member().enter(token)
        (mesh.folder / "agent" / "member.json").chmod(0o644)
        with pytest.raises(PermissionError, match="can be read by others"):
            await mesh.member().enter(token)

    asyncio.run(run())
