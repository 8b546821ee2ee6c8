"""The certificates that are told of: what proxies acknowledged, beside what they themselves say that they show."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from support.certificates import Ca, Pair
from tulle.model.proxy import Layer, Node, ProxyView, Role
from tulle.model.tls import Certificate, Hidden
from tulle.registry.agents import Agent, Report, Shown
from tulle.registry.liveness import Life
from tulle.server.fleet import Fleet, Member
from tulle.server.trust import Trust
from tulle.translate import Translator
from tulle.translate.snapshot import SECRET

CA = Ca()
WEB = CA.issue("web.example")


def trust(*told: Shown) -> Trust:
    """Of one gateway that acknowledged a certificate, and what its agent told of it."""
    layer = Layer(secrets=(Certificate(name="kubernetes://web", chain=Hidden(WEB.certificate), key=Hidden(WEB.key)),))
    snapshot = Translator().snapshot(ProxyView(layers=(layer,)))
    node, fleet = Node(id="gateway~edge", role=Role.GATEWAY), Fleet()
    fleet.members[node.id] = Member(node=node, since=datetime.now(UTC), snapshot=snapshot, revision=1, acked={SECRET: snapshot})
    agent = Agent(report=Report(id=node.id, certificates=told), node="", life=Life())
    running: Any = SimpleNamespace(fleet=fleet, agents=SimpleNamespace(known={node.id: agent}))
    return Trust(running, lambda: None)


def said(pair: Pair, *names: str) -> Shown:
    return Shown(serial=f"{pair.serial:x}", names=names, not_before="2026-01-01T00:00:00Z", not_after="2026-01-02T00:00:00Z")


def rows(of: Trust) -> list[tuple[str, int, bool | None]]:
    return [(one.name, one.serial, one.shown) for one in of.certificates()]


def test_what_the_proxy_says_counts() -> None:
    assert rows(trust(said(WEB, "web.example"))) == [("kubernetes://web", WEB.serial, True)]


def test_a_proxy_that_shows_an_older_one() -> None:
    assert rows(trust(said(CA.issue("web.example"), "web.example"))) == [("kubernetes://web", WEB.serial, False)]


def test_nobody_to_ask() -> None:
    assert rows(trust()) == [("kubernetes://web", WEB.serial, None)]


def test_certificates_in_files_of_the_proxy_s_machine() -> None:
    own = CA.issue("other.example")
    found = rows(trust(said(WEB, "web.example"), said(own, "other.example")))
    assert found == [("kubernetes://web", WEB.serial, True), ("(file)", own.serial, True)]


def test_what_no_certificate_has_is_left_out() -> None:
    """Whoever runs an agent may say anything: the rest is told all the same."""
    day = "2026-01-01T00:00:00Z"
    odd = [Shown(serial=serial, names=(begin,), not_before=begin, not_after=day) for serial, begin in (("zz", day), ("1", "?"))]
    assert rows(trust(said(WEB, "web.example"), *odd)) == [("kubernetes://web", WEB.serial, True)]
