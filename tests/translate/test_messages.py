"""What the goldens do not reach: odd values, and choices that users cannot make yet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from support.views import cluster, endpoints, host, http_listener, route, source, tcp_listener, to, view
from tulle.model.identity import Locality
from tulle.model.proxy import Direction, EndpointGroup, FilterChain, Listener, Node, Role, TcpConnections
from tulle.model.routing import Compare, HeaderOps, Route, RouteMatch, StringMatch, WeightedCluster
from tulle.model.service import Endpoint, Health, Resolution
from tulle.model.traffic import Algorithm, ConnectionPool, HashOn, HashPolicy, LoadBalancer, OutlierDetection, TcpKeepalive, TrafficPolicy
from tulle.protos import library, to_dict
from tulle.translate import Snapshot, Translator, clusters, listeners, routes
from tulle.translate.endpoints import assignment, load_assignment
from tulle.translate.filters import own_address
from tulle.translate.headers import header_ops, literal_percents
from tulle.translate.matches import route_match
from tulle.translate.routes import config_path, varint
from tulle.translate.static import static_config
from tulle.translate.values import duration, fraction


def made(name: str = "a", **more: Any) -> dict[str, Any]:
    return to_dict(clusters.cluster(cluster(name, **more)))


def policy(**more: Any) -> TrafficPolicy:
    return TrafficPolicy(**more)


def http_options(fields: dict[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = fields["typed_extension_protocol_options"][clusters.HTTP_OPTIONS]
    return options


@pytest.mark.parametrize(
    ("given", "seconds", "nanos"),
    [
        (timedelta(seconds=1.5), 1, 500_000_000),
        (timedelta(days=2), 172_800, 0),
        (timedelta(microseconds=1), 0, 1000),
        (timedelta(), 0, 0),
    ],
)
def test_durations(given: timedelta, seconds: int, nanos: int) -> None:
    assert duration(given) == {"seconds": seconds, "nanos": nanos}


@pytest.mark.parametrize(("percent", "numerator"), [(100, 1_000_000), (0, 0), (0.0001, 1), (33.3333, 333_333), (250, 1_000_000), (-1, 0)])
def test_fractions(percent: float, numerator: int) -> None:
    assert fraction(percent) == {"numerator": numerator, "denominator": "MILLION"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("100%", "100%%"),
        ("100%%", "100%%"),
        ("%PROTOCOL%", "%PROTOCOL%"),
        ("%REQ(x-a):5% of 10%", "%REQ(x-a):5% of 10%%"),
        ("%START_TIME(%s)%", "%START_TIME(%s)%"),
        ("%lower%", "%%lower%%"),
        ("", ""),
    ],
)
def test_percent_signs_that_are_no_command_are_plain_text(given: str, expected: str) -> None:
    assert literal_percents(given) == expected


def test_header_operations_that_do_nothing_leave_no_field() -> None:
    assert header_ops(HeaderOps(), HeaderOps()) == {}


@pytest.mark.parametrize(("value", "expected"), [(0, b"\x00"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")])
def test_varints(value: int, expected: bytes) -> None:
    assert varint(value) == expected


@pytest.mark.parametrize(
    ("compare", "value", "ignore_case", "expected"),
    [
        (Compare.PATH_PREFIX, "/a/", False, {"path_separated_prefix": "/a"}),
        (Compare.PATH_PREFIX, "/", False, {"prefix": "/"}),
        (Compare.PATH_PREFIX, "/a", True, {"path_separated_prefix": "/a", "case_sensitive": False}),
        (Compare.SUFFIX, ".html", False, {"safe_regex": {"regex": r".*\.html"}}),
        (Compare.SUFFIX, "x", True, {"safe_regex": {"regex": "(?i).*x"}}),
    ],
)
def test_paths(compare: Compare, value: str, ignore_case: bool, expected: dict[str, Any]) -> None:
    match = RouteMatch(path=StringMatch(compare=compare, value=value, ignore_case=ignore_case))
    given = Route(name="r", match=match, action=None)  # type: ignore[arg-type]
    fields = to_dict(library().message("envoy.config.route.v3.RouteMatch")(**route_match(given)))
    assert fields == expected


def test_endpoints_by_place_health_and_weight() -> None:
    west, east = Locality.parse("eu/west/a"), Locality.parse("eu/east")
    given = EndpointGroup(
        name="a",
        endpoints=(
            Endpoint(address="192.0.2.1", port=80, locality=west, weight=2),
            Endpoint(address="192.0.2.2", port=80, locality=east, health=Health.CRITICAL),
            Endpoint(address="192.0.2.3", port=80, locality=west, health=Health.WARNING),
            Endpoint(address="/run/app.sock", weight=0),
        ),
    )
    fields = to_dict(load_assignment(given))["endpoints"]
    assert [place["locality"] for place in fields] == [
        {"region": "eu", "zone": "west", "sub_zone": "a"},
        {"region": "eu", "zone": "east"},
        {},
    ]
    assert [place["load_balancing_weight"] for place in fields] == [3, 1, 1]
    assert [[end.get("health_status") for end in place["lb_endpoints"]] for place in fields] == [[None, None], ["UNHEALTHY"], ["DRAINING"]]
    assert fields[2]["lb_endpoints"][0]["endpoint"]["address"] == {"pipe": {"path": "/run/app.sock"}}


def test_no_limit_is_the_default_of_every_breaker() -> None:
    assert set(made()["circuit_breakers"]["thresholds"][0].values()) == {4_294_967_295}
    given = policy(connection_pool=ConnectionPool(max_connections=1, max_pending_requests=2, max_requests=3, max_retries=0))
    assert made(policy=given)["circuit_breakers"]["thresholds"] == [
        {"max_connections": 1, "max_pending_requests": 2, "max_requests": 3, "max_retries": 0}
    ]


def test_errors_that_are_not_counted_are_not_enforced() -> None:
    given = made(policy=policy(outlier_detection=OutlierDetection(consecutive_5xx=None)))["outlier_detection"]
    assert given["enforcing_consecutive_5xx"] == 0
    assert given["enforcing_consecutive_gateway_failure"] == 0
    assert given["enforcing_success_rate"] == 0
    assert "consecutive_5xx" not in given
    split = policy(outlier_detection=OutlierDetection(split_external_local_errors=True))
    assert made(policy=split)["outlier_detection"]["split_external_local_origin_errors"] is True


@pytest.mark.parametrize(
    ("balancer", "expected"),
    [
        (LoadBalancer(algorithm=Algorithm.MAGLEV), {"lb_policy": "MAGLEV"}),
        (LoadBalancer(algorithm=Algorithm.RANDOM), {"lb_policy": "RANDOM"}),
        (LoadBalancer(algorithm=Algorithm.PASSTHROUGH), {"type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED"}),
    ],
)
def test_balancers_without_settings(balancer: LoadBalancer, expected: dict[str, Any]) -> None:
    fields = made(policy=policy(load_balancer=balancer))
    assert {name: fields[name] for name in expected} == expected
    assert not [name for name in fields if name.endswith("lb_config") and name != "common_lb_config"]


def test_where_the_caller_dials_itself() -> None:
    assert made(resolution=Resolution.NONE)["type"] == "ORIGINAL_DST"


def test_tcp_clusters_speak_no_http_unless_limits_need_it() -> None:
    assert "typed_extension_protocol_options" not in made(http=False)
    limited = policy(connection_pool=ConnectionPool(tcp_idle_timeout=timedelta(seconds=9), max_connection_duration=timedelta(hours=1)))
    common = http_options(made(http=False, policy=limited))["common_http_protocol_options"]
    assert common == {"idle_timeout": "9s", "max_connection_duration": "3600s"}


def test_an_idle_timeout_for_http_goes_before_that_for_tcp() -> None:
    both = policy(connection_pool=ConnectionPool(tcp_idle_timeout=timedelta(seconds=9), idle_timeout=timedelta(seconds=3)))
    assert http_options(made(policy=both))["common_http_protocol_options"] == {"idle_timeout": "3s"}


def test_weights_that_come_to_too_much_are_all_made_smaller() -> None:
    heavy = tuple(Endpoint(address=f"192.0.2.{n}", port=80, weight=weight) for n, weight in enumerate((2**32 - 1, 2**32 - 1, 2**31, 1)))
    (place,) = assignment("a", heavy)["endpoints"]
    weights = [endpoint["load_balancing_weight"]["value"] for endpoint in place["lb_endpoints"]]
    assert weights[0] == weights[1] == 2 * weights[2] - 1
    assert weights[3] == 1
    assert place["load_balancing_weight"]["value"] == sum(weights) < 2**32


def test_keepalive_counts_whole_seconds() -> None:
    said = TcpKeepalive(probes=0, time=timedelta(milliseconds=400), interval=timedelta(seconds=2))
    kept = made(policy=policy(connection_pool=ConnectionPool(keepalive=said)))["upstream_connection_options"]
    assert kept == {"tcp_keepalive": {"keepalive_time": 1, "keepalive_interval": 2}}


def test_keepalive_with_nothing_said_is_on() -> None:
    fields = made(policy=policy(connection_pool=ConnectionPool(keepalive=TcpKeepalive())))
    assert fields["upstream_connection_options"] == {"tcp_keepalive": {}}


def test_chains_are_chosen_by_what_they_name() -> None:
    to_a = TcpConnections(
        stat_prefix="a",
        clusters=(WeightedCluster(cluster="a", weight=3), WeightedCluster(cluster="b", weight=0), WeightedCluster(cluster="c")),
        idle_timeout=timedelta(),
        hash_policy=HashPolicy(on=HashOn.SOURCE_IP),
    )
    chains = (
        FilterChain(name="tls", serve=to_a, server_names=("a.example",), transport_protocol="tls", application_protocols=("h2",)),
        FilterChain(name="near", serve=to_a, source_cidrs=("10.0.0.0/8",), destination_cidrs=("192.0.2.7", "2001:db8::/32")),
    )
    fields = to_dict(listeners.listener(Listener(name="l", address="::1", port=1, direction=Direction.INBOUND, chains=chains)))
    assert fields["listener_filters"][0]["name"] == listeners.TLS_INSPECTOR
    first, second = fields["filter_chains"]
    assert first["filter_chain_match"] == {"server_names": ["a.example"], "transport_protocol": "tls", "application_protocols": ["h2"]}
    assert second["filter_chain_match"] == {
        "prefix_ranges": [{"address_prefix": "192.0.2.7", "prefix_len": 32}, {"address_prefix": "2001:db8::", "prefix_len": 32}],
        "source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}],
    }
    proxied = first["filters"][0]["typed_config"]
    assert proxied["weighted_clusters"]["clusters"] == [{"name": "a", "weight": 3}, {"name": "c", "weight": 1}]
    assert proxied["idle_timeout"] == "0s"
    assert proxied["hash_policy"] == [{"source_ip": {}}]


def test_internal_listeners_have_no_address() -> None:
    fields = to_dict(listeners.listener(http_listener("inner", "t", address="", internal=True)))
    assert fields["internal_listener"] == {}
    assert "address" not in fields


@pytest.mark.parametrize(
    ("address", "port", "forward_proxy", "there"),
    [("127.0.0.1", 15001, True, True), ("::1", 15001, True, True), ("", 0, True, False), ("127.0.0.1", 15001, False, False)],
)
def test_only_a_forward_proxy_can_be_asked_for_itself(address: str, port: int, forward_proxy: bool, there: bool) -> None:
    fields = to_dict(listeners.listener(http_listener("l", "t", address=address, port=port, forward_proxy=forward_proxy)))
    filters = fields["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"]
    assert any(one["name"] == own_address.NAME for one in filters) is there
    assert filters[-1]["name"] == "envoy.filters.http.router"


def test_routes_may_have_statistics_of_their_own() -> None:
    made = routes.virtual_host(host("h", route(None, to("a"), stat_prefix="checkout")))
    assert made.routes[0].stat_prefix == "checkout"


def test_routes_say_which_document_made_them() -> None:
    assert config_path(source("reviews")) == "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"


def test_a_static_configuration_of_parts_that_are_missing() -> None:
    snapshot: Snapshot = Translator().snapshot(view(http_listener("l", "gone"), cluster("a"), tcp_listener("t", "a"), endpoints("b", 1)))
    static = static_config(snapshot, Node(id="gateway~g", role=Role.GATEWAY))
    manager = static["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["route_config"] == {"name": "gone"}
    (only,) = static["static_resources"]["clusters"]
    assert (only["type"], only["load_assignment"]) == ("STATIC", {"cluster_name": "a"})
    assert static["node"] == {"id": "gateway~g", "cluster": "gateway"}
