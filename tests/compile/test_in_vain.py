"""Rules for ports, gateways and protocols that nothing they are for has are told."""

from __future__ import annotations

import pytest

from support.compiled import built, instance, warnings
from tulle.model.service import Protocol

MESH = (
    instance("web", number=80),
    instance("rpc", number=90, protocol=Protocol.GRPC),
    instance("db", number=5432, protocol=Protocol.TCP),
    instance("names", number=53, protocol=Protocol.UDP),
    instance("any", number=7000, protocol=Protocol.AUTO),
)
GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*"], tls: {mode: PASSTHROUGH}}
---
"""


def said_of_rules(spec: str) -> list[str]:
    text = f"{GATEWAY}apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {spec}"
    return [line.partition("VirtualService/v: ")[2] for line in warnings(built(text, *MESH), "VirtualService/v")]


HTTP = "http: [{match: [%s], route: [{destination: {host: web}}]}]"
TCP = "tcp: [{match: [%s], route: [{destination: {host: db}}]}]"
NO_SUBSET = 'spec.tcp[0].route[0].destination: host names.default.svc.cluster.local has no subset "v9" in a DestinationRule'
TLS = "tls: [{match: [{sniHosts: [%s]%s}], route: [{destination: {host: db}}]}]"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("hosts: [db], " + HTTP % "{port: 5432}", "spec.http: not in force: no port of its hosts is for HTTP"),
        ("hosts: [web], " + TCP % "{}", "spec.tcp: not in force: no port of its hosts is for other protocols than HTTP"),
        ("hosts: [web], " + TLS % ("web", ""), "spec.tls: not in force: no port of its hosts passes TLS on"),
        ("hosts: [names], " + TLS % ("names", ""), "spec.tls: not in force: no port of its hosts passes TLS on"),
        ("hosts: [web, db, nobody], " + HTTP % "{}", None),
        ("hosts: [any], " + HTTP % "{}" + ", " + TCP % "{}" + ", " + TLS % ("any", ""), None),
        ("hosts: [names], " + TCP % "{}", None),
        ("hosts: [names], tcp: [{route: [{destination: {host: names, subset: v9}}]}]", f"{NO_SUBSET}: its connections are closed"),
        ("hosts: [nobody], " + TCP % "{port: 1}", None),
        ("hosts: [web], " + HTTP % "{port: 81}", "spec.http[0].match[0]: never matches: none of its hosts has port 81 (they have 80)"),
        ("hosts: ['*.local'], " + HTTP % "{port: 90}", None),
        (
            "hosts: [a.example], gateways: [edge], " + TCP % "{}",
            "spec.tcp: not in force: no port of its gateways is for other protocols than HTTP",
        ),
        ("hosts: [a.example], gateways: [edge], " + HTTP % "{}" + ", " + TLS % ("a.example", ", port: 443"), None),
        ("hosts: [web, db], " + HTTP % "{port: 5432}", "spec.http[0].match[0]: never matches: port 5432 of its hosts carries no HTTP"),
        (
            "hosts: [a.example], gateways: [edge], " + HTTP % "{}" + ", " + TLS % ("a.example", ", port: 80"),
            "spec.tls[0].match[0]: never matches: port 80 of its gateways passes no TLS on",
        ),
        (
            "hosts: [db, a.example], gateways: [edge, mesh], " + HTTP % "{port: 8080}",
            "spec.http[0].match[0]: never matches: none of its hosts and gateways has port 8080 (they have 80, 443, 5432)",
        ),
        (
            "hosts: [a.example], gateways: [edge], " + HTTP % "{gateways: [mesh]}",
            "spec.http[0].match[0]: never matches: mesh is none of this VirtualService's gateways",
        ),
        ("hosts: [a.example], gateways: [edge], " + HTTP % "{gateways: [default/edge, other]}", None),
    ],
)
def test_rules(spec: str, said: str | None) -> None:
    assert said_of_rules(f"{{{spec}}}") == ([said] if said else [])


def said_of_settings(host: str, policy: str) -> list[str]:
    text = (
        f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d}}\nspec: {{host: {host}, trafficPolicy: {policy}}}"
    )
    return [line.partition("spec.trafficPolicy.")[2] for line in warnings(built(text, *MESH), "DestinationRule/d")]


NO_HTTP = "has no effect: no HTTP is spoken there"
NO_HTTP2 = "has no effect: endpoints are spoken to by HTTP/1.1 there"
DATAGRAMS = "has no effect on datagrams"
HEADER = "loadBalancer: {consistentHash: {httpHeaderName: x}}"
POOL = "connectionPool: {http: {http1MaxPendingRequests: 1, maxRetries: 2, h2UpgradePolicy: UPGRADE}}"
PINGS = "connectionPool: {http: {http2KeepAlive: {interval: 1s}, maxConcurrentStreams: 5%s}}"
TUNNEL = "tunnel: {targetHost: a, targetPort: 1}"


@pytest.mark.parametrize(
    ("host", "policy", "said"),
    [
        ("db", POOL, [f"connectionPool.http.maxRetries: {NO_HTTP}", f"connectionPool.http.h2UpgradePolicy: {NO_HTTP}"]),
        ("db", f"{POOL}, {TUNNEL}", []),
        ("db", HEADER, [f"loadBalancer.consistentHash.httpHeaderName: {NO_HTTP}, so each connection goes anywhere"]),
        ("db", "retryBudget: {}, tls: {mode: SIMPLE}", [f"retryBudget: {NO_HTTP}"]),
        ("web", f"{POOL}, {HEADER}, retryBudget: {{}}", []),
        ("web", TUNNEL, ["tunnel: has no effect: only connections that are not HTTP are put into tunnels, and there are none"]),
        ("web", PINGS % "", [f"connectionPool.http.{name}: {NO_HTTP2}" for name in ("maxConcurrentStreams", "http2KeepAlive")]),
        ("web", PINGS % ", useClientProtocol: true", []),
        ("rpc", PINGS % "", []),
        ("any", f"{POOL}, {HEADER}, {TUNNEL}", []),
        ("any", PINGS % "", []),
        (
            "names",
            "tls: {mode: SIMPLE}, outlierDetection: {consecutive5xxErrors: 1}, proxyProtocol: {}",
            [f"tls: {DATAGRAMS}", f"outlierDetection: {DATAGRAMS}", f"proxyProtocol: {DATAGRAMS}"],
        ),
        (
            "'*.local'",
            f"{TUNNEL}, portLevelSettings: [{{port: {{number: 5432}}, {HEADER}}}, {{port: {{number: 80}}, {HEADER}}}]",
            [f"portLevelSettings[0].loadBalancer.consistentHash.httpHeaderName: {NO_HTTP}, so each connection goes anywhere"],
        ),
    ],
)
def test_settings(host: str, policy: str, said: list[str]) -> None:
    assert said_of_settings(host, f"{{{policy}}}") == said
