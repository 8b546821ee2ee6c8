"""RateLimits over all proxies: two real Envoys that ask one service."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from support.backend import backend
from support.carried import ask, at, snapshot
from support.compiled import built, gateway
from support.edge import edge
from support.lone_envoy import lone_envoy
from support.redis_server import redis
from support.running import free_port
from tulle.model.rate_limits import RateLimit
from tulle.server.rate_limits import RateLimitService
from tulle.server.redis_counts import RedisCounts
from tulle.translate.static import static_config

pytestmark = pytest.mark.envoy

PATIENT = "timeout: 20s,"
"""However slow the machine, the service is heard."""
OK, LIMITED, NOBODY_THERE = 200, 429, 503


def rate_limit(limits: str, more: str = "") -> str:
    return f"""apiVersion: tulle.dev/v1
kind: RateLimit
metadata: {{name: limit, namespace: istio-system}}
spec: {{scope: global, {more} limits: [{limits}]}}
"""


@contextmanager
def serving(limits: Mapping[str, RateLimit], port: int, store: str = "") -> Iterator[None]:
    """The service, on an event loop of its own. It counts in memory, or in a Redis."""
    ready, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        server = grpc.aio.server()
        elsewhere = RedisCounts(store) if store else None
        server.add_generic_rpc_handlers((RateLimitService(lambda: limits, elsewhere=elsewhere).handler(),))
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        ready.set()
        await asyncio.to_thread(ended.wait)
        await server.stop(0)
        if elsewhere:
            await elsewhere.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(60)
        yield
    finally:
        ended.set()
        thread.join()


def towards(config: dict[str, Any], port: int) -> dict[str, Any]:
    """The same configuration, with the control plane at a port."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    there = {"cluster_name": "xds-grpc", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
    static = config["static_resources"]
    clusters = [{**c, "load_assignment": there} if c["name"] == "xds-grpc" else c for c in static["clusters"]]
    return {**config, "static_resources": {**static, "clusters": clusters}}


@contextmanager
def gateways(tmp_path: Path, limits: str, service: int) -> Iterator[tuple[int, int]]:
    """Two of them, each on a port of its own."""
    ports = free_port(), free_port()
    with ExitStack() as stack:
        far = stack.enter_context(backend("far"))
        for port in ports:
            shot = snapshot(edge(port) + limits, gateway(), at("far", 80, far.port, id="far"))
            folder = tmp_path / str(port)
            folder.mkdir()
            stack.enter_context(lone_envoy(towards(static_config(shot, gateway()), service), folder))
        yield ports


def in_force(limits: str) -> Mapping[str, RateLimit]:
    return built(limits).mesh.structure.rules.rate_limits.shared


def test_what_one_proxy_lets_through_counts_for_the_other(tmp_path: Path) -> None:
    limits = rate_limit(
        "{requests: 20, per: day}, {requests: 3, per: month, by: ['request.headers[x-key]'], match: {methods: [GET]}}", PATIENT
    )
    service = free_port()
    with serving(in_force(limits), service), gateways(tmp_path, limits, service) as (one, other):
        answers = [ask(port, headers={"x-key": "ann"}) for port in (one, other, one, other)]
        assert [status for status, _, _ in answers] == [OK, OK, OK, LIMITED]
        assert [headers["x-ratelimit-remaining"] for _, headers, _ in answers] == ["2", "1", "0", "0"]
        assert 0 < int(answers[-1][1]["retry-after"]) <= 30 * 86_400 // 3 + 1
        found = [ask((one, other)[n % 2], headers={"x-key": str(n)})[0] for n in range(20)]
        assert found == [OK] * 17 + [LIMITED] * 3, "what was refused did not count"


def test_no_request_too_many_and_none_too_few_under_load(tmp_path: Path) -> None:
    """With one request in five minutes given back, as many pass as the burst has."""
    limits = rate_limit("{requests: 300, per: day}", f"failureMode: closed, {PATIENT}")
    service = free_port()
    with serving(in_force(limits), service), gateways(tmp_path, limits, service) as ports:
        assert under_load(ports) == {OK: 300, LIMITED: 200}


def test_the_same_where_two_control_planes_count_in_one_database(tmp_path: Path) -> None:
    """Each proxy asks one of them."""
    limits, store = rate_limit("{requests: 300, per: day}", f"failureMode: closed, {PATIENT}"), f"unix://{tmp_path}/sock"
    services = free_port(), free_port()
    with ExitStack() as stack:
        stack.enter_context(redis(tmp_path / "sock"))
        ports = []
        for number, service in enumerate(services):
            folder = tmp_path / f"plane-{number}"
            folder.mkdir()
            stack.enter_context(serving(in_force(limits), service, store))
            ports.append(stack.enter_context(gateways(folder, limits, service))[0])
        assert under_load((ports[0], ports[1])) == {OK: 300, LIMITED: 200}


def under_load(ports: tuple[int, int]) -> Counter[int]:
    with ThreadPoolExecutor(8) as callers:
        return Counter(callers.map(lambda n: ask(ports[n % 2])[0], range(500)))


def test_when_nobody_can_be_asked_it_is_open_or_closed_as_said(tmp_path: Path) -> None:
    with gateways(tmp_path, rate_limit("{requests: 1, per: day}", "failureMode: open,"), free_port()) as ports:
        assert [ask(port)[0] for port in (*ports, *ports)] == [OK] * 4
    closed = tmp_path / "closed"
    closed.mkdir()
    with gateways(closed, rate_limit("{requests: 1, per: day}", f"failureMode: closed, {PATIENT}"), free_port()) as ports:
        assert [ask(port)[0] for port in ports] == [NOBODY_THERE] * 2


def test_what_the_service_does_not_know_is_let_through(tmp_path: Path) -> None:
    service = free_port()
    with (
        serving({}, service),
        gateways(tmp_path, rate_limit("{requests: 1, per: day}", f"failureMode: closed, {PATIENT}"), service) as ports,
    ):
        assert [ask(port)[0] for port in (*ports, *ports)] == [OK] * 4
