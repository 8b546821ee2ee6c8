"""A control plane lives long: after a thousand changes it holds no more than after two hundred."""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import replace

from support.compiled import documents, gateway, inputs, instance, sidecar
from tulle import compile as compiler
from tulle.compile import Built, view
from tulle.discovery.kinds import RDS
from tulle.discovery.shared import Shared
from tulle.model.mesh import Inputs
from tulle.model.proxy import Layer
from tulle.model.routing import Route, VirtualHost
from tulle.translate.snapshot import Bundle, Entry, Snapshot
from tulle.translate.translator import Translator

HOSTS = 20
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: r{number}}}
spec:
  hosts: [s{number}, site-{number}.example.com]
  gateways: [mesh, edge]
  http: [{{timeout: {seconds}s, route: [{{destination: {{host: s{number}}}}}]}}]
---
"""
EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""
NODES = (sidecar(), gateway())


class Running:
    """What a control plane does with each change, without a wire."""

    def __init__(self) -> None:
        text = "".join(RULE.format(number=n, seconds=1) for n in range(HOSTS)) + EDGE
        self.inputs: Inputs = inputs(text, *(instance(f"s{n}") for n in range(HOSTS)))
        self.built: Built = compiler.build(self.inputs)
        self.translator, self.shared = Translator(), Shared()
        self.sent = [Snapshot() for _ in NODES]

    def change(self, turn: int) -> None:
        changed = documents(RULE.format(number=turn % HOSTS, seconds=turn + 2))
        self.inputs = replace(self.inputs, resources={**self.inputs.resources, **changed})
        self.built = compiler.build(self.inputs, self.built)
        interest = self.shared.interest(wildcard=True, names=frozenset())
        for place, node in enumerate(NODES):
            snapshot = self.translator.snapshot(view(self.built.mesh, node))
            assert self.shared.move(RDS, self.sent[place], snapshot, interest).changed
            self.sent[place] = snapshot


def alive() -> Counter[type]:
    gc.collect()
    return Counter(type(found) for found in gc.get_objects() if type(found) in (Layer, Bundle, Entry, VirtualHost, Route))


def test_a_thousand_changes_leave_nothing_behind() -> None:
    running = Running()
    for turn in range(200):
        running.change(turn)
    before = alive()
    for turn in range(200, 1000):
        running.change(turn)
    after = alive()
    assert before[VirtualHost] > 2 * HOSTS
    for kind, count in after.items():
        assert count <= 1.2 * before[kind] + 20, (kind, before[kind], count)
