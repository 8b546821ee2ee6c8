"""Sessions: requests of one caller stay at one instance of one backend."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.compiled import built, instance, warnings
from support.gateway_api import EDGE, Served, served
from support.raw_http import Response
from support.reading import warned

pytestmark = pytest.mark.envoy

API = "apiVersion: gateway.networking.k8s.io/v1"
SERVICES = ("a", "b", "c")
SPLIT = ", ".join(f"{{name: {name}, port: 8080, weight: {weight}}}" for name, weight in (("a", 2), ("b", 1), ("c", 0)))


def route(persistence: str, backends: str = SPLIT, *, kind: str = "HTTPRoute", name: str = "r") -> str:
    session = f"sessionPersistence: {persistence}, " if persistence else ""
    rules = f"[{{{session}backendRefs: [{backends}]}}]"
    return f"{API}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {{parentRefs: [{{name: edge}}], rules: {rules}}}\n---\n"


def cookies(response: Response) -> dict[str, str]:
    """Those that a response gives, the last of a name, with their attributes."""
    given = (value for name, value in response.headers if name.lower() == "set-cookie")
    return {one.split("=", 1)[0]: one.split("=", 1)[1] for one in given}


async def get(gate: Served, jar: dict[str, str] | None = None) -> Response:
    pairs = "; ".join(f"{name}={value.split(';')[0]}" for name, value in (jar or {}).items())
    return await gate.send("GET", "http://x.example/", {"cookie": f"other=1; {pairs}"} if pairs else {})


@pytest.mark.parametrize(
    ("persistence", "name"),
    [("{}", "tulle-session"), ("{cookie: {name: who}}", "who"), ("{sessionName: who, type: Cookie}", "who")],
)
def test_a_session_stays_at_its_backend(persistence: str, name: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(EDGE + route(persistence), tmp_path, *SERVICES) as gate:
            seen = set()
            for _ in range(20):
                first = await get(gate)
                jar = cookies(first)
                assert jar.keys() == {name, f"{name}-backend"}
                assert "Max-Age" not in "".join(jar.values())
                assert {(await get(gate, jar)).get("x-cluster") for _ in range(6)} == {first.get("x-cluster")}
                assert cookies(await get(gate, jar)) == {}, "a session that is there is not told again"
                seen.add(first.get("x-cluster"))
            assert seen == {"a", "b"}, "new sessions are shared by weight"
            assert {(await get(gate, {f"{name}-backend": "0123456789ab"})).get("x-cluster") for _ in range(20)} == {"a", "b"}

    asyncio.run(run())


def test_lasting_cookies(tmp_path: Path) -> None:
    async def run() -> None:
        persistence = "{cookie: {name: who, lifetimeType: Permanent, path: /shop}, absoluteTimeout: 2h}"
        async with served(EDGE + route(persistence), tmp_path, *SERVICES) as gate:
            given = cookies(await get(gate))
            assert all("Max-Age=7200" in value and "Path=/shop" in value and "HttpOnly" in value for value in given.values()), given

    asyncio.run(run())


POLICY = """
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackendTrafficPolicy
metadata: {name: p}
spec:
  targetRefs: [{group: "", kind: Service, name: a}, {group: "", kind: Service, name: b}]
  sessionPersistence: {cookie: {name: who}}
---
"""


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (route(""), {"who", "who-backend"}),
        (route("{cookie: {name: own}}"), {"own", "own-backend"}),
        (route("", "{name: a, port: 8080}"), {"who"}),
        (route("", "{name: a, port: 8080}, {name: c, port: 8080}"), set()),
    ],
)
def test_policies_of_backends(text: str, names: set[str], tmp_path: Path) -> None:
    """A rule's own words go first; a policy counts where it speaks for all of a rule's backends."""

    async def run() -> None:
        async with served(EDGE + text + POLICY, tmp_path, *SERVICES) as gate:
            assert cookies(await get(gate)).keys() == names

    asyncio.run(run())


def test_explanations_name_the_backend_of_a_session(tmp_path: Path) -> None:
    async def run() -> None:
        async with served(EDGE + route("{cookie: {name: who}}"), tmp_path, *SERVICES) as gate:
            assert gate.explained("GET", "http://x.example/", {}).count("|outbound") == 1
            first = await get(gate)
            sent = "; ".join(f"{name}={value.split(';')[0]}" for name, value in cookies(first).items())
            assert gate.explained("GET", "http://x.example/", {"cookie": sent}) == first.get("x-cluster")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("persistence", "said"),
    [
        (
            "{idleTimeout: 1h}",
            [".idleTimeout: not in force: a session ends with its cookie; set absoluteTimeout, and lifetimeType Permanent"],
        ),
        (
            "{absoluteTimeout: 1h}",
            [": absoluteTimeout is not in force: a cookie of lifetimeType Session lasts as long as the caller's program runs"],
        ),
        ("{cookie: {lifetimeType: Permanent}, absoluteTimeout: 1h}", []),
    ],
)
def test_limits_that_nobody_watches_are_told(persistence: str, said: list[str]) -> None:
    found = warned("HTTPRoute", f"rules: [{{sessionPersistence: {persistence}}}]", api_version="gateway.networking.k8s.io/v1")
    assert found == [f"spec.rules[0].sessionPersistence{text}" for text in said]


def test_a_header_keeps_no_session_among_several_backends() -> None:
    made = built(EDGE + route("{type: Header, header: {name: x}}"), *(instance(name, number=8080) for name in SERVICES))
    assert "a header keeps no session among several backends" in warnings(made, "HTTPRoute/r")[0]


@pytest.mark.parametrize(
    ("persistence", "sent_as"),
    [
        ("{cookie: {name: who}}", "cookie"),
        ("{sessionName: who}", "cookie"),
        ("{cookie: {name: who, lifetimeType: Permanent}, absoluteTimeout: 1h}", "cookie"),
        ("{type: Header, header: {name: x-who}}", "header"),
    ],
)
def test_sessions_stay_at_one_endpoint(persistence: str, sent_as: str, tmp_path: Path) -> None:
    text = EDGE + route(persistence, "{name: a, port: 8080}")

    async def run() -> None:
        async with served(text, tmp_path, *SERVICES, one=True) as gate:
            first = await gate.send("GET", "http://x.example/", {})
            given = first.get("set-cookie" if sent_as == "cookie" else "x-who") or ""
            assert given
            assert ("Max-Age=3600" in given) is ("Permanent" in persistence)
            own = {"cookie": given.split(";")[0]} if sent_as == "cookie" else {"x-who": given}
            assert {(await gate.send("GET", "http://x.example/", own)).get("x-cluster") for _ in range(20)} == {first.get("x-cluster")}
            assert {(await gate.send("GET", "http://x.example/", {})).get("x-cluster") for _ in range(40)} == set(SERVICES)

    asyncio.run(run())
