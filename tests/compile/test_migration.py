"""The way to mutual TLS alone: what is turned, what stands in the way, and what makes one go back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from support.compiled import built
from support.meshed import DISABLE, STRICT, opened, registered, sidecar
from tulle.compile.edges import edges
from tulle.compile.migration import Counts, Group, Heard, PlainCaller, Way, Window, groups, plan, verdict
from tulle.compile.whereabouts import Whom
from tulle.model.proxy import Node
from tulle.model.service import Protocol

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEB, CART = sidecar("web", opened(80, 20001)), sidecar("cart", opened(81, 20002))
CLIENT = sidecar("client")
OWN = """
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: mine}
spec: {selector: {matchLabels: {app: web}}, mtls: {mode: PERMISSIVE}}
"""
PLAIN = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec: {host: web, trafficPolicy: {tls: {mode: DISABLE}}}
"""


def found(text: str, *nodes: Node) -> dict[str, Group]:
    mesh = built(text, *(registered(node) for node in nodes if node.inbound)).mesh
    return {group.name: group for group in groups(mesh, nodes, edges(mesh, nodes))}


def said(text: str, *nodes: Node) -> dict[str, tuple[Way, str]]:
    return {step.group.name: (step.way, step.why) for step in plan(found(text, *nodes).values(), NOW, HOUR)}


def test_what_a_policy_can_single_out() -> None:
    other = replace(WEB, id="sidecar~web-2", inbound=(opened(82, 20003), opened(53, 20004, protocol=Protocol.UDP)))
    group = found("", WEB, other, CLIENT)["web"]
    assert (group.proxies, tuple(group.ports)) == (("sidecar~web", "sidecar~web-2"), (80, 82))
    assert (group.hosts, group.document) == (("web.default.svc.cluster.local",), "web-strict")
    assert set(found("", WEB, CART, CLIENT)) == {"web", "cart"}, "who only calls others has nothing to be strict about"


def test_what_stands_in_the_way() -> None:
    assert said("", WEB, CART) == {"web": (Way.TURN, ""), "cart": (Way.TURN, "")}
    assert said(STRICT, WEB)["web"] == (Way.DONE, "")
    way, why = said(DISABLE, WEB)["web"]
    assert (way, why) == (Way.SKIP, "PeerAuthentication istio-system/default (rules.yaml:5) says DISABLE for it: change that first")
    answers = said(OWN, WEB, CART)
    assert answers["web"] == (Way.SKIP, "PeerAuthentication default/mine (rules.yaml:6) is about just these workloads: change it there")
    assert answers["cart"] == (Way.TURN, "")
    way, why = said(PLAIN, WEB, CLIENT)["web"]
    assert way is Way.SKIP
    assert why == "sidecar~client speaks plain text to it, as DestinationRule default/web (rules.yaml:6) says, and 1 more do"


def test_callers_in_plain_text_stand_in_the_way_for_a_while() -> None:
    group = found("", WEB)["web"]

    def one(last: datetime | None) -> tuple[Way, str]:
        (step,) = plan([replace(group, heard=Heard(connections=2, last=last))], NOW, HOUR)
        return step.way, step.why

    why = "it is called in plain text: 2 connections, the last at 2026-01-01T23:30:00Z"
    assert one(NOW - HOUR / 2) == (Way.SKIP, why)
    assert one(NOW - 2 * HOUR) == (Way.TURN, "")
    assert one(None) == (Way.TURN, "")


def test_callers_in_plain_text_are_named_who_called_lately() -> None:
    group = found("", WEB)["web"]

    def said_of(*addresses: str, ago: timedelta = HOUR / 2) -> str:
        callers = [PlainCaller(port=80, whom=Whom(address=address, machine="old"), last=NOW - ago) for address in addresses]
        early = PlainCaller(port=80, whom=Whom(address="10.0.0.99"), last=NOW - 2 * HOUR)
        (step,) = plan([replace(group, heard=Heard(connections=2, last=NOW, callers=(*callers, early)))], NOW, HOUR)
        return step.why.partition("00Z")[2]

    assert said_of() == ""
    assert said_of("10.0.0.1", "10.0.0.1", "10.0.0.2") == ", by old (10.0.0.1), old (10.0.0.2)"
    assert said_of(*(f"10.0.0.{n}" for n in range(8))).endswith("old (10.0.0.4) and 3 more")


def test_those_with_the_fewest_callers_come_first() -> None:
    of = found("", WEB, CART)
    some = [replace(of["cart"], connections=9), replace(of["web"], connections=3)]
    assert [step.group.name for step in plan(some, NOW, HOUR)] == ["web", "cart"]


COUNTS = st.builds(Counts, **dict.fromkeys(("refused", "failed", "unreached", "requests", "errors", "call_errors"), st.integers(0, 1000)))


@given(COUNTS, st.floats(1, 600))
def test_what_goes_on_as_before_is_well(before: Counts, seconds: float) -> None:
    same = replace(before, refused=0)
    assert verdict(Window(seconds=seconds, counts=same), Window(seconds=seconds, counts=same)) == ""


@given(COUNTS, COUNTS, st.sampled_from(["refused", "failed", "unreached", "errors", "call_errors"]), st.integers(1, 1000))
def test_worse_is_never_better(before: Counts, during: Counts, what: str, more: int) -> None:
    then, now = Window(seconds=60, counts=before), Window(seconds=60, counts=during)
    worse = replace(now, counts=replace(during, **{what: getattr(during, what) + more}))
    assert verdict(then, worse) or not verdict(then, now)


@given(COUNTS, COUNTS)
def test_nobody_is_refused_for_long(before: Counts, during: Counts) -> None:
    assert verdict(Window(seconds=1, counts=before), Window(seconds=600, counts=replace(during, refused=1)))


def test_reasons() -> None:
    quiet = Window(seconds=60)

    def why(**counts: int) -> str:
        return verdict(quiet, Window(seconds=60, counts=Counts(**counts)))

    assert why(requests=100) == ""
    assert why(refused=2) == "refused: 2 connections in plain text"
    refused = Window(seconds=60, counts=Counts(refused=1))
    assert verdict(quiet, refused, ("old (10.0.0.1)", "10.0.0.2")) == "refused: 1 connection in plain text, by old (10.0.0.1), 10.0.0.2"
    assert why(failed=1) == "failed in the handshake of TLS: 1 connection"
    assert why(unreached=1) == "could not be made by callers: 1 connection"
    assert why(requests=1000, errors=10) == "", "one in a hundred may be chance"
    assert why(requests=1000, errors=11) == "answered 5xx: 11 of 1000 requests"
    assert why(call_errors=2) == "answered 5xx: 2 requests of callers"
    noisy = Window(seconds=60, counts=Counts(errors=100))
    assert verdict(noisy, Window(seconds=60, counts=Counts(requests=200, errors=150))) == ""
    assert verdict(noisy, Window(seconds=30, counts=Counts(requests=200, errors=150)))


@given(COUNTS, COUNTS)
def test_what_was_added(before: Counts, more: Counts) -> None:
    after = Counts(**{name: getattr(before, name) + getattr(more, name) for name in Counts.__slots__})
    assert after.since(before) == more
    assert more.since(Counts()) == more
    started_again = Counts(requests=3)
    assert started_again.since(Counts(requests=10)) == started_again
