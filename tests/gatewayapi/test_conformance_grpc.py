"""What the specification expects of GRPCRoutes: a gRPC call is a request for `/SERVICE/METHOD`."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from support.gateway_api import EDGE, mistakes, served

pytestmark = pytest.mark.envoy


def route(*rules: str, name: str = "r", more: str = "", parent: str = "{name: edge}") -> str:
    head = f"apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: {name}}}"
    return f"{head}\nspec: {{parentRefs: [{parent}], {more} rules: [{', '.join(rules)}]}}\n---\n"


def rule(matches: str, backend: str, more: str = "") -> str:
    return f"{{{f'matches: [{matches}], ' if matches else ''}{more} backendRefs: [{{name: {backend}, port: 8080}}]}}"


SCENES = {
    "services and methods": (
        EDGE
        + route(
            rule("{method: {service: pkg.Echo, method: Say}}", "a"),
            rule("{method: {service: pkg.Echo}}", "b"),
            rule("{method: {method: Talk}}", "c"),
            rule("{method: {type: RegularExpression, service: 'pkg\\.[A-Z][a-z]+', method: 'Get.*'}}", "d"),
        ),
        """
        POST http://x.example/pkg.Echo/Say => a
        POST http://x.example/pkg.Echo/SayMore => b
        POST http://x.example/pkg.Echo/Talk => b
        POST http://x.example/other.Echo/Talk => c
        POST http://x.example/other.Echo/Say => 404
        POST http://x.example/pkg.Other/GetAll => d
        POST http://x.example/pkg.other/GetAll => 404
        POST http://x.example/pkg.Echoes/Say => 404
        """,
    ),
    "headers, and of equal calls the more of them": (
        EDGE
        + route(
            rule("{headers: [{name: version, value: one}]}", "a"),
            rule("{headers: [{name: version, value: one}, {name: Color, value: blue}]}", "b"),
            rule("{headers: [{name: color, type: RegularExpression, value: 'gr(e|a)y'}]}", "c"),
            rule("{method: {service: pkg.Echo}, headers: [{name: version, value: two}]}, {headers: [{name: version, value: three}]}", "d"),
        ),
        """
        POST http://x.example/pkg.Echo/Say version=one => a
        POST http://x.example/pkg.Echo/Say version=one color=blue => b
        POST http://x.example/pkg.Echo/Say color=grey => c
        POST http://x.example/pkg.Echo/Say color=blue => 404
        POST http://x.example/pkg.Echo/Say version=two => d
        POST http://x.example/pkg.Other/Say version=two => 404
        POST http://x.example/pkg.Other/Say version=three => d
        """,
    ),
    "hosts of listeners and routes": (
        EDGE.replace(
            "[{name: web, port: 80, protocol: HTTP}]",
            "[{name: one, port: 80, protocol: HTTP, hostname: one.example}, {name: rest, port: 80, protocol: HTTP, hostname: '*.example'},"
            " {name: any, port: 80, protocol: HTTP}]",
        )
        + route(rule("", "a"), name="one", parent="{name: edge, sectionName: one}")
        + route(rule("", "b"), name="rest", parent="{name: edge, sectionName: rest}", more="hostnames: [two.example, '*.three.example'],")
        + route(rule("", "c"), name="any", parent="{name: edge, sectionName: any}"),
        """
        POST http://one.example/s/m => a
        POST http://two.example/s/m => b
        POST http://x.three.example/s/m => b
        POST http://three.example/s/m => 404
        POST http://four.example/s/m => 404
        POST http://elsewhere.test/s/m => c
        """,
    ),
    "headers of calls are changed": (
        EDGE
        + route(
            rule(
                "{method: {service: s}}",
                "a",
                "name: named, filters: [{type: RequestHeaderModifier, requestHeaderModifier:"
                " {set: [{name: X-Set, value: new}], add: [{name: x-add, value: two}], remove: [x-gone]}}],",
            )
        ),
        "POST http://x.example/s/m x-set=old x-add=one x-gone=1 => a x-set=new x-add=one,two x-gone=-",
    ),
    "a route without rules takes every call and has nowhere to send it": (EDGE + route(), "POST http://x.example/s/m => 503"),
    "backends that are not there, or get nothing": (
        EDGE
        + route(
            rule("{method: {service: gone}}", "gone"),
            "{matches: [{method: {service: none}}]}",
            "{matches: [{method: {service: zero}}], backendRefs: [{name: a, port: 8080, weight: 0}, {name: b, port: 8080, weight: 0}]}",
        ),
        """
        POST http://x.example/gone/m => 503
        POST http://x.example/none/m => 503
        POST http://x.example/zero/m => 503
        """,
    ),
    "several gateways, and routes of several": (
        EDGE
        + EDGE.replace("name: edge", "name: second").replace("port: 80", "port: 81")
        + route(rule("{method: {service: both}}", "a"), name="both", parent="{name: edge}, {name: second}")
        + route(rule("{method: {service: more}}", "b"), name="more", parent="{name: second}"),
        """
        POST http://x.example/both/m => a
        POST http://x.example:81/both/m => a
        POST http://x.example/more/m => 404
        POST http://x.example:81/more/m => b
        """,
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_calls(name: str, tmp_path: Path) -> None:
    text, table = SCENES[name]

    async def run() -> list[str]:
        async with served(text, tmp_path, *"abcd") as gate:
            return await mistakes(gate, table)

    assert asyncio.run(run()) == []


def test_shares(tmp_path: Path) -> None:
    backends = ", ".join(f"{{name: {name}, port: 8080, weight: {weight}}}" for name, weight in (("a", 7), ("b", 3), ("c", 0)))

    async def run() -> Counter[str]:
        async with served(EDGE + route(f"{{backendRefs: [{backends}]}}"), tmp_path, *"abc") as gate:
            answers = [await gate.send("POST", "http://x.example/s/m", {}) for _ in range(300)]
            return Counter(answer.get("x-cluster") or "" for answer in answers)

    seen = asyncio.run(run())
    assert seen.keys() == {"a", "b"}
    assert 160 < seen["a"] < 260
