"""Consul's entries, carried out by a real Envoy: routers, splitters and resolvers as a caller sees them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from support.backend import Backend, backend
from support.carried import ask, at, carried, until
from support.compiled import sidecar
from support.running import free_port
from tulle.model.proxy import Node, Upstream
from tulle.model.service import Registration

pytestmark = pytest.mark.envoy

ENTRIES = """
apiVersion: consul.hashicorp.com/v1alpha1
kind: ServiceResolver
metadata: {name: web}
spec:
  defaultSubset: v1
  subsets:
    v1: {filter: 'Service.Meta.version == v1'}
    v2: {filter: '"canary" in Service.Tags'}
  failover: {'*': {service: admin}}
---
apiVersion: consul.hashicorp.com/v1alpha1
kind: ServiceSplitter
metadata: {name: web}
spec:
  splits:
  - {weight: 75, serviceSubset: v1}
  - {weight: 25, serviceSubset: v2, responseHeaders: {set: {x-leg: canary}}}
---
apiVersion: consul.hashicorp.com/v1alpha1
kind: ServiceRouter
metadata: {name: web}
spec:
  routes:
  - match: {http: {pathPrefix: /admin/, header: [{name: x-who, contains: oo}]}}
    destination: {service: admin, prefixRewrite: /, requestHeaders: {add: {x-by: router}}}
  - match: {http: {methods: [POST, GET], queryParam: [{name: canary, exact: "1"}]}}
    destination: {serviceSubset: v2}
"""


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, Backend]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(backend(name)) for name in ("v1", "v2", "admin")}


def instances(found: dict[str, Backend]) -> tuple[Registration, ...]:
    one = at("web", 80, found["v1"].port, id="v1")
    two = at("web", 80, found["v2"].port, id="v2")
    labelled = replace(one, labels=type(one.labels)({"version": "v1"}))
    return labelled, replace(two, tags=("canary",)), at("admin", 80, found["admin"].port, id="admin")


def caller(port: int) -> Node:
    return sidecar(app="client", upstreams=(Upstream(host="web", port=80, bind_port=port),))


def named(port: int, path: str = "/", **headers: str) -> str:
    _, _, body = ask(port, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return str(json.loads(body)["name"])


def test_requests_go_where_the_entries_say(tmp_path_factory: pytest.TempPathFactory, backends: dict[str, Backend]) -> None:
    port = free_port()
    with carried(ENTRIES, caller(port), tmp_path_factory.mktemp("entries"), *instances(backends)):
        status, _, body = ask(port, "/admin/users", headers={"x-who": "food"})
        told = json.loads(body)
        assert (status, told["name"], told["path"], told["headers"]["x-by"]) == (200, "admin", "/users", "router")
        assert named(port, "/x?canary=1") == "v2"
        found = [named(port) for _ in range(200)]
        assert 18 < found.count("v2") < 90
        assert found.count("v1") + found.count("v2") == 200
        until(lambda: ask(port)[1].get("x-leg") == "canary")


def test_another_service_stands_in(tmp_path_factory: pytest.TempPathFactory, backends: dict[str, Backend]) -> None:
    port = free_port()
    gone = instances(backends)[2:]
    with carried(ENTRIES, caller(port), tmp_path_factory.mktemp("gone"), instances(backends)[1], *gone):
        assert {named(port) for _ in range(80)} == {"admin", "v2"}
