"""Requests that are written so that a limit does not count them and the program behind it takes them for others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from support.doors import Doors, doors
from support.http2_client import http2

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("attacks-limits")]

OK, LIMITED = 200, 429
LIMITS = {
    "orders": "paths: [/orders, '*.secret']",
    "others": "notPaths: [/free/*, /status]",
    "methods": "methods: [POST]",
    "hosts": "hosts: [bank.example]",
}


def limit(name: str, match: str) -> str:
    return f"""
apiVersion: tulle.dev/v1
kind: RateLimit
metadata: {{name: {name}}}
spec:
  targetRefs: [{{kind: Gateway, name: {name}}}]
  limits: [{{requests: 1, per: month, match: {{{match}}}}}]
---
"""


@pytest.fixture(scope="module", name="found")
def _found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """All that is let through has been used up."""
    text = "".join(limit(name, match) for name, match in LIMITS.items())
    with doors(tmp_path_factory.mktemp("limits"), tuple(LIMITS), text) as found:
        used_up = ("orders", "/orders", "GET"), ("others", "/orders", "GET"), ("methods", "/", "POST"), ("hosts", "/", "GET")
        for door, target, method in used_up:
            host = "bank.example" if door == "hosts" else "shop.example"
            assert [found.send(door, target, method=method, host=host) for _ in range(2)] == [OK, LIMITED], door
        yield found


DISGUISES = {
    "query": "/orders?x",
    "double slash": "//orders",
    "climbing": "/x/../orders",
    "encoded letter": "/%6frders",
    "encoded slash": "/%2forders",
    "encoded climbing": "/x%2f..%2forders",
    "backslash": "/\\orders",
    "capitals": "/ORDERS",
    "slash at the end": "/orders/",
    "parameters": "/orders;a=b?x=/y",
    "parameters of nothing": "/;a=b/orders",
    "ending in capitals": "/x/y.SECRET;v=1?x",
    "whole URL": "http://shop.example//orders",
}


@pytest.mark.parametrize("target", DISGUISES.values(), ids=DISGUISES)
def test_a_path_in_disguise_counts(found: Doors, target: str) -> None:
    assert found.send("orders", target) == LIMITED


@pytest.mark.parametrize("target", ["/", "/order", "/orders2", "/x/orders", "/?/orders", "/;a?b/orders", "/x?.secret", "/x?a=/%2f../b"])
def test_other_paths_do_not_count(found: Doors, target: str) -> None:
    assert found.send("orders", target) == OK


@pytest.mark.parametrize("target", ["/free/..%2forders", "/free/x%5c..%5c..%5corders", "/FREE/a", "//free/a", "/status/", "/STATUS"])
def test_what_only_looks_free_counts(found: Doors, target: str) -> None:
    assert found.send("others", target) == LIMITED


@pytest.mark.parametrize("target", ["/free/a", "/free/a?b=/%2f../x", "/free/..a", "/status", "/status?x"])
def test_what_is_free_does_not_count(found: Doors, target: str) -> None:
    assert found.send("others", target) == OK


def test_a_method_in_disguise_counts(found: Doors) -> None:
    async def status(method: str) -> int:
        async with http2(found.ports["methods"]) as client:
            _, exchange = client.begin([(":method", method), (":scheme", "http"), (":authority", "shop.example"), (":path", "/")])
            return (await exchange.until()).status

    assert [asyncio.run(status(method)) for method in ("POST", "post", "GET")] == [LIMITED, LIMITED, OK]


@pytest.mark.parametrize("host", ["BANK.example", "bank.example.", "bank.example:80", "me@bank.example"])
def test_a_host_in_disguise_counts(found: Doors, host: str) -> None:
    assert found.send("hosts", "/", host=host) == LIMITED
    assert found.send("hosts", "/") == OK
