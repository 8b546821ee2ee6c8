"""What the specification expects of ListenerSets, and of routes of several namespaces: a real Envoy does it, and `explain` says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.gateway_api import mistakes, served

pytestmark = pytest.mark.envoy

API = "apiVersion: gateway.networking.k8s.io/v1"
LABELLED = "from: Selector, selector: {matchLabels: {access: granted}}"


def namespace(name: str, labels: str) -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n---\n"


def gateway(*listeners: str, allowed: str = "from: None") -> str:
    spec = f"gatewayClassName: tulle, allowedListeners: {{namespaces: {{{allowed}}}}}, listeners: [{', '.join(listeners)}]"
    return f"{API}\nkind: Gateway\nmetadata: {{name: edge}}\nspec: {{{spec}}}\n---\n"


def listeners(name: str, *own: str, home: str = "default") -> str:
    spec = f"parentRef: {{name: edge, namespace: default}}, listeners: [{', '.join(own)}]"
    return f"{API}\nkind: ListenerSet\nmetadata: {{name: {name}, namespace: {home}}}\nspec: {{{spec}}}\n---\n"


def listener(name: str, host: str, routes: str = "from: All", *, port: int = 80) -> str:
    return f"{{name: {name}, port: {port}, protocol: HTTP, hostname: '{host}', allowedRoutes: {{namespaces: {{{routes}}}}}}}"


def route(path: str, backend: str, parent: str, *, home: str = "default", more: str = "") -> str:
    """Backends are of `default`, and open to routes of all namespaces here."""
    rules = f"[{{matches: [{{path: {{value: /{path}}}}}], backendRefs: [{{name: {backend}, namespace: default, port: 8080}}]}}]"
    head = f"{API}\nkind: HTTPRoute\nmetadata: {{name: {path}, namespace: {home}}}"
    return f"{head}\nspec: {{parentRefs: [{parent}], {more} rules: {rules}}}\n---\n"


def granted(*homes: str) -> str:
    allowed = ", ".join(f"{{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: {home}}}" for home in homes)
    return f"{API}\nkind: ReferenceGrant\nmetadata: {{name: g}}\nspec: {{from: [{allowed}], to: [{{group: '', kind: Service}}]}}\n---\n"


EDGE, SET = "{name: edge, namespace: default}", "{name: more, namespace: default, kind: ListenerSet}"
TWO = namespace("in", "access: granted") + namespace("out", "access: refused") + granted("in", "out")
THREE_HOMES = TWO + "".join(
    route(path, backend, SET, home=home) for path, backend, home in (("same", "a", "default"), ("in", "b", "in"), ("out", "c", "out"))
)
BY_NAMESPACE = """
GET http://all.example/same => a
GET http://all.example/in => b
GET http://all.example/out => c
GET http://same.example/same => a
GET http://same.example/in => 404
GET http://same.example/out => 404
GET http://some.example/same => 404
GET http://some.example/in => b
GET http://some.example/out => 404
"""
ALLOWING = (listener("all", "all.example"), listener("same", "same.example", "from: Same"), listener("some", "some.example", LABELLED))

SCENES = {
    "listeners of a Gateway take routes of some namespaces": (
        gateway(*ALLOWING) + THREE_HOMES.replace(SET, EDGE),
        BY_NAMESPACE,
    ),
    "so do listeners of a ListenerSet": (
        gateway(listener("own", "own.example"), allowed="from: Same") + listeners("more", *ALLOWING) + THREE_HOMES,
        BY_NAMESPACE + "GET http://own.example/same => 404",
    ),
    "a Gateway takes ListenerSets of some namespaces": (
        TWO
        + gateway(listener("own", "own.example"), allowed=LABELLED)
        + "".join(listeners("more", listener("l", f"{home}.example"), home=home) for home in ("default", "in", "out"))
        + "".join(
            route(home, backend, f"{{name: more, namespace: {home}, kind: ListenerSet}}, {EDGE}", home=home)
            for home, backend in (("default", "a"), ("in", "b"), ("out", "c"))
        ),
        """
        GET http://own.example/default => a
        GET http://own.example/in => b
        GET http://in.example/in => b
        GET http://in.example/default => 404
        GET http://out.example/out => 404
        GET http://default.example/default => 404
        """,
    ),
    "each of a route's parents is for itself": (
        gateway(listener("own", "own.example"), allowed="from: Same")
        + listeners("more", listener("l", "set.example"))
        + route("both", "a", f"{EDGE}, {SET}")
        + route("one", "b", f"{{name: edge, sectionName: gone}}, {SET}"),
        """
        GET http://own.example/both => a
        GET http://set.example/both => a
        GET http://own.example/one => 404
        GET http://set.example/one => b
        """,
    ),
    "a Gateway's own listeners go before those of sets, and older sets before younger ones": (
        gateway(listener("own", "own.example"), allowed="from: All")
        + listeners("more", listener("clash", "own.example"), listener("l", "*.set.example"))
        + listeners("late", listener("clash", "*.set.example"), listener("l", "late.example"), listener("m", "own.example", port=81))
        + route("own", "a", "{name: edge}")
        + route("more", "b", SET)
        + route("late", "c", "{name: late, kind: ListenerSet}"),
        """
        GET http://own.example/own => a
        GET http://own.example/more => 404
        GET http://own.example/late => 404
        GET http://x.set.example/more => b
        GET http://x.set.example/late => 404
        GET http://late.example/late => c
        GET http://own.example:81/late => c
        GET http://own.example:81/own => 404
        """,
    ),
    "a request belongs to one listener, whoever declares it": (
        gateway(listener("wide", "*.example"), allowed="from: All")
        + listeners("more", listener("deep", "*.deep.example"), listener("one", "one.example"))
        + route("wide", "a", "{name: edge}")
        + route("set", "b", SET)
        + route("deep", "c", "{name: more, kind: ListenerSet, sectionName: deep}", more="hostnames: [x.deep.example, one.example],"),
        """
        GET http://x.example/wide => a
        GET http://one.example/wide => 404
        GET http://one.example/set => b
        GET http://x.deep.example/set => b
        GET http://x.deep.example/deep => c
        GET http://y.deep.example/deep => 404
        GET http://one.example/deep => 404
        GET http://x.deep.example/wide => 404
        """,
    ),
}


@pytest.mark.parametrize("name", SCENES)
def test_requests(name: str, tmp_path: Path) -> None:
    text, table = SCENES[name]

    async def run() -> list[str]:
        async with served(text, tmp_path, *"abc") as gate:
            return await mistakes(gate, table)

    assert asyncio.run(run()) == []
