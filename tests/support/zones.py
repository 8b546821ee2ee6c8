"""A small zone to ask, and questions as clients send them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
from dns.message import Message

from support.compiled import built
from tulle.compile.mesh import Mesh
from tulle.dns.answer import Answerer, Gather, Reply
from tulle.dns.question import IpAddress
from tulle.dns.rules import Rules
from tulle.dns.zone import Gathered, Instance, Machine, ServiceName, Zone, as_address, hosts
from tulle.model.frozen import FrozenMap
from tulle.model.service import Health

NOW = 1_700_000_000
RULES = Rules()
ALPHA = Machine(name="Alpha", address="10.0.0.1", meta=FrozenMap({"rack": "7", "rfc1035-note": "plain words"}))
BETA = Machine(name="beta", address="10.0.0.2")
SIX = Machine(name="six.example", address="2001:db8::6")
ALIASED = Machine(name="aliased", address="elsewhere.example.com")
MACHINES = (ALPHA, BETA, SIX, ALIASED)
INSTANCES = (
    Instance(id="web-1", service="web", machine=ALPHA, port=8080, tags=("v1", "Primary"), weight=5, warning_weight=2),
    Instance(
        id="web-2",
        service="web",
        machine=BETA,
        address="10.9.9.9",
        port=8081,
        tags=("v2", "eu.west"),
        status=Health.WARNING,
        warning_weight=3,
    ),
    Instance(id="web-3", service="web", machine=BETA, address="10.9.9.10", port=8082, status=Health.CRITICAL),
    Instance(id="six-1", service="six", machine=SIX, port=6),
    Instance(id="far-1", service="far", machine=BETA, address="far.example.com", port=443),
    Instance(id="near-1", service="near", machine=BETA, address="web.service.consul", port=80),
    Instance(id="dead-1", service="dead", machine=BETA, port=1, status=Health.CRITICAL),
    Instance(id="loop-1", service="loop", machine=BETA, address="loop.service.consul", port=1),
    Instance(id="ping-1", service="ping", machine=BETA, address="pong.service.consul", port=1),
    Instance(id="pong-1", service="pong", machine=BETA, address="ping.service.consul", port=1),
    Instance(id="other-1", service="web", namespace="shop", machine=BETA, address="10.7.7.7", port=70),
    Instance(id="web-proxy", service="web-sidecar-proxy", machine=ALPHA, address="10.0.0.1", port=21000),
    *(Instance(id=f"many-{i}", service="many", machine=BETA, address=f"10.1.{i // 250}.{i % 250 + 1}", port=i + 1) for i in range(200)),
)


class Listed:
    """A registry that is a list. What is called `NAME-sidecar-proxy` takes mutual TLS for NAME."""

    def __init__(self, machines: Iterable[Machine], instances: Iterable[Instance]) -> None:
        self._machines = tuple(machines)
        self._instances = tuple(instances)

    def machine(self, name: str) -> Machine | None:
        return next((m for m in self._machines if m.name.lower() == name), None)

    def instances(self, name: ServiceName) -> Sequence[Instance]:
        return [i for i in self._instances if (i.namespace, i.service.lower()) == name]

    def connect(self, name: ServiceName) -> Sequence[Instance]:
        return self.instances((name[0], f"{name[1]}-sidecar-proxy"))

    def ingress(self, name: ServiceName) -> Sequence[Instance]:
        return self.instances((name[0], f"{name[1]}-gateway"))

    def at(self, address: IpAddress) -> Machine | Instance | None:
        return next((owner for owner in (*self._machines, *self._instances) if as_address(owner.address) == address), None)


def zone(machines: Iterable[Machine] = MACHINES, instances: Iterable[Instance] = INSTANCES, compiled: Mesh | None = None) -> Zone:
    compiled = compiled or built().mesh
    return Zone(directory=Listed(machines, instances), hosts=hosts(compiled), mesh=compiled, server=ALPHA)


def query(name: str, type_: str = "A", *, edns: int = 0, **options: Any) -> Message:
    """`edns` is the size that the client takes; 0 for a client that does not know of EDNS."""
    return dns.message.make_query(name, type_, use_edns=0 if edns else -1, payload=edns or 1232, **options)


def ask(
    name: str,
    type_: str = "A",
    *,
    of: Zone | None = None,
    rules: Rules = RULES,
    seed: int = 1,
    tcp: bool = False,
    gathered: Gathered | None = None,
    **options: Any,
) -> Message:
    """The answer, read again by another's code. `gathered` is what others say; nothing, if absent."""
    answerer = Answerer(rules=rules, dice=random.Random(seed))
    asked = query(name, type_, **options)
    reply = answerer.answer(asked.to_wire(), of or zone(), tcp=tcp, now=NOW)
    if isinstance(reply, Gather):
        told = replace(gathered, asked=reply.asked) if gathered else Gathered(asked=reply.asked, datacenter="dc1")
        reply = answerer.answer(asked.to_wire(), of or zone(), tcp=tcp, now=NOW, gathered=told)
    assert isinstance(reply, Reply), reply
    message = dns.message.from_wire(reply.wire)
    assert message.id == asked.id
    assert message.question == asked.question
    return message


def texts(section: Sequence[Any]) -> list[str]:
    """Records as `type data`."""
    return [f"{dns.rdatatype.to_text(rrset.rdtype)} {data.to_text()}" for rrset in section for data in rrset]


def code(message: Message) -> str:
    return dns.rcode.to_text(message.rcode())
