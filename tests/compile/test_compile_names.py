"""Host names and protocols."""

from __future__ import annotations

import pytest

from tulle.compile import names, protocols
from tulle.model.service import Protocol

DOMAIN = "cluster.local"


@pytest.mark.parametrize(
    ("written", "full"),
    [
        ("reviews", "reviews.shop.svc.cluster.local"),
        ("Reviews", "reviews.shop.svc.cluster.local"),
        ("reviews.other", "reviews.other"),
        ("api.example.com", "api.example.com"),
        ("*", "*"),
        ("*.example.com", "*.example.com"),
        ("10.0.0.1", "10.0.0.1"),
        ("fd00::1", "fd00::1"),
    ],
)
def test_only_a_name_without_a_dot_is_short(written: str, full: str) -> None:
    assert names.resolve(written, "shop", DOMAIN) == full


@pytest.mark.parametrize(
    ("written", "name"),
    [("mesh", "mesh"), ("edge", "shop/edge"), ("other/edge", "other/edge"), ("edge.other.svc.cluster.local", "other/edge")],
)
def test_gateway_names(written: str, name: str) -> None:
    assert names.gateway_name(written, "shop") == name


@pytest.mark.parametrize(
    ("pattern", "host", "covered"),
    [
        ("*", "a.example.com", True),
        ("*", "*", True),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "*.a.example.com", True),
        ("*.a.example.com", "*.example.com", False),
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "*.example.com", False),
    ],
)
def test_which_names_a_wildcard_means(pattern: str, host: str, covered: bool) -> None:
    assert names.covers(pattern, host) is covered


def test_the_more_specific_of_two_hosts_is_what_they_share() -> None:
    assert names.overlap("*.example.com", "a.example.com") == "a.example.com"
    assert names.overlap("a.example.com", "*") == "a.example.com"
    assert names.overlap("a.example.com", "b.example.com") is None


def test_exact_names_come_first_and_the_star_last() -> None:
    hosts = ["*", "*.com", "*.example.com", "b.com", "a.example.com"]
    assert sorted(hosts, key=names.specificity) == ["a.example.com", "b.com", "*.example.com", "*.com", "*"]


def test_short_forms_depend_on_where_the_caller_is() -> None:
    host = "reviews.shop.svc.cluster.local"
    assert names.aliases(host, "shop", DOMAIN) == (host, "reviews.shop.svc", "reviews.shop", "reviews")
    assert names.aliases(host, "other", DOMAIN) == (host, "reviews.shop.svc", "reviews.shop")
    assert names.aliases("api.example.com", "shop", DOMAIN) == ("api.example.com",)


def test_port_80_goes_without_saying() -> None:
    assert names.domains(("a", "b"), 9080) == ("a:9080", "b:9080")
    assert names.domains(("a",), 80) == ("a", "a:80")
    assert names.domains(("*",), 9080) == ("*",)


@pytest.mark.parametrize(
    ("export_to", "client", "seen"),
    [
        ((), "b", True),
        (("*",), "b", True),
        ((".",), "a", True),
        ((".",), "b", False),
        (("b",), "b", True),
        (("b",), "a", False),
        (("~",), "a", False),
    ],
)
def test_export(export_to: tuple[str, ...], client: str, seen: bool) -> None:
    assert names.exported(export_to, "a", client) is seen


@pytest.mark.parametrize(
    ("number", "name", "app_protocol", "protocol"),
    [
        (9080, "http", "", Protocol.HTTP),
        (9080, "http-web", "", Protocol.HTTP),
        (9080, "HTTP", "", Protocol.HTTP),
        (9080, "http2-api", "", Protocol.HTTP2),
        (9080, "grpc", "", Protocol.GRPC),
        (9080, "grpc-web", "", Protocol.GRPC_WEB),
        (9080, "grpc-web-x", "", Protocol.GRPC_WEB),
        (9080, "grpc-x", "", Protocol.GRPC),
        (443, "https", "", Protocol.HTTPS),
        (9000, "tcp-echo", "", Protocol.TCP),
        (9000, "tcp", "http", Protocol.HTTP),
        (9000, "", "kubernetes.io/h2c", Protocol.HTTP2),
        (9000, "", "kubernetes.io/ws", Protocol.HTTP),
        (443, "", "kubernetes.io/wss", Protocol.HTTPS),
        (9000, "web", "", Protocol.AUTO),
        (3306, "web", "", Protocol.TCP),
        (6379, "redis", "", Protocol.REDIS),
    ],
)
def test_protocol_of_a_port(number: int, name: str, app_protocol: str, protocol: Protocol) -> None:
    assert protocols.of_port(number, name, app_protocol) is protocol


def test_udp_is_said_by_the_transport() -> None:
    assert protocols.of_port(53, "dns", "", "UDP") is Protocol.UDP
