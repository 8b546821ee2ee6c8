"""gRPC through a sidecar: by an upstream of its own, and by the forward proxy, which gRPC clients use with CONNECT."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from support.lone_envoy import LoneEnvoy, lone_envoy
from support.views import cluster, endpoints, host, http_listener, route, table, to, view
from tulle.model.proxy import Node, ProxyView, Role
from tulle.model.routing import Abort, Fault
from tulle.translate import Translator
from tulle.translate.static import static_config

pytestmark = pytest.mark.envoy

ECHO, COUNT, FAULTY = "/shop.Cart/Echo", "/shop.Cart/Count", "/shop.Cart/Faulty"


class Cart(grpc.GenericRpcHandler):  # type: ignore[misc]
    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if call.method == COUNT:
            return grpc.stream_stream_rpc_method_handler(lambda requests, _: (b"seen " + one for one in requests))
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request)


@pytest.fixture(scope="module")
def cart() -> Iterator[int]:
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Cart(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None).wait()


def what_it_does(port: int, proxy_port: int) -> ProxyView:
    faulty = route(FAULTY, to("cart"), fault=Fault(abort=Abort(percent=100, grpc_status=14)))
    routes = (route(None, to("inside", connect=True)), faulty, route(None, to("cart")))
    return view(
        http_listener("proxy", "http_proxy", forward_proxy=True, port=proxy_port),
        http_listener("connect_http", "http_proxy", address="", forward_proxy=True, internal=True),
        http_listener("upstream", table("upstream", host("any", *routes[1:], domains=("*",)))),
        table("http_proxy", host("cart:7070", *routes, domains=("cart:7070",))),
        cluster("cart", http2=True),
        cluster("inside", internal_listener="connect_http", http=False),
        endpoints("cart", port),
    )


@pytest.fixture(scope="module")
def envoy(cart: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneEnvoy]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        proxy_port = probe.getsockname()[1]
    config = static_config(Translator().snapshot(what_it_does(cart, proxy_port)), Node(id="sidecar~cart", role=Role.SIDECAR))
    folder: Path = tmp_path_factory.mktemp("envoy")
    with lone_envoy(config, folder) as running:
        yield running


@pytest.fixture(params=["upstream", "proxy"])
def channel(request: pytest.FixtureRequest, envoy: LoneEnvoy) -> Iterator[grpc.Channel]:
    port = envoy.port(request.param)
    options = [("grpc.http_proxy", f"http://127.0.0.1:{port}")]
    made = grpc.insecure_channel("cart:7070", options) if request.param == "proxy" else grpc.insecure_channel(f"127.0.0.1:{port}")
    with made:
        yield made


def test_calls_and_streams(channel: grpc.Channel) -> None:
    assert channel.unary_unary(ECHO)(b"apple", timeout=60) == b"apple"
    assert list(channel.stream_stream(COUNT)(iter([b"1", b"2"]), timeout=60)) == [b"seen 1", b"seen 2"]


def test_faults_are_answers_of_grpc(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(FAULTY)(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "fault filter abort" in caught.value.details()
