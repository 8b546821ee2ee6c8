"""Which gateways can answer an authority, and when they do."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from support.compiled import gateway, inputs, sidecar
from tulle.compile import Built, build, view
from tulle.model.challenges import Challenge, ChallengeType
from tulle.model.proxy import Node
from tulle.server.acme.gateways import FleetGateways
from tulle.server.fleet import Fleet, Member
from tulle.translate import Translator
from tulle.translate.snapshot import CLUSTER, LISTENER, ROUTES

EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [shop.example.com]}]
"""
ASKED = Challenge(kind=ChallengeType.HTTP_01, host="shop.example.com", token="t", answer="t.p")


@dataclass
class Running:
    fleet: Fleet
    built: Built


def running(*nodes: Node) -> Running:
    built = build(replace(inputs(EDGE), challenges=(ASKED,)))
    fleet, translator = Fleet(), Translator()
    for node in nodes:
        snapshot = translator.snapshot(view(built.mesh, node))
        fleet.members[node.id] = Member(node=node, since=datetime.now(UTC), snapshot=snapshot, revision=1)
    return Running(fleet, built)


def waits_for(of: Running, *challenges: Challenge) -> tuple[str, ...]:
    of.fleet.notify()
    return asyncio.run(FleetGateways(of).shown(challenges, 0.05))


def test_who_is_waited_for() -> None:
    of = running(gateway(), sidecar("web"))
    member = of.fleet.members[gateway().id]
    for type_url in (CLUSTER, LISTENER, ROUTES):
        member.take(type_url, member.snapshot)
    assert waits_for(of, ASKED) == (member.node.id,), "it has not asked for all of its routes"
    member.complete = member.snapshot
    assert waits_for(of, ASKED) == (), "sidecars are not asked"
    member.complete = Translator().snapshot(view(build(inputs(EDGE)).mesh, gateway()))
    assert waits_for(of, ASKED) == (member.node.id,), "it has the routes from before"
    member.refused[ROUTES] = "no"
    assert waits_for(of, ASKED) == (), "one that refuses something is not waited for"


def test_what_is_not_compiled_yet_is_shown_by_nobody() -> None:
    of = running(gateway())
    member = of.fleet.members[gateway().id]
    member.complete = member.snapshot
    assert waits_for(of, ASKED) == ()
    assert waits_for(of, replace(ASKED, token="other")) == ("the control plane itself",)


def test_somebody_must_be_there() -> None:
    of = running(sidecar("web"))
    assert waits_for(of, ASKED) == ("none is connected",)
    assert not FleetGateways(of).able(ChallengeType.HTTP_01, "shop.example.com")
    assert FleetGateways(running(gateway())).able(ChallengeType.HTTP_01, "shop.example.com")
    assert not FleetGateways(running(gateway())).able(ChallengeType.TLS_ALPN_01, "shop.example.com")
