"""Explain for the versions of HTTP: which one is spoken, and what it does not allow."""

from __future__ import annotations

import pytest

from support.compiled import built, gateway, instance
from tulle.compile.explain import Request, Trace, UnusableRequestError, explain

EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, annotations: {tulle.dev/http3: "SAID"}}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 8443, name: https, protocol: HTTPS}
    hosts: [shop.example]
    tls: {mode: SIMPLE, serverCertificate: /etc/certs/a.crt, privateKey: /etc/certs/a.key}
  - {port: {number: 8080, name: http, protocol: HTTP}, hosts: [shop.example]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec: {hosts: [shop.example], gateways: [edge], http: [{route: [{destination: {host: web}}]}]}
"""
HTTPS, HTTP = "https://shop.example:8443/cart", "http://shop.example:8080/cart"
CLUSTER = "outbound|80||web.default.svc.cluster.local"


def ask(url: str, *headers: tuple[str, str], alpn: tuple[str, ...] = (), method: str = "GET", said: str = "true") -> Trace:
    mesh = built(EDGE.replace("SAID", said), instance("web", number=80)).mesh
    return explain(mesh, gateway(), Request(method=method, url=url, headers=headers, alpn=alpn))


@pytest.mark.parametrize(
    ("alpn", "agreed", "listener"),
    [
        ((), "h2", "0.0.0.0_8443"),
        (("http/1.1",), "http/1.1", "0.0.0.0_8443"),
        (("h3",), "h3", "udp_0.0.0.0_8443"),
    ],
)
def test_what_is_spoken_over_tls(alpn: tuple[str, ...], agreed: str, listener: str) -> None:
    trace = ask(HTTPS, alpn=alpn)
    assert trace.tls
    assert (trace.tls.protocol, trace.listener, trace.cluster) == (agreed, listener, CLUSTER)


def test_callers_are_told_of_http3() -> None:
    assert "callers are told that they may come by HTTP/3 to port 8443" in ask(HTTPS).steps[0].why
    assert ask(HTTPS, alpn=("h3",)).steps[0].why == "the request enters at 0.0.0.0:8443/udp by QUIC"


def test_without_the_annotation_nobody_takes_http3() -> None:
    with pytest.raises(UnusableRequestError, match=r"annotation tulle\.dev/http3"):
        ask(HTTPS, alpn=("h3",), said="false")


def test_an_upgrade_is_asked_for_by_http1_unless_told_otherwise() -> None:
    upgrade = (("connection", "upgrade"), ("upgrade", "websocket"))
    first = ask(HTTPS, *upgrade)
    assert first.tls
    assert (first.tls.protocol, first.cluster) == ("http/1.1", CLUSTER)
    assert ask(HTTPS, *upgrade, alpn=("h2",)).cluster == CLUSTER
    assert ask(HTTPS, *upgrade, alpn=("h3",)).closed == "upgrades such as WebSocket are not offered over HTTP/3"


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ((("x a", "1"),), "'x a' is not a header name: over HTTP/2 they are in lower case"),
        ((("connection", "close"),), "the header connection has no place in HTTP/2"),
        ((("te", "gzip"),), "the header te has no place in HTTP/2"),
        ((("content-length", "many"),), "content-length 'many' is not a number"),
        ((("host", "u@shop.example"),), "'u@shop.example' is not a host"),
    ],
)
def test_what_has_no_place_in_http2_closes_the_connection(headers: tuple[tuple[str, str], ...], why: str) -> None:
    assert ask(HTTP, *headers, alpn=("h2",)).closed == why
    assert ask(HTTP, *headers).closed is None


def test_names_of_headers_are_written_as_clients_write_them() -> None:
    assert ask(HTTPS, ("X-Upper", "1"), alpn=("h2",)).cluster == CLUSTER


def test_methods_of_ones_own_are_for_the_newer_versions() -> None:
    refused = ask(HTTP, method="FOO").direct_response
    assert refused
    assert refused.status == 400
    assert ask(HTTP, method="FOO", alpn=("h2",)).cluster == CLUSTER
