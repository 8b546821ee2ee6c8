"""What the specification expects of routes with a Service as parent: callers in the mesh, seen from the forward proxy of their sidecar."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask, at, carried
from support.compiled import sidecar
from support.gateway_api import mistakes, served
from support.running import free_port
from tulle.compile.explain import Request, explain
from tulle.model.proxy import Upstream

pytestmark = pytest.mark.envoy

API = "apiVersion: gateway.networking.k8s.io/v1"


def route(
    rules: str, *, kind: str = "HTTPRoute", name: str = "r", namespace: str = "default", parent: str = "name: echo", more: str = ""
) -> str:
    spec = f'parentRefs: [{{group: "", kind: Service, {parent}}}], {more} rules: [{rules}]'
    return f"{API}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n---\n"


def rule(matches: str, backend: str, more: str = "") -> str:
    to = f"backendRefs: [{{name: {backend}, port: 8080}}]" if backend else ""
    return f"{{{f'matches: [{matches}], ' if matches else ''}{more}{to}}}"


def filtered(path: str, type_: str, how: str, backend: str = "") -> str:
    field = {"RequestRedirect": "requestRedirect", "URLRewrite": "urlRewrite", "RequestHeaderModifier": "requestHeaderModifier"}[type_]
    return rule(f"{{path: {{value: {path}}}}}", backend, f"filters: [{{type: {type_}, {field}: {{{how}}}}}], ")


PORTS = """
apiVersion: v1
kind: Service
metadata: {name: ports}
spec:
  selector: {app: echo}
  ports:
  - {name: http, port: 8080}
  - {name: http-more, port: 8081, targetPort: 8080}
---
"""

SCENES = {
    "a service without routes is called as it is": (
        "",
        """
        GET http://echo:8080/ => echo
        GET http://echo.default.svc.cluster.local:8080/x => echo
        GET http://v1.default:8080/ => v1
        """,
    ),
    "rules are for the service that is called, not for those they send to": (
        route(rule("", "v1")),
        """
        GET http://echo:8080/ => v1
        GET http://echo.default:8080/x => v1
        GET http://v1:8080/ => v1
        GET http://v2:8080/ => v2
        """,
    ),
    "hostnames of a route for a service do not count": (
        route(rule("", "v1"), more="hostnames: [other.example],"),
        "GET http://echo:8080/ => v1",
    ),
    "a request that no rule takes": (
        route(rule("{path: {type: Exact, value: /one}}", "v1")),
        """
        GET http://echo:8080/one => v1
        GET http://echo:8080/two => 404
        """,
    ),
    "matches": (
        route(
            ", ".join(
                (
                    rule("{path: {value: /}}, {headers: [{name: version, value: one}]}", "v1"),
                    rule("{path: {value: /v2}}, {headers: [{name: version, value: two}]}", "v2"),
                    rule("{queryParams: [{name: animal, value: whale}]}", "v2"),
                    rule("{queryParams: [{name: animal, value: whale}], path: {value: /deep}}", "v1"),
                    rule("{method: PUT}", "v2"),
                )
            )
        ),
        """
        GET http://echo:8080/ => v1
        GET http://echo:8080/example version=one => v1
        GET http://echo:8080/v2 => v2
        GET http://echo:8080/v2example => v1
        GET http://echo:8080/foo/v2/example => v1
        GET http://echo:8080/v2/ version=one => v2
        GET http://echo:8080/ version=two => v2
        GET http://echo:8080/?animal=whale => v2
        GET http://echo:8080/deep?animal=whale => v1
        PUT http://echo:8080/ => v2
        """,
    ),
    "redirects, rewrites and headers": (
        route(
            ", ".join(
                (
                    filtered("/host", "RequestRedirect", "hostname: example.org"),
                    filtered("/status", "RequestRedirect", "hostname: example.org, statusCode: 301"),
                    filtered("/scheme", "RequestRedirect", "scheme: https"),
                    filtered("/port", "RequestRedirect", "port: 8083"),
                    filtered("/old", "RequestRedirect", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}, statusCode: 303"),
                    filtered("/pre", "URLRewrite", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}", "v1"),
                    filtered("/full", "URLRewrite", "path: {type: ReplaceFullPath, replaceFullPath: /one}", "v1"),
                    filtered("/headers", "RequestHeaderModifier", "set: [{name: x-set, value: new}], remove: [x-gone]", "v1"),
                )
            )
        ),
        """
        GET http://echo:8080/host => 302 http://example.org:8080/host
        GET http://echo:8080/status => 301 http://example.org:8080/status
        GET http://echo:8080/scheme => 302 https://echo:443/scheme
        GET http://echo:8080/port => 302 http://echo:8083/port
        GET http://echo:8080/old/a => 303 http://echo:8080/new/a
        GET http://echo:8080/pre/two => v1 path=/one/two
        GET http://echo:8080/full/two => v1 path=/one
        GET http://echo:8080/headers x-set=old x-gone=1 => v1 x-set=new x-gone=-
        """,
    ),
    "ports of a service have their own rules": (
        PORTS
        + route(rule("", "v1"), name="first", parent="name: ports, port: 8080")
        + route(rule("", "v2"), name="second", parent="name: ports, sectionName: http-more"),
        """
        GET http://ports:8080/ => v1
        GET http://ports:8081/ => v2
        """,
    ),
    "headers for one backend": (
        route(
            "{backendRefs: [{name: v1, port: 8080, filters: [{type: RequestHeaderModifier,"
            " requestHeaderModifier: {set: [{name: x-for, value: v1}], remove: [x-gone]}}]}]}"
        ),
        "GET http://echo:8080/ x-gone=1 => v1 x-for=v1 x-gone=-",
    ),
    "GRPCRoutes": (
        route(
            rule("{method: {service: pkg.Echo}}", "v1") + ", " + rule("{headers: [{name: version, value: two}]}", "v2"), kind="GRPCRoute"
        ),
        """
        POST http://echo:8080/pkg.Echo/Say => v1
        POST http://echo:8080/other/Say version=two => v2
        POST http://echo:8080/other/Say => 404
        """,
    ),
    "what is not valid is answered with 500": (
        route(rule("{path: {value: /gone}}", "gone") + ", " + rule("{path: {value: /none}}", "") + ", " + rule("{path: {value: /}}", "v1")),
        """
        GET http://echo:8080/gone => 500
        GET http://echo:8080/none => 500
        GET http://echo:8080/ => v1
        """,
    ),
}
SERVICES = ("echo", "v1", "v2")


@pytest.mark.parametrize("name", SCENES)
def test_calls_in_the_mesh(name: str, tmp_path: Path) -> None:
    text, table = SCENES[name]

    async def run() -> list[str]:
        async with served(text, tmp_path, *SERVICES, caller=sidecar(app="caller")) as mesh:
            return await mistakes(mesh, table)

    assert asyncio.run(run()) == []


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_shares(kind: str, tmp_path: Path) -> None:
    text = route("{backendRefs: [{name: v1, port: 8080, weight: 3}, {name: v2, port: 8080, weight: 1}]}", kind=kind)

    async def run() -> Counter[str]:
        async with served(text, tmp_path, *SERVICES, caller=sidecar(app="caller")) as mesh:
            answers = [await mesh.send("POST", "http://echo:8080/s/m", {}) for _ in range(200)]
            return Counter(answer.get("x-cluster") or "" for answer in answers)

    seen = asyncio.run(run())
    assert seen.keys() == {"v1", "v2"}
    assert 110 < seen["v1"] < 190


CONSUMER = route(rule("", "v1"), namespace="team", parent="name: echo, namespace: default", name="consumer") + route(rule("", "v2"))


@pytest.mark.parametrize(("home", "to"), [("default", "v2"), ("other", "v2"), ("team", "v1")])
def test_routes_of_callers_are_for_their_namespace(home: str, to: str, tmp_path: Path) -> None:
    grant = f"{API}\nkind: ReferenceGrant\nmetadata: {{name: g}}\nspec:\n"
    grant += "  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: team}]\n  to: [{group: '', kind: Service}]\n"
    text = CONSUMER.replace("[{name: v1, port: 8080}]", "[{name: v1, namespace: default, port: 8080}]") + grant

    async def run() -> list[str]:
        async with served(text, tmp_path, *SERVICES, caller=sidecar(home, app="caller")) as mesh:
            return await mistakes(mesh, f"GET http://echo.default:8080/ => {to}")

    assert asyncio.run(run()) == []


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_rules_go_by_their_names(kind: str, tmp_path: Path) -> None:
    """In explanations, and wherever the proxy names its routes."""
    text = route("{name: first, backendRefs: [{name: v1, port: 8080}]}", kind=kind)

    async def run() -> str | None:
        async with served(text, tmp_path, *SERVICES, caller=sidecar(app="caller")) as mesh:
            return explain(mesh.built.mesh, mesh.node, Request(method="POST", url="http://echo:8080/s/m")).route

    assert asyncio.run(run()) == "r.first"


def test_calls_in_the_mesh_are_copied_limited_and_tried_again(tmp_path: Path) -> None:
    rules = (
        "{matches: [{path: {value: /copied}}], backendRefs: [{name: v1, port: 8080}],"
        " filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 8080}}}]}, "
        "{matches: [{path: {value: /slow}}], backendRefs: [{name: quiet, port: 8080}], timeouts: {request: 200ms}, retry: {attempts: 0}}, "
        "{matches: [{path: {value: /again}}], backendRefs: [{name: v1, port: 8080}], retry: {codes: [503], attempts: 2}}"
    )
    port = free_port()
    node = sidecar(app="caller", upstreams=(Upstream(host="echo", port=8080, bind_port=port),))
    with backend("v1") as v1, backend("v2") as v2, socket.create_server(("127.0.0.1", 0)) as quiet:
        ports = {"echo": v2.port, "v1": v1.port, "v2": v2.port, "quiet": quiet.getsockname()[1]}
        with carried(route(rules), node, tmp_path, *(at(name, 8080, target, id=name) for name, target in ports.items())):
            assert ask(port, "/copied")[0] == 200
            assert v2.wait_for("/copied")["path"] == "/copied"
            assert ask(port, "/slow")[0] == 504
            assert ask(port, "/again", headers={"x-fail": "again/2/503"})[0] == 200
