"""Certificates of proxies: who has which, and when they are made anew."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from tulle.ca.authority import Authority
from tulle.ca.delivery import HALF, JITTER, Deliveries
from tulle.ca.federation import Federation
from tulle.ca.files import AuthorityError
from tulle.model.proxy import Layer, Node, Role
from tulle.model.tls import Authority as Trusted

START = datetime(2026, 3, 1, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now


def node(name: str, account: str = "default") -> Node:
    return Node(id=f"sidecar~{name}", role=Role.SIDECAR, service_account=account)


def given(tmp_path: Path, clock: Clock, life: timedelta = timedelta(hours=24)) -> Deliveries:
    return Deliveries(Authority(tmp_path / "ca", "cluster.local", lifetime=life, now=clock), now=clock, dice=Random(1))


def names(layers: tuple[Layer, ...]) -> list[str]:
    return [secret.name for layer in layers for secret in layer.secrets]


def test_each_proxy_has_its_own_and_keeps_it(tmp_path: Path) -> None:
    of = given(tmp_path, Clock())
    first, second = of.layers(node("a", "web")), of.layers(node("b", "web"))
    assert names(first) == names(second) == ["default", "ROOTCA"]
    assert of.layers(node("a", "web")) == first
    assert first[0] is not second[0]
    assert first[1] is second[1]
    assert {node_id: issued.identity.uri() for node_id, issued in of.held()} == dict.fromkeys(
        ("sidecar~a", "sidecar~b"), "spiffe://cluster.local/ns/default/sa/web"
    )
    assert len({issued.serial for _, issued in of.held()}) == 2


def test_a_proxy_that_comes_back_as_another_gets_another_identity(tmp_path: Path) -> None:
    of = given(tmp_path, Clock())
    before = of.layers(node("a", "web"))
    assert of.layers(node("a", "cart"))[0] is not before[0]
    assert [issued.identity.service_account for _, issued in of.held()] == ["cart"]


def test_a_proxy_without_a_name_that_could_be_one_is_turned_away(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no name for an identity"):
        given(tmp_path, Clock()).layers(node("a", "web/../admin"))


def test_no_proxy_is_given_the_control_planes_own_identity(tmp_path: Path) -> None:
    of = given(tmp_path, Clock())
    with pytest.raises(ValueError, match="control plane's own namespace"):
        of.layers(Node(id="sidecar~a", role=Role.SIDECAR, namespace="tulle-system", service_account="control"))


def test_they_are_renewed_at_about_half_their_life_and_not_all_at_once(tmp_path: Path) -> None:
    clock = Clock()
    of, hours = given(tmp_path, clock), 24
    before = {name: of.layers(node(name))[0] for name in map(str, range(50))}
    clock.now = START + timedelta(hours=hours * (HALF - JITTER) - 0.01)
    assert all(of.layers(node(name))[0] is layer for name, layer in before.items())
    clock.now = START + timedelta(hours=hours * HALF)
    renewed = [name for name, layer in before.items() if of.layers(node(name))[0] is not layer]
    assert 0 < len(renewed) < 50
    clock.now = START + timedelta(hours=hours * (HALF + JITTER) + 0.01)
    assert all(of.layers(node(name))[0] is not layer for name, layer in before.items())


def test_while_the_authority_cannot_sign_proxies_keep_what_they_have(tmp_path: Path) -> None:
    clock = Clock()
    of = given(tmp_path, clock)
    before = of.layers(node("a", "web"))
    clock.now = START + timedelta(days=4000)
    assert of.layers(node("a", "web")) == before
    with pytest.raises(ValueError, match="the certificate that signs ended at 2036-"):
        of.layers(node("b"))


def test_one_that_is_due_is_announced(tmp_path: Path) -> None:
    """With certificates of seconds, and the real clock."""

    async def run() -> None:
        authority = Authority(tmp_path / "ca", "cluster.local", lifetime=timedelta(seconds=0.4))
        of, due = Deliveries(authority), asyncio.Event()
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            task = tasks.create_task(of.run(due.set))
            await asyncio.sleep(0)
            before = of.layers(node("a"))[0]
            await due.wait()
            assert of.layers(node("a"))[0] is not before
            task.cancel()

    asyncio.run(run())


def test_a_rotation_brings_new_roots_and_then_new_certificates(tmp_path: Path) -> None:
    of = given(tmp_path, Clock())
    own, roots = of.layers(node("a"))
    of.authority.begin()
    of.renew()
    assert of.layers(node("a"))[0] is own
    assert of.layers(node("a"))[1] is not roots
    of.authority.switch()
    of.renew()
    assert of.layers(node("a"))[0] is not own
    of.forget("sidecar~a")
    assert list(of.held()) == []


def test_keys_are_never_shown(tmp_path: Path) -> None:
    of = given(tmp_path, Clock())
    layers = of.layers(node("a"))
    assert "PRIVATE" not in f"{layers!r} {list(of.held())!r}"


def test_bundles_of_other_domains_are_read_again_and_a_broken_one_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "partner.pem"
    with pytest.raises(AuthorityError, match=r"partner.pem: cannot be read: No such file"):
        Federation([("partner.example", str(file))])
    partner = Authority(tmp_path / "partner", "partner.example")
    file.write_bytes(partner.bundle())
    federation = Federation([("partner.example", str(file))])
    of = Deliveries(Authority(tmp_path / "ca", "cluster.local"), federation, aliases=("old.example",))

    def told() -> dict[str, bytes]:
        (roots,) = of.layers(node("a"))[1].secrets
        assert isinstance(roots, Trusted)
        return {domain: bundle.reveal() for domain, bundle in roots.bundles}

    own = of.authority.bundle()
    assert told() == {"cluster.local": own, "old.example": own, "partner.example": partner.bundle()}
    version = bytes.fromhex("a003020102"), bytes.fromhex("a003020163")
    for broken in ("nothing", ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(partner.bundle().decode()).replace(*version))):
        file.write_text(broken)
        of.renew()
        assert told()["partner.example"] == partner.bundle()
    partner.begin()
    file.write_bytes(partner.bundle())
    of.renew()
    assert told()["partner.example"] == partner.bundle()
