"""Connections: filter chains, TLS, TCP and UDP, and why each chain that lost did."""

from __future__ import annotations

from typing import Any

import pytest

from support.certificates import Ca, tls_secret
from support.compiled import built, gateway, instance, sidecar
from support.views import cluster
from tulle.compile.explain import Request, explain
from tulle.compile.explain.chains import Connection, choose
from tulle.compile.explain.outcome import Backends
from tulle.model.identity import Locality
from tulle.model.proxy import Direction, FilterChain, Layer, Listener, LocalityGroup, ProxyView, TcpConnections, Upstream
from tulle.model.routing import WeightedCluster
from tulle.model.service import Endpoint, Protocol

CA = Ca()
DOCUMENTS = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example], tls: {httpsRedirect: true}}
  - {port: {number: 443, name: shop, protocol: HTTPS}, hosts: [shop.example], tls: {mode: MUTUAL, credentialName: shop}}
  - {port: {number: 443, name: all, protocol: HTTPS}, hosts: ["*.example"], tls: {mode: SIMPLE, credentialName: shop}}
  - {port: {number: 443, name: db, protocol: TLS}, hosts: [db.example], tls: {mode: PASSTHROUGH}}
  - {port: {number: 6379, name: tcp, protocol: TCP}, hosts: ["*"]}
  - {port: {number: 5353, name: udp, protocol: UDP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: ["*.example"]
  gateways: [edge]
  http:
  - route: [{destination: {host: web}}]
  tls:
  - match: [{port: 443, sniHosts: [db.example]}]
    route: [{destination: {host: db}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: plain}
spec:
  hosts: ["*"]
  gateways: [edge]
  tcp:
  - match: [{port: 6379}]
    route:
    - {destination: {host: db}, weight: 3}
    - {destination: {host: other}, weight: 1}
  - match: [{port: 5353}]
    route: [{destination: {host: dns}}]
---
""" + tls_secret("shop", CA.issue("shop.example"), CA)
INSTANCES = (
    instance("web", number=80, target=1001),
    instance("db", number=5432, target=1002, protocol=Protocol.TCP),
    instance("other", number=5432, target=1003, protocol=Protocol.TCP),
    instance("dns", number=53, target=1004, protocol=Protocol.UDP),
)
MESH = built(DOCUMENTS, *INSTANCES).mesh
EDGE = gateway()
WEB = sidecar(
    app="web", upstreams=(Upstream(host="db", port=5432, bind_port=15432), Upstream(host="dns.default", port=53, bind_port=15353, udp=True))
)


def ask(url: str, node: Any = EDGE, **more: Any) -> dict[str, Any]:
    return explain(MESH, node, Request(url=url, **more)).to_dict()


def why(trace: dict[str, Any], name: str) -> str:
    return next(s["why"] for s in trace["steps"] if name in s["rule"])


def test_tls_is_ended_by_name() -> None:
    trace = ask("https://shop.example/cart")
    assert trace["filter_chain"].startswith("https.443.shop.")
    certificates = trace["tls"].pop("certificates")
    assert [name.rpartition("/")[2] for name in certificates] == ["shop"]
    assert trace["tls"] == {"server_name": "shop.example", "client_certificate": "required", "protocol": "h2"}
    assert trace["cluster"] == "outbound|80||web.default.svc.cluster.local"
    assert why(trace, "chain https.443.all.") == '"*.example" fits, but "shop.example" is more specific'
    assert why(trace, "chain shop.") == '"shop.example" is asked for, it takes "db.example"'
    assert ask("https://a.b.example/")["filter_chain"].startswith("https.443.all.")
    assert ask("https://SHOP.example/", sni="news.example", alpn=("http/1.1",))["tls"]["protocol"] == "http/1.1"


def test_a_host_of_another_chain_is_not_found() -> None:
    assert ask("https://elsewhere.test/", sni="shop.example")["direct_response"]["status"] == 404


def test_names_that_nobody_serves() -> None:
    for url in ("https://nobody.test/", "https://127.0.0.1/", "tls://example:443", "http://shop.example:443/"):
        trace = ask(url)
        assert trace["closed"] == "no filter chain takes the connection"
        assert "filter_chain" not in trace
        assert trace["steps"][-1]["why"] == "no filter chain takes the connection: it is closed"


def test_passed_on_by_name() -> None:
    trace = ask("tls://db.example:443")
    assert trace["cluster"] == "outbound|5432||db.default.svc.cluster.local"
    assert [e["address"] for e in trace["endpoints"]] == ["127.0.0.1:1002"]
    assert "tls" not in trace
    assert trace["steps"][0]["source"].startswith("rules.yaml:")


def test_bytes_to_where_requests_are_wanted() -> None:
    trace = ask("tls://shop.example:443")
    assert trace["route_config"].startswith("https.443.shop.")
    assert trace["steps"][-1]["why"].endswith("https:// asks where one goes")


def test_plain_requests_are_sent_to_tls() -> None:
    trace = ask("http://shop.example/x")
    assert trace["redirect"] == {"status": 301, "location": "https://shop.example/x"}
    tls = ask("https://shop.example/x", connect_to=("127.0.0.1", 8080))
    assert tls["closed"] == "the caller speaks TLS, plain HTTP is taken here"


def test_tcp_by_weight_and_udp() -> None:
    trace = ask("tcp://any:6379")
    assert [(s["name"].split("|")[3].split(".")[0], s["weight"]) for s in trace["weighted_clusters"]] == [("db", 3), ("other", 1)]
    trace = ask("udp://any:5353")
    assert trace["cluster"].endswith("dns.default.svc.cluster.local")
    assert [e["address"] for e in trace["endpoints"]] == ["127.0.0.1:1004"]
    assert "session" in why(trace, "UDP")


@pytest.mark.parametrize(
    ("url", "listener"),
    [
        ("tcp://db:5432", "127.0.0.1_15432"),
        ("tcp://db.default.svc.cluster.local:5432", "127.0.0.1_15432"),
        ("tls://127.0.0.1:15432", "127.0.0.1_15432"),
        ("udp://dns:53", "127.0.0.1_15353_udp"),
        ("tcp://other:5432", "127.0.0.1_15001"),
    ],
)
def test_from_a_sidecar(url: str, listener: str) -> None:
    trace = ask(url, WEB)
    name = url.partition("://")[2].partition(".")[0].partition(":")[0]
    assert trace["listener"] == listener
    assert f"||{'db' if name == '127' else name}.default" in trace["cluster"]


def _chain(name: str, **match: Any) -> FilterChain:
    return FilterChain(name=name, serve=TcpConnections(stat_prefix=name, clusters=(WeightedCluster(cluster=name),)), **match)


STAGES = Listener(
    name="l",
    address="127.0.0.1",
    port=1,
    direction=Direction.OUTBOUND,
    chains=(
        _chain("near", destination_cidrs=("10.1.0.0/16",), server_names=("a.b.c",)),
        _chain("far", destination_cidrs=("10.0.0.0/8",)),
        _chain("alpn", server_names=("x.b.c",), application_protocols=("h2",)),
        _chain("wide", server_names=("*.b.c",)),
        _chain("wider", server_names=("*.c",), transport_protocol="tls"),
        _chain("trusted", source_cidrs=("192.168.0.0/16",)),
        _chain("any"),
    ),
)


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        (Connection(tls=True, sni="a.b.c", destination="10.1.2.3"), "near"),
        (Connection(tls=True, sni="z.b.c", destination="10.1.2.3"), None),
        (Connection(destination="10.2.2.3"), "far"),
        (Connection(tls=True, sni="x.b.c", alpn=("http/1.1", "h2")), "alpn"),
        (Connection(tls=True, sni="x.b.c", alpn=("http/1.1",)), None),
        (Connection(tls=True, sni="y.x.b.c"), "wide"),
        (Connection(tls=True, sni="b.c"), "wider"),
        (Connection(tls=True, sni="c"), "any"),
        (Connection(source="192.168.1.1"), "trusted"),
        (Connection(), "any"),
    ],
)
def test_one_thing_after_the_other_and_never_back(connection: Connection, expected: str | None) -> None:
    chosen = choose(STAGES, connection)
    assert (chosen.chain.name if chosen.chain else None) == expected
    assert [s.matched for s in chosen.steps] == [False] * (len(chosen.steps) - 1) + [expected is not None]


def test_endpoints_by_priority() -> None:
    far, near = Endpoint(address="1.1.1.1", port=1), Endpoint(address="2.2.2.2", port=2)
    groups = (
        LocalityGroup(locality=Locality(region="us"), endpoints=(far,), priority=1),
        LocalityGroup(locality=Locality(region="eu"), endpoints=(near,), priority=0),
    )
    view = ProxyView(layers=(Layer(clusters=(cluster("c", endpoints=(far, near), localities=groups),)),))
    assert [(t.address, t.locality, t.priority) for t in Backends.of(view).targets["c"]] == [("2.2.2.2:2", "eu", 0), ("1.1.1.1:1", "us", 1)]
