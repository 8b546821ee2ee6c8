"""What is translated does in a real Envoy what it says."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from support.backend import Backend, backend
from support.carried import until
from support.lone_envoy import LoneEnvoy, lone_envoy
from support.running import free_port
from support.views import cluster, endpoints, exact, host, http_listener, route, table, tcp_listener, to, view
from tulle.model.proxy import Node, ProxyView, Role
from tulle.model.routing import (
    Abort,
    Cors,
    Delay,
    DirectResponse,
    Fault,
    Forward,
    HeaderMatch,
    HeaderOps,
    Mirror,
    Redirect,
    RetryPolicy,
    Route,
    RouteMatch,
    WeightedCluster,
)
from tulle.model.service import Endpoint, Resolution
from tulle.model.traffic import Algorithm, HashOn, HashPolicy, LoadBalancer, OutlierDetection, TrafficPolicy
from tulle.translate import Translator
from tulle.translate.static import static_config

pytestmark = pytest.mark.envoy

OPS = HeaderOps(remove=("x-gone",), set=(("x-percent", "100%"), ("x-protocol", "%PROTOCOL%"), ("x-set", "new")), add=(("x-empty", ""),))
EJECT = TrafficPolicy(
    outlier_detection=OutlierDetection(consecutive_5xx=3, interval=timedelta(minutes=1), base_ejection_time=timedelta(minutes=3)),
    load_balancer=LoadBalancer(algorithm=Algorithm.ROUND_ROBIN),
)
HASHED = TrafficPolicy(load_balancer=LoadBalancer(algorithm=Algorithm.RING_HASH, hash=HashPolicy(on=HashOn.HEADER, name="x-user")))


def rules() -> tuple[Route, ...]:
    jason = HeaderMatch(name="end-user", match=exact("jason"))
    not_jason = HeaderMatch(name="end-user", match=exact("jason"), invert=True)
    abort = Fault(abort=Abort(percent=100, http_status=418))
    delay = Fault(delay=Delay(duration=timedelta(milliseconds=300), percent=100))
    retry = RetryPolicy(attempts=2, retry_on=("5xx",), backoff=timedelta(milliseconds=1))
    cors = Cors(allow_origins=(exact("http://shop.example"),), allow_methods=("GET", "PUT"), max_age=timedelta(days=1))
    one = (WeightedCluster(cluster="a", request_headers=HeaderOps(set=(("x-set", "newer"),))),)
    return (
        route("/abort", to("a"), fault=abort),
        route("/delay", to("a"), fault=delay),
        route("/cors", to("a"), cors=cors),
        route("/headers", to("a"), request_headers=OPS, response_headers=HeaderOps(remove=("date",), add=(("x-said", "yes"),))),
        route("/destination-headers", Forward(clusters=one), request_headers=OPS),
        Route(name="jason", match=RouteMatch(path=exact("/who"), headers=(jason,)), action=to("b")),
        Route(name="others", match=RouteMatch(path=exact("/who"), headers=(not_jason,)), action=to("a")),
        route("/redirect", Redirect(status=308, host="moved.example", port=8443, scheme="https", path="/new")),
        route("/direct", DirectResponse(status=418, body=b"a teapot")),
        route("/rewrite", to("a", prefix_rewrite="/rewritten", host_rewrite="other.example")),
        route("/weights", Forward(clusters=(WeightedCluster(cluster="a", weight=90), WeightedCluster(cluster="b", weight=10)))),
        route("/retry", to("a", retry=retry)),
        route("/slow", to("hole", timeout=timedelta(milliseconds=200))),
        route("/mirror", to("a", mirrors=(Mirror(cluster="b"),))),
        route("/nowhere", Forward(clusters=())),
        route("/missing", to("missing")),
        route("/eject", to("both")),
        route("/hash", to("hashed", hash_policies=(HashPolicy(on=HashOn.HEADER, name="x-user"),))),
        route("/by-name", to("by-name", auto_host_rewrite=True)),
        route(None, to("a")),
    )


def tunnelled(*clusters: str) -> Route:
    return route(None, to(*clusters, connect=True))


def everything(a: Backend, b: Backend, hole: int) -> ProxyView:
    anywhere = host("allow_any", tunnelled("anywhere"), route(None, to("anywhere")), domains=("*",))
    shop = host("shop:80", tunnelled("inside"), *rules(), domains=("shop", "shop:80"))
    tcp = host("echo:7", tunnelled("b"), domains=("echo:7",))
    return view(
        http_listener("sidecar", "http_proxy", forward_proxy=True, port=free_port()),
        http_listener("connect_http", "http_proxy", address="", internal=True),
        http_listener("edge", table("edge", host("any", route(None, to("a")), domains=("*",))), edge=True),
        tcp_listener("tcp", "b"),
        tcp_listener("tcp-nowhere"),
        table("http_proxy", shop, tcp, anywhere),
        cluster("a"),
        cluster("b"),
        cluster("both", EJECT),
        cluster("hashed", HASHED),
        cluster("hole", endpoints=(Endpoint(address="127.0.0.1", port=hole),)),
        cluster("by-name", resolution=Resolution.DNS, endpoints=(Endpoint(address="localhost", port=a.port),)),
        cluster("anywhere", resolution=Resolution.DYNAMIC_DNS),
        cluster("inside", internal_listener="connect_http", http=False),
        endpoints("a", a.port),
        endpoints("b", b.port),
        endpoints("both", a.port, b.port),
        endpoints("hashed", a.port, b.port),
    )


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def saw(self) -> dict[str, Any]:
        """What the backend says that it was asked."""
        said: dict[str, Any] = json.loads(self.body)
        return said


@dataclass
class Proxy:
    envoy: LoneEnvoy
    a: Backend
    b: Backend

    def ask(self, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", at: str = "sidecar") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.envoy.port(at), timeout=60)
        try:
            connection.request(method, path, headers={"host": "shop", **(headers or {})})
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def through_tunnel(self, target: str, path: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.envoy.port("sidecar"), timeout=60)
        name, _, port = target.partition(":")
        connection.set_tunnel(name, int(port))
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with backend("a") as a, backend("b") as b, socket.create_server(("127.0.0.1", 0)) as hole:
        snapshot = Translator().snapshot(everything(a, b, hole.getsockname()[1]))
        assert snapshot.problems() == ("route table 'http_proxy' names cluster 'missing', which is not there",)
        config = static_config(snapshot, Node(id="sidecar~test", role=Role.SIDECAR))
        with lone_envoy(config, tmp_path_factory.mktemp("envoy")) as envoy:
            yield Proxy(envoy, a, b)


def test_faults_hit_only_the_route_that_asks_for_them(proxy: Proxy) -> None:
    assert (proxy.ask("/abort").status, proxy.ask("/").status) == (418, 200)
    start = time.monotonic()
    assert proxy.ask("/delay").status == 200
    assert time.monotonic() - start >= 0.29, "Envoy's timers count whole milliseconds"


def test_cors(proxy: Proxy) -> None:
    preflight = {"origin": "http://shop.example", "access-control-request-method": "PUT"}
    answer = proxy.ask("/cors", preflight, method="OPTIONS")
    assert answer.headers["access-control-allow-origin"] == "http://shop.example"
    assert answer.headers["access-control-allow-methods"] == "GET,PUT"
    assert answer.headers["access-control-max-age"] == "86400"
    assert "access-control-allow-origin" not in proxy.ask("/", preflight).headers


def test_header_operations(proxy: Proxy) -> None:
    answer = proxy.ask("/headers", {"x-gone": "1", "x-set": "old"})
    seen = answer.saw["headers"]
    assert "x-gone" not in seen
    assert {name: seen[name] for name in ("x-percent", "x-protocol", "x-set", "x-empty")} == {
        "x-percent": "100%",
        "x-protocol": "HTTP/1.1",
        "x-set": "new",
        "x-empty": "",
    }
    assert answer.headers["x-said"] == "yes"
    assert proxy.ask("/destination-headers").saw["headers"]["x-set"] == "newer"


def test_a_missing_header_satisfies_an_inverted_match(proxy: Proxy) -> None:
    assert proxy.ask("/who", {"end-user": "jason"}).saw["name"] == "b"
    assert proxy.ask("/who", {"end-user": "mary"}).saw["name"] == "a"
    assert proxy.ask("/who").saw["name"] == "a"


def test_answers_without_an_upstream(proxy: Proxy) -> None:
    redirect = proxy.ask("/redirect?x=1")
    assert (redirect.status, redirect.headers["location"]) == (308, "https://moved.example:8443/new?x=1")
    direct = proxy.ask("/direct")
    assert (direct.status, direct.body) == (418, b"a teapot")
    assert proxy.ask("/nowhere").status == 503
    assert proxy.ask("/missing").status == 503


def test_rewrites(proxy: Proxy) -> None:
    saw = proxy.ask("/rewrite").saw
    assert (saw["path"], saw["headers"]["host"]) == ("/rewritten", "other.example")
    assert proxy.ask("/by-name").saw["headers"]["host"].startswith("localhost")


def test_weights(proxy: Proxy) -> None:
    hits = Counter(proxy.ask("/weights").saw["name"] for _ in range(200))
    assert 155 <= hits["a"] <= 198


def test_retries_and_timeouts(proxy: Proxy) -> None:
    assert proxy.ask("/retry", {"x-fail": "twice/2/503"}).saw["headers"]["x-envoy-attempt-count"] == "3"
    assert proxy.ask("/retry", {"x-fail": "thrice/3/503"}).status == 503
    assert proxy.ask("/slow").status == 504


def test_mirrors_get_a_copy_with_a_host_of_its_own(proxy: Proxy) -> None:
    assert proxy.ask("/mirror").saw["name"] == "a"
    assert proxy.b.wait_for("/mirror")["headers"]["host"] == "shop-shadow"


def test_an_endpoint_that_fails_is_ejected_even_where_it_is_half_of_all(proxy: Proxy) -> None:
    def asked(times: int) -> list[int]:
        return [proxy.ask("/eject", {"x-fail-at": "b"}).status for _ in range(times)]

    assert sorted(asked(6)) == [200] * 3 + [500] * 3
    until(lambda: proxy.envoy.counter("cluster.both.outlier_detection.ejections_active") == 1)
    assert asked(14) == [200] * 14


def test_a_hash_keeps_a_user_at_one_endpoint(proxy: Proxy) -> None:
    seen = {user: {proxy.ask("/hash", {"x-user": user}).saw["name"] for _ in range(3)} for user in map(str, range(32))}
    assert all(len(names) == 1 for names in seen.values())
    assert len(set.union(*seen.values())) == 2


def test_an_absolute_address_of_a_service_is_routed_by_its_host(proxy: Proxy) -> None:
    saw = proxy.ask("http://shop/plain", {"host": "ignored"}).saw
    assert (saw["name"], saw["path"], saw["headers"]["host"]) == ("a", "/plain", "shop")


def test_hosts_outside_the_mesh_are_dialled(proxy: Proxy) -> None:
    assert proxy.ask(f"http://localhost:{proxy.b.port}/out").saw["name"] == "b"
    assert proxy.through_tunnel(f"localhost:{proxy.b.port}", "/tunnel-out").saw["name"] == "b"


def test_the_forward_proxy_does_not_dial_itself(proxy: Proxy) -> None:
    own = proxy.envoy.port("sidecar")
    before = proxy.envoy.counter("cluster.anywhere.upstream_cx_total")
    answers = [proxy.ask("/", {"host": f"{name}:{own}"}).status for name in ("127.0.0.1", "LocalHost", "[::1]", "127.1.2.3")]
    assert answers == [403] * 4
    assert proxy.envoy.counter("cluster.anywhere.upstream_cx_total") == before


def test_tunnels_into_the_mesh(proxy: Proxy) -> None:
    inside = proxy.through_tunnel("shop:80", "/rewrite")
    assert inside.saw["path"] == "/rewritten", "requests inside a tunnel are routed like all others"
    assert proxy.through_tunnel("echo:7", "/raw").saw["name"] == "b"


def test_tcp(proxy: Proxy) -> None:
    saw = proxy.ask("/tcp", at="tcp").saw
    assert saw["name"] == "b"
    assert "x-request-id" not in saw["headers"]
    with socket.create_connection(("127.0.0.1", proxy.envoy.port("tcp-nowhere")), timeout=60) as connection:
        assert connection.recv(1) == b""


def test_websocket_upgrades_pass(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.envoy.port("edge")), timeout=60) as connection:
        connection.sendall(b"GET /ws HTTP/1.1\r\nhost: shop\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n")
        stream = connection.makefile("rb")
        assert stream.readline() == b"HTTP/1.1 101 Switching Protocols\r\n"
        while stream.readline() != b"\r\n":
            pass
        connection.sendall(b"frames\n")
        assert stream.readline() == b"frames\n"


def test_the_edge_writes_forwarding_headers_itself(proxy: Proxy) -> None:
    said = {"x-forwarded-for": "8.8.8.8", "x-envoy-retry-on": "5xx"}
    edge, within = proxy.ask("/", said, at="edge"), proxy.ask("/", said)
    assert edge.saw["headers"]["x-forwarded-for"].startswith("8.8.8.8,")
    assert "x-envoy-retry-on" not in edge.saw["headers"]
    assert within.saw["headers"]["x-forwarded-for"] == "8.8.8.8"
    assert edge.saw["headers"]["x-request-id"]
    assert edge.headers["server"] == "istio-envoy"


def test_paths_are_made_normal(proxy: Proxy) -> None:
    assert proxy.ask("/a/../direct").status == 418
    assert proxy.ask("/a//b%2Fc").saw["path"] == "/a//b%2Fc"
