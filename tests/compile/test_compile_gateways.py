"""What the proxies at the edge serve."""

from __future__ import annotations

import pytest

from support.compiled import (
    built,
    cluster,
    endpoints,
    gateway,
    hosts,
    instance,
    listener,
    problems,
    routes,
    shares,
    short,
    table,
    tcp,
    warnings,
)
from tulle.compile import gateway_addresses, view
from tulle.model.proxy import HttpConnections, ProxyView
from tulle.model.routing import Redirect

GATEWAY = """
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: {name}}}
spec:
  selector: {{{selector}}}
  servers: [{servers}]
"""
VIRTUAL = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  hosts: [{hosts}]
  gateways: [{gateways}]
  {rest}
"""
HTTP = '{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}'
A = instance("a")


def edge(servers: str = HTTP, *, name: str = "edge", selector: str = "istio: ingressgateway") -> str:
    return GATEWAY.format(name=name, selector=selector, servers=servers)


def rule(name: str = "v", *, hosts: str = '"*"', gateways: str = "edge", rest: str = "", namespace: str = "default", to: str = "a") -> str:
    destination = f"{to}.default.svc.cluster.local"
    rest = rest or f"http: [{{name: {name}, route: [{{destination: {{host: {destination}, port: {{number: 9080}}}}}}]}}]"
    return VIRTUAL.format(name=name, hosts=hosts, gateways=gateways, rest=rest, namespace=namespace)


def seen(text: str, *, privileged: bool = False, **labels: str) -> ProxyView:
    found = view(built(text, A, instance("b")).mesh, gateway(privileged=privileged, **labels))
    assert not problems(found)
    return found


def test_a_port_that_may_not_be_bound_is_served_8000_higher() -> None:
    found = listener(seen(edge() + rule()), "0.0.0.0_8080")
    assert (found.address, found.port, found.declared_port) == ("0.0.0.0", 8080, 80)
    serve = found.chains[0].serve
    assert isinstance(serve, HttpConnections)
    assert (serve.routes, serve.edge) == ("http.80", True)
    assert listener(seen(edge() + rule(), privileged=True), "0.0.0.0_80").port == 80
    high = edge(HTTP.replace("80", "9090"))
    assert listener(seen(high + rule()), "0.0.0.0_9090").declared_port == 0


def test_requests_reach_the_service() -> None:
    found = seen(edge() + rule())
    assert hosts(found, "http.80")["*:80"].domains == ("*",)
    assert table(found, "http.80").ignore_port_in_host
    assert [shares(r) for r in routes(found, "*:80", "http.80")] == [{"a:9080": 1}]
    assert [e.workload for e in endpoints(found, "a:9080")] == ["a-v1-default"]


def test_a_gateway_has_clusters_only_for_what_its_rules_send_to() -> None:
    assert [short(c.name) for c in seen(edge() + rule()).clusters] == ["BlackHoleCluster", "a:9080"]


def test_the_port_a_rule_leaves_open_is_the_service_s_only_one() -> None:
    found = seen(edge() + rule(rest="http: [{route: [{destination: {host: a}}]}]"))
    assert [shares(r) for r in routes(found, "*:80", "http.80")] == [{"a:9080": 1}]


def test_without_rules_every_request_is_unknown() -> None:
    found = seen(edge())
    assert [(h.name, h.domains, h.routes) for h in table(found, "http.80").virtual_hosts] == [("blackhole:80", ("*",), ())]


def test_only_gateways_whose_selector_picks_the_proxy() -> None:
    assert seen(edge(selector="istio: other") + rule()).listeners == ()
    assert len(seen(edge(selector="istio: other") + rule(), istio="other", more="x").listeners) == 1


@pytest.mark.parametrize(
    ("server", "host", "common"),
    [
        ('"*"', "a.example.com", "a.example.com"),
        ('"*.example.com"', "a.example.com", "a.example.com"),
        ("a.example.com", '"*"', "a.example.com"),
        ("a.example.com", '"*.example.com"', "a.example.com"),
        ("a.example.com", "b.example.com", None),
        ("default/a.example.com", "a.example.com", "a.example.com"),
        ("./a.example.com", "a.example.com", "a.example.com"),
        ('"*/a.example.com"', "a.example.com", "a.example.com"),
        ("other/a.example.com", "a.example.com", None),
    ],
)
def test_hosts_of_both_must_meet(server: str, host: str, common: str | None) -> None:
    text = edge(HTTP.replace('"*"', server)) + rule(hosts=host)
    expected = {f"{common}:80": (common,)} if common else {"blackhole:80": ("*",)}
    assert {h.name: h.domains for h in table(seen(text), "http.80").virtual_hosts} == expected
    told = warnings(built(text, A), "VirtualService/v")
    assert bool(told) is (common is None)
    if told:
        assert "Gateway default/edge (rules.yaml:3) serves none of the hosts" in told[0]


def test_rules_must_name_the_gateway() -> None:
    assert list(hosts(seen(edge() + rule(gateways="other")), "http.80")) == ["blackhole:80"]
    assert "Gateway default/other does not exist" in warnings(built(edge() + rule(gateways="other"), A), "VirtualService/v")[0]
    assert list(hosts(seen(edge() + rule(namespace="shop", gateways="default/edge")), "http.80")) == ["*:80"]
    assert list(hosts(seen(edge() + rule(namespace="shop", gateways="edge")), "http.80")) == ["blackhole:80"]


def test_rules_must_be_exported_to_the_gateway_s_namespace() -> None:
    assert list(hosts(seen(edge() + rule() + '  exportTo: ["."]'), "http.80")) == ["blackhole:80"]
    assert list(hosts(seen(edge() + rule() + "  exportTo: [istio-system]"), "http.80")) == ["*:80"]


def test_rules_for_one_host_are_joined_and_those_for_everything_go_last() -> None:
    all_, some = rule("all"), rule("some", to="b", rest="http: [{name: s, match: [{uri: {exact: /b}}], route: [{destination: {host: b}}]}]")
    found = seen(edge() + all_ + some + rule("late", to="b"))
    assert [r.name for r in routes(found, "*:80", "http.80")] == ["s", "all"]
    assert [s.source.key.name for s in hosts(found, "http.80")["*:80"].skipped] == ["late"]


def test_conditions_on_gateway_and_port() -> None:
    rest = """http:
  - {name: p81, match: [{port: 81}], directResponse: {status: 201}}
  - {name: mesh, match: [{gateways: [mesh]}], directResponse: {status: 202}}
  - {name: here, match: [{port: 80, gateways: [edge]}], directResponse: {status: 203}}
  - {name: labels, match: [{sourceLabels: {a: b}}], directResponse: {status: 204}}
"""
    assert [r.name for r in routes(seen(edge() + rule(hosts="a.com", gateways="edge, mesh", rest=rest)), "a.com:80", "http.80")] == ["here"]


def test_servers_of_several_gateways_on_one_port_share_a_listener() -> None:
    text = edge(HTTP.replace('"*"', "a.com")) + edge(HTTP.replace('"*"', "b.com"), name="second")
    found = seen(text + rule(hosts="a.com") + rule("w", hosts="b.com", gateways="second"))
    assert [x.name for x in found.listeners] == ["0.0.0.0_8080"]
    assert sorted(hosts(found, "http.80")) == ["a.com:80", "b.com:80"]
    assert [s.key.name for s in found.listeners[0].sources] == ["edge", "second"]


TCP = '{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}'


def test_tcp_connections_go_by_weight() -> None:
    rest = """tcp:
  - {match: [{port: 1}], route: [{destination: {host: b, port: {number: 9080}}}]}
  - match: [{port: 9000}]
    route:
    - {destination: {host: a, port: {number: 9080}}, weight: 80}
    - {destination: {host: b, port: {number: 9080}}, weight: 20}
"""
    found = seen(edge(TCP) + rule(rest=rest))
    assert [(short(c.cluster), c.weight) for c in tcp(listener(found, "0.0.0.0_9000")).clusters] == [("a:9080", 80), ("b:9080", 20)]


def test_a_tcp_port_without_rule_is_not_opened() -> None:
    assert seen(edge(TCP)).listeners == ()


def test_what_cannot_share_a_port_is_dropped_with_a_word() -> None:
    other = edge('{port: {number: 80, name: tcp, protocol: TCP}, hosts: ["*"]}', name="second")
    text = edge() + other + rule() + rule("w", gateways="second", rest="tcp: [{route: [{destination: {host: a}}]}]")
    found = seen(text)
    assert [type(x.chains[0].serve) for x in found.listeners] == [HttpConnections]
    assert warnings(built(text, A), "Gateway/edge") == []
    assert (
        "left out: TCP cannot share port 80 with HTTP, as Gateway default/edge (rules.yaml:8) has it"
        in (warnings(built(text, A), "Gateway/second")[0])
    )
    twice = edge(f"{TCP}, {TCP.replace('name: tcp', 'name: more')}")
    assert "port 9000 is already served as TCP" in warnings(built(twice, A), "Gateway/edge")[0]


def test_where_each_server_is_served_at_a_proxy() -> None:
    high, secure = HTTP.replace("80, name: http", "8080, name: high"), '{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"]}'
    servers = f"{HTTP}, {high}, {secure}"
    text = edge(servers.replace("HTTPS}, hosts", "HTTPS}, tls: {mode: PASSTHROUGH}, hosts"))
    mesh = built(text, A).mesh
    low, upper, tls = gateway_addresses(mesh, gateway())
    assert (upper.port, upper.dropped) == (8080, "")
    assert (low.declared_port, low.port, low.dropped) == (80, 8080, ""), "HTTP joins HTTP where both must have the same port"
    assert (tls.declared_port, tls.port, tls.dropped) == (443, 8443, "")
    low, upper, _ = gateway_addresses(mesh, gateway(privileged=True))
    assert [(s.port, s.dropped) for s in (low, upper)] == [(80, ""), (8080, "")]
    assert gateway_addresses(mesh, gateway(istio="other")) == ()


def test_a_port_that_is_served_higher_shares_with_the_one_that_was_declared_there() -> None:
    both = edge(f"{HTTP}, {HTTP.replace('80, name: http', '8080, name: high')}")
    assert [x.name for x in seen(both).listeners] == ["0.0.0.0_8080"]
    tcp = HTTP.replace("80, name: http, protocol: HTTP", "8080, name: tcp, protocol: TCP")
    mesh = built(edge(f"{HTTP}, {tcp}"), A).mesh
    assert [s.dropped for s in gateway_addresses(mesh, gateway())] == ["port 8080 of Gateway default/edge is served on 8080 already", ""]


def test_a_server_binds_where_it_is_told() -> None:
    assert [x.name for x in seen(edge(HTTP[:-1] + ", bind: 127.0.0.9}")).listeners] == ["127.0.0.9_8080"]


def test_requests_for_https_only_hosts_are_redirected() -> None:
    server = HTTP.replace('"*"', "a.com, b.com")[:-1] + ", tls: {httpsRedirect: true}}"
    found = hosts(seen(edge(server) + rule(hosts="a.com")), "http.80")
    assert {name: (h.require_tls, len(h.routes)) for name, h in found.items()} == {"a.com:80": (True, 1), "b.com:80": (True, 0)}


@pytest.mark.parametrize(
    ("plain", "servers", "port"),
    [
        (8080, "8443, name: https, protocol: HTTPS", 8443),
        (8080, "443, name: https, protocol: HTTPS", 443),
        (80, "443, name: https, protocol: HTTPS", 0),
        (80, "8443, name: https, protocol: HTTPS", 8443),
        (8080, "8443, name: http, protocol: HTTP", 0),
    ],
)
def test_who_names_a_port_is_redirected_to_the_port_that_serves_the_host_over_tls(plain: int, servers: str, port: int) -> None:
    first = HTTP.replace("80, name: http", f"{plain}, name: plain").replace('"*"', "a.com")[:-1] + ", tls: {httpsRedirect: true}}"
    second = f"{{port: {{number: {servers}}}, hosts: [a.com]" + (", tls: {mode: PASSTHROUGH}}" if "HTTPS" in servers else "}")
    found = hosts(seen(edge(f"{first}, {second}") + rule(hosts="a.com"), privileged=True), f"http.{plain}")[f"a.com:{plain}"]
    ports = [route.action.port for route in found.routes if isinstance(route.action, Redirect)]
    assert (found.require_tls, ports) == ((False, [port, None]) if port else (True, []))


def test_a_gateway_speaks_http_1_where_nothing_is_said_of_a_port() -> None:
    service = """
---
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 9080}]}
"""
    found = cluster(seen(edge() + rule() + service), "a:9080")
    assert found.http
    assert not found.policy.connection_pool.use_client_protocol
