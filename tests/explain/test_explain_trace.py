"""What explanations say, from documents: every rule tried, why it lost or won, and where it stands."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tulle.compile import build
from tulle.compile.explain import Request, UnusableRequestError, explain, explain_request
from tulle.model.frozen import FrozenMap
from tulle.model.mesh import Inputs
from tulle.model.proxy import InboundPort, Node, Role, Upstream
from tulle.model.service import Protocol, RegisteredPort, Registration
from tulle.resources.read import read

DOCUMENTS = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: jason
    match:
    - headers: {end-user: {exact: jason}}
    route:
    - destination: {host: reviews, subset: v2}
  - match:
    - uri: {prefix: /old/}
    rewrite: {uri: /, authority: new}
    timeout: 3s
    headers: {request: {set: {x-old: "yes"}, remove: [x-gone]}}
    fault: {delay: {fixedDelay: 5s, percentage: {value: 50}}}
    route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
  - match:
    - uri: {exact: /away}
    redirect: {authority: far.example, redirectCode: 302}
  - match:
    - uri: {exact: /stop}
    fault: {abort: {httpStatus: 418, percentage: {value: 100}}}
    route:
    - destination: {host: reviews}
  - match:
    - uri: {exact: /said}
    directResponse: {status: 503, body: {string: not now}}
  - match:
    - sourceLabels: {app: other}
    route:
    - destination: {host: reviews}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: [shop.example]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop.example]
  gateways: [front]
  http:
  - route:
    - destination: {host: reviews}
"""
LABELS = FrozenMap({"app": "web"})
UPSTREAMS = (Upstream(host="redis", port=6379, bind_port=16379), Upstream(host="reviews", port=9080, bind_port=19080))
SIDECAR = Node(
    id="sidecar~web",
    role=Role.SIDECAR,
    labels=LABELS,
    http_proxy=("127.0.0.1", 15001),
    upstreams=UPSTREAMS,
    inbound=(InboundPort(service_port=8080, listen=28080, target=8080),),
)
GATEWAY = Node(id="gateway~g", role=Role.GATEWAY, namespace="istio-system", labels=FrozenMap({"istio": "ingressgateway"}))


def _instance(service: str, version: str, number: int, target: int, protocol: Protocol = Protocol.HTTP) -> Registration:
    labels = FrozenMap({"app": service, "version": version})
    ports = (RegisteredPort(number=number, target=target, protocol=protocol),)
    return Registration(id=f"{service}-{version}", service=service, ports=ports, labels=labels)


INSTANCES = (
    _instance("reviews", "v1", 9080, 1001),
    _instance("reviews", "v2", 9080, 1002),
    _instance("redis", "v1", 6379, 1003, Protocol.TCP),
)
_READ = read(DOCUMENTS, "shop.yaml")
MESH = build(
    Inputs(
        resources={r.key: replace(r, created=n) for n, r in enumerate(_READ.resources)},
        registrations={r.id: r for r in INSTANCES},
    )
).mesh


def ask(url: str, node: Node = SIDECAR, **more: Any) -> dict[str, Any]:
    return explain(MESH, node, Request(url=url, **more)).to_dict()


def steps(trace: dict[str, Any]) -> list[tuple[str, str, bool, str]]:
    return [(s["rule"], s.get("source", ""), s["matched"], s["why"]) for s in trace["steps"] if s["rule"].startswith("VirtualService/")]


def test_the_documents_are_good() -> None:
    assert not _READ.violations


def test_every_rule_tried_with_its_place() -> None:
    trace = ask("http://reviews:9080/old/x?q=1", headers=(("x-gone", "1"),))
    assert steps(trace) == [
        ("VirtualService/reviews spec.http[0].match[0]", "shop.yaml:18", False, 'header end-user is absent, exact "jason" wanted'),
        ("VirtualService/reviews spec.http[1].match[0]", "shop.yaml:22", True, 'path "/old/x" starts with "/old/"'),
        ("VirtualService/reviews spec.http[5].match[0]", "shop.yaml:42", False, trace["steps"][-1]["why"]),
    ]
    assert trace["steps"][-1]["why"].startswith("not in force: ")
    assert trace["listener"] == "127.0.0.1_15001"
    assert trace["route_config"] == "http_proxy"
    assert trace["virtual_host"] == "reviews.default.svc.cluster.local:9080"
    assert trace["route"] == "VirtualService/reviews spec.http[1].match[0]"
    assert trace["policies"]["timeout"] == "3s"
    assert trace["policies"]["fault"] == {"delay": {"duration": "5s", "percent": 50.0}}
    change = {"host": "new", "path": "/x?q=1", "headers": {"x-old": "yes", "x-gone": None}}
    assert trace["weighted_clusters"] == [
        {
            "name": f"outbound|9080|{version}|reviews.default.svc.cluster.local",
            "weight": weight,
            "endpoints": [{"address": f"127.0.0.1:{port}", "workload": f"reviews-{version}", "health": "passing"}],
            "rewritten": change,
        }
        for version, weight, port in (("v1", 90, 1001), ("v2", 10, 1002))
    ]
    assert not {"cluster", "endpoints", "direct_response", "redirect", "rewritten"} & trace.keys()


def test_a_single_cluster() -> None:
    trace = ask("http://reviews.default:9080/", headers=(("End-User", "jason"),))
    assert trace["route"] == "jason"
    assert trace["cluster"] == "outbound|9080|v2|reviews.default.svc.cluster.local"
    assert trace["endpoints"] == [{"address": "127.0.0.1:1002", "workload": "reviews-v2", "health": "passing"}]
    assert not {"weighted_clusters", "rewritten", "redirect", "direct_response", "allowed"} & trace.keys()
    assert steps(trace)[0][2:] == (True, 'header end-user is "jason", exact "jason" wanted')


def test_answers_of_the_proxy_itself() -> None:
    assert ask("http://reviews:9080/away?x=1")["redirect"] == {"status": 302, "location": "http://far.example/away?x=1"}
    assert ask("http://reviews:9080/stop")["direct_response"] == {"status": 418, "body": "fault filter abort"}
    assert ask("http://reviews:9080/said")["direct_response"] == {"status": 503, "body": "not now"}
    lost = ask("http://reviews:9080/none")
    assert lost["direct_response"] == {"status": 404, "body": ""}
    assert lost["steps"][-1]["why"] == "none of its routes takes the request: answered 404"
    bad = ask("http://re_views:9080/")
    assert bad["direct_response"] == {"status": 400, "body": "Bad Request"}
    assert "answered 400 before any route is tried" in bad["steps"][-1]["why"]


def test_grpc_callers_get_a_grpc_status() -> None:
    trace = ask("http://reviews:9080/said", method="POST", headers=(("content-type", "application/grpc"),))
    assert trace["direct_response"] == {"status": 200, "body": "not now", "grpc_status": 14}


def test_hosts_outside_the_mesh() -> None:
    trace = ask("http://api.example/x")
    assert (trace["virtual_host"], trace["cluster"]) == ("allow_any", "AllowAnyDynamicDNSCluster")
    assert trace["steps"][-1]["why"] == "the very host that is asked for is looked up and called"
    assert ask("https://api.example/x")["cluster"] == "AllowAnyDynamicDNSCluster"


def test_a_tunnel_to_an_http_port_leads_to_the_rules() -> None:
    trace = ask("http://reviews:9080/", method="CONNECT")
    assert trace["route"] == "connect"
    assert "routed there one by one" in trace["steps"][-1]["why"]


def test_a_gateway_by_its_declared_and_its_bound_port() -> None:
    for url in ("http://shop.example/", "http://shop.example:8080/"):
        trace = ask(url, GATEWAY)
        assert trace["listener"] == "0.0.0.0_8080"
        assert trace["cluster"] == "outbound|9080||reviews.default.svc.cluster.local"
    trace = ask("http://127.0.0.1:8080/", GATEWAY, headers=(("Host", "shop.example"),))
    assert trace["virtual_host"] == "shop.example:80"
    assert ask("http://other.example/", GATEWAY)["direct_response"]["status"] == 404


def test_other_listeners_by_address() -> None:
    trace = ask("http://anything/", connect_to=("127.0.0.1", 16379))
    assert trace["cluster"] == "outbound|6379||redis.default.svc.cluster.local"
    assert trace["steps"][-1]["why"] == "the listener passes whole connections on and does not look at requests"
    assert ask("http://anything/away", connect_to=("127.0.0.1", 19080))["redirect"]["location"] == "http://far.example/away"
    inbound = ask("http://anything/", connect_to=("127.0.0.1", 28080))
    assert inbound["cluster"] == "inbound|8080||"
    assert inbound["endpoints"][0]["address"] == "127.0.0.1:8080"


@pytest.mark.parametrize(
    ("node", "request_", "message"),
    [
        (SIDECAR, {"url": "tcp://redis"}, "write tcp://host:port"),
        (SIDECAR, {"url": "udp://redis:6379"}, "has no upstream for redis:6379/udp"),
        (SIDECAR, {"url": "reviews"}, "is not a URL that can be explained"),
        (SIDECAR, {"url": "http://x:99999/"}, "is not a URL"),
        (GATEWAY, {"url": "https://shop.example/"}, "no listener for port 443"),
        (GATEWAY, {"url": "http://shop.example:81/"}, "the gateway has no listener for port 81; listeners: 0.0.0.0:8080"),
        (SIDECAR, {"url": "http://x/", "connect_to": ("127.0.0.1", 1)}, "nothing listens on 127.0.0.1:1; listeners: "),
        (replace(SIDECAR, http_proxy=None), {"url": "http://x/"}, "has no forward proxy; name one of its listeners with --connect-to"),
    ],
)
def test_what_cannot_be_explained_says_what_to_do(node: Node, request_: dict[str, Any], message: str) -> None:
    with pytest.raises(UnusableRequestError) as error:
        explain(MESH, node, Request(**request_))
    assert message in str(error.value)


def test_the_body_of_the_api() -> None:
    payload = {"url": "http://reviews:9080/", "headers": [["end-user", "jason"]], "connect_to": "127.0.0.1:15001"}
    assert explain_request(MESH, SIDECAR, payload) == ask("http://reviews:9080/", headers=(("end-user", "jason"),))
    assert explain_request(MESH, SIDECAR, {**payload, "headers": {"end-user": "jason"}})["route"] == "jason"


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, "the request needs a url"),
        ({"url": "http://x/", "method": 1}, "method, where given, is a text"),
        ({"url": "http://x/", "headers": ["a: b"]}, "headers are a list of [name, value] pairs"),
        ({"url": "http://x/", "headers": 1}, "headers are a list"),
        ({"url": "http://x/", "connect_to": "here"}, "'here' is not an address"),
        ({"url": "http://x/", "sni": 1}, "sni, where given, is a text"),
        ({"url": "http://x/", "alpn": ["h2"]}, "alpn, where given, is a text"),
        ({"url": "http://x/", "source": "x"}, "is neither an IP address nor"),
    ],
)
def test_a_bad_body(payload: dict[str, Any], message: str) -> None:
    with pytest.raises(UnusableRequestError) as error:
        explain_request(MESH, SIDECAR, payload)
    assert message in str(error.value)
