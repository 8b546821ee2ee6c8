"""Firewalls for routes: which rules they hold for, and what is said of those that hold for none."""

from __future__ import annotations

from dataclasses import replace

from support.compiled import built, documents, gateway, hosts, inputs, instance, warnings
from tulle import compile as compiler
from tulle.compile import view

FIREWALL = """
apiVersion: tulle.dev/v1
kind: Firewall
metadata: {name: forms}
spec: {targetRefs: [{kind: VirtualService, group: networking.istio.io, name: web, sectionName: forms}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
"""
ROUTES = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web.example]
  gateways: [edge]
  http:
  - {name: forms, match: [{uri: {prefix: /a}}], route: [{destination: {host: web}}]}
  - {name: pages, match: [{uri: {prefix: /b}}], route: [{destination: {host: web}}]}
  - {name: forms, route: [{destination: {host: web}}]}
"""
WEB = instance("web")


def test_all_rules_of_a_name_are_meant() -> None:
    seen = view(built(FIREWALL + ROUTES, WEB).mesh, gateway(privileged=True))
    (host,) = hosts(seen, "http.80").values()
    assert [[firewall.name for firewall in route.firewalls] for route in host.routes] == [["default/forms"], [], ["default/forms"]]


def test_what_is_said_follows_the_routes_and_the_engine() -> None:
    alone = inputs(FIREWALL, WEB)
    first = compiler.build(alone)
    (said,) = warnings(first, "Firewall/forms")
    assert said.endswith("spec.targetRefs[0]: not in force: there is no VirtualService default/web")
    routed = replace(alone, resources=documents(FIREWALL + ROUTES))
    there = compiler.build(routed, first)
    assert warnings(there, "Firewall/forms") == []
    for broken in ({"broken_firewalls": {"default/forms": "no such rule"}}, {"no_firewall": "no such rule"}):
        (said,) = warnings(compiler.build(replace(routed, **broken), there), "Firewall/forms")
        assert said.endswith("spec: not in force, requests go on unchecked: no such rule")
