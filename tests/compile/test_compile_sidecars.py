"""What a sidecar is to do: its workload's ports, the forward proxy, upstreams, and what it may see."""

from __future__ import annotations

import pytest

from support.compiled import (
    built,
    cluster,
    forward,
    hosts,
    instance,
    listener,
    problems,
    routes,
    shares,
    short,
    sidecar,
    table,
    tcp,
    warnings,
)
from tulle.compile import view
from tulle.model.mesh import MeshSettings
from tulle.model.proxy import Direction, HttpConnections, InboundPort, Node, ProxyView, Role, Upstream
from tulle.model.routing import DirectResponse, RetryPolicy, RouteTable
from tulle.model.service import Endpoint, Protocol, Resolution

INSTANCES = (instance("a"), instance("redis", number=6379, protocol=Protocol.REDIS, name="redis"))


def seen(text: str = "", node: Node | None = None, settings: MeshSettings | None = None) -> ProxyView:
    found = view(built(text, *INSTANCES, settings=settings).mesh, node or sidecar())
    assert not problems(found)
    return found


def inbound(protocol: Protocol) -> ProxyView:
    return seen(node=sidecar(inbound=(InboundPort(service_port=9080, listen=30000, target=8000, protocol=protocol),)))


def test_an_http_port_of_the_workload() -> None:
    found = inbound(Protocol.HTTP)
    here = listener(found, "127.0.0.1_30000")
    assert (here.address, here.port, here.direction) == ("127.0.0.1", 30000, Direction.INBOUND)
    serve = here.chains[0].serve
    assert isinstance(serve, HttpConnections)
    assert isinstance(serve.routes, RouteTable)
    assert serve.routes.name == "inbound|9080||"
    (route,) = serve.routes.virtual_hosts[0].routes
    assert forward(route).retry == RetryPolicy(attempts=2, retry_on=("reset-before-request",))
    assert forward(route).timeout is None
    to = cluster(found, "inbound|9080||")
    assert to.endpoints == (Endpoint(address="127.0.0.1", port=8000),)
    assert (to.http, to.http2, to.policy.connection_pool.use_client_protocol) == (True, False, True)


def test_a_grpc_port_of_the_workload_is_never_tried_twice() -> None:
    found = inbound(Protocol.GRPC)
    serve = listener(found, "127.0.0.1_30000").chains[0].serve
    assert isinstance(serve, HttpConnections)
    assert isinstance(serve.routes, RouteTable)
    assert forward(serve.routes.virtual_hosts[0].routes[0]).retry is None
    assert cluster(found, "inbound|9080||").http2


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.REDIS, Protocol.HTTPS])
def test_other_ports_of_the_workload_pass_bytes(protocol: Protocol) -> None:
    found = inbound(protocol)
    assert [c.cluster for c in tcp(listener(found, "127.0.0.1_30000")).clusters] == ["inbound|9080||"]
    assert not cluster(found, "inbound|9080||").http


def test_the_forward_proxy_s_listener() -> None:
    found = listener(seen(), "127.0.0.1_15001")
    serve = found.chains[0].serve
    assert isinstance(serve, HttpConnections)
    assert (serve.routes, serve.forward_proxy, found.direction) == ("http_proxy", True, Direction.OUTBOUND)


def test_a_sidecar_without_forward_proxy_has_no_table() -> None:
    plain = Node(id="x", role=Role.SIDECAR)
    assert seen(node=plain).route_tables == ()


def test_a_service_is_called_by_all_its_forms() -> None:
    full = "a.default.svc.cluster.local"
    near = hosts(seen())[f"{full}:9080"].domains
    assert near == (f"{full}:9080", "a.default.svc:9080", "a.default:9080", "a:9080")
    far = hosts(seen(node=sidecar("other")))[f"{full}:9080"].domains
    assert far == (f"{full}:9080", "a.default.svc:9080", "a.default:9080")


def test_connect_to_http_is_routed_like_http_and_other_bytes_go_straight() -> None:
    found = seen()
    http, raw = (hosts(found)[f"{name}.default.svc.cluster.local:{port}"].routes[0] for name, port in (("a", 9080), ("redis", 6379)))
    for route in (http, raw):
        assert forward(route).connect
        (header,) = route.match.headers
        assert (header.name, header.match and header.match.value) == (":method", "CONNECT")
    assert shares(http) == {"connect_http": 1}
    assert shares(raw) == {"redis:6379": 1}
    assert cluster(found, "connect_http").internal_listener == "connect_http"
    inner = listener(found, "connect_http").chains[0].serve
    assert isinstance(inner, HttpConnections)
    assert (inner.routes, inner.internal) == ("http_proxy", True)
    assert len(hosts(found)["redis.default.svc.cluster.local:6379"].routes) == 1


def test_unknown_hosts_are_dialled_or_refused() -> None:
    found = seen()
    assert [shares(r) for r in hosts(found)["allow_any"].routes] == [{"AllowAnyDynamicDNSCluster": 1}] * 2
    assert cluster(found, "AllowAnyDynamicDNSCluster").resolution is Resolution.DYNAMIC_DNS
    refused = hosts(seen(settings=MeshSettings(allow_any=False)))["block_all"]
    assert refused.domains == ("*",)
    assert [r.action for r in refused.routes] == [DirectResponse(status=502)]


def test_a_rule_for_all_other_hosts_takes_the_place_of_the_catch_all() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: all}
spec: {hosts: ["*.example.com"], http: [{directResponse: {status: 418}}]}
"""
    assert hosts(seen(text))["*.example.com:80"].domains == ("*.example.com", "*.example.com:80")


def test_a_short_form_that_is_another_service_s_full_name_is_left_to_it() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec: {hosts: [a.default], resolution: DNS, ports: [{number: 9080, name: http, protocol: HTTP}]}
"""
    found = hosts(seen(text))
    assert "a.default:9080" in found["a.default:9080"].domains
    assert "a.default:9080" not in found["a.default.svc.cluster.local:9080"].domains


def upstream(host: str, port: int, bind_port: int = 16379) -> Node:
    return sidecar(upstreams=(Upstream(host=host, port=port, bind_port=bind_port),))


@pytest.mark.parametrize("host", ["redis", "redis.default", "redis.default.svc", "redis.default.svc.cluster.local"])
def test_an_upstream_to_a_tcp_service(host: str) -> None:
    found = listener(seen(node=upstream(host, 6379)), "127.0.0.1_16379")
    assert [short(c.cluster) for c in tcp(found).clusters] == ["redis:6379"]


def test_an_upstream_to_an_http_service_follows_its_rules() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{name: mine, route: [{destination: {host: a}}]}]}
"""
    found = seen(text, upstream("a.default.svc.cluster.local", 9080))
    assert [h.domains for h in table(found, "127.0.0.1_16379").virtual_hosts] == [("*",)]
    assert [r.name for r in table(found, "127.0.0.1_16379").virtual_hosts[0].routes] == ["mine"]


@pytest.mark.parametrize(("host", "port"), [("nowhere", 6379), ("redis", 1)])
def test_an_upstream_to_nowhere_closes_connections(host: str, port: int) -> None:
    found = listener(seen(node=upstream(host, port)), "127.0.0.1_16379")
    assert [c.cluster for c in tcp(found).clusters] == ["BlackHoleCluster"]


def test_tcp_rules_for_an_upstream() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: redis}
spec:
  hosts: [redis]
  tcp:
  - {match: [{port: 1}], route: [{destination: {host: a}}]}
  - {match: [{sourceLabels: {app: x}}], route: [{destination: {host: a}}]}
  - route: [{destination: {host: redis}, weight: 1}, {destination: {host: a}, weight: 2}, {destination: {host: nowhere}, weight: 3}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: redis}
spec: {host: redis, trafficPolicy: {connectionPool: {tcp: {idleTimeout: 9s}}, loadBalancer: {consistentHash: {useSourceIp: true}}}}
"""
    found = seen(text, upstream("redis", 6379))
    serve = tcp(listener(found, "127.0.0.1_16379"))
    assert {short(c.cluster): c.weight for c in serve.clusters} == {"redis:6379": 1, "a:9080": 2, "BlackHoleCluster": 3}
    assert serve.idle_timeout is not None
    assert serve.hash_policy is not None
    (connect,) = hosts(found)["redis.default.svc.cluster.local:6379"].routes
    assert shares(connect) == {"redis:6379": 1, "a:9080": 2, "BlackHoleCluster": 3}
    assert "its connections are closed" in warnings(built(text, *INSTANCES), "VirtualService/redis")[0]


SIDECAR = """
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  {spec}
"""


def named(text: str, namespace: str = "default", **labels: str) -> list[str]:
    """The services in the forward proxy's table, without their domain."""
    mesh = built(text, *INSTANCES, instance("b", namespace="other"), instance("c", namespace="third")).mesh
    found = view(mesh, sidecar(namespace, **labels))
    assert not problems(found)
    return sorted(h.name.replace(".svc.cluster.local", "") for h in table(found).virtual_hosts)


def scoped(hosts_: str, name: str = "default", namespace: str = "default", more: str = "") -> str:
    return SIDECAR.format(name=name, namespace=namespace, spec=f"egress: [{{hosts: [{hosts_}]}}]\n  {more}")


@pytest.mark.parametrize(
    ("hosts_", "expected"),
    [
        ('"./*"', ["a.default:9080", "allow_any", "redis.default:6379"]),
        ('"*/*"', ["a.default:9080", "allow_any", "b.other:9080", "c.third:9080", "redis.default:6379"]),
        ('"other/*"', ["allow_any", "b.other:9080"]),
        ('"./a.default.svc.cluster.local", "third/*"', ["a.default:9080", "allow_any", "c.third:9080"]),
        ('"other/a.default.svc.cluster.local"', ["allow_any"]),
        ('"~/*"', ["allow_any"]),
    ],
)
def test_what_a_sidecar_resource_lets_its_workloads_see(hosts_: str, expected: list[str]) -> None:
    assert named(scoped(hosts_)) == expected


def test_which_sidecar_resource_holds() -> None:
    chosen = scoped('"third/*"', "chosen", more="workloadSelector: {labels: {app: x}}")
    own, root = scoped('"other/*"'), scoped('"./*"', "root", "istio-system")
    assert named(root + own + chosen, app="x") == ["allow_any", "c.third:9080"]
    assert named(root + own + chosen, app="y") == ["allow_any", "b.other:9080"]
    assert named(root + chosen, app="y") == ["a.default:9080", "allow_any", "redis.default:6379"]
    assert named(root, "other") == ["allow_any", "b.other:9080"]


def test_a_second_default_sidecar_resource_is_told() -> None:
    result = built(scoped('"./*"') + scoped('"other/*"', "late"))
    assert warnings(result, "Sidecar/default") == []
    assert "not in force: Sidecar default (rules.yaml:3) is for the same workloads, and older" in warnings(result, "Sidecar/late")[0]


@pytest.mark.parametrize(("mode", "name"), [("REGISTRY_ONLY", "block_all"), ("ALLOW_ANY", "allow_any")])
def test_a_sidecar_resource_decides_on_unknown_hosts(mode: str, name: str) -> None:
    text = scoped('"~/*"', more=f"outboundTrafficPolicy: {{mode: {mode}}}")
    assert named(text) == [name]


def test_what_a_visible_rule_sends_to_is_reachable_though_not_listed() -> None:
    text = (
        scoped('"./*"')
        + """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: b.other.svc.cluster.local}}]}]}
"""
    )
    found = view(built(text, *INSTANCES, instance("b", namespace="other")).mesh, sidecar())
    assert not problems(found)
    assert [shares(r) for r in routes(found, "a:9080")] == [{"b.other.svc.cluster.local:9080": 1}]
    assert "b.other.svc.cluster.local:9080" not in hosts(found)


def test_a_hidden_upstream_leads_nowhere() -> None:
    found = listener(seen(scoped('"other/*"'), upstream("redis", 6379)), "127.0.0.1_16379")
    assert [c.cluster for c in tcp(found).clusters] == ["BlackHoleCluster"]


def test_services_that_are_not_exported_are_not_seen() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: x, namespace: other}
spec: {hosts: [x.com], exportTo: ["."], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
"""
    assert "x.com:80" not in named(text)
    assert "x.com:80" in named(text, "other")
