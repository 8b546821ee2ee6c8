"""Keys of clients and passwords of users at a gateway and beside a workload: a real Envoy that is led over xDS, secrets included."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from support.backend import Backend, backend
from support.carried import ask, at
from support.compiled import built, gateway, sidecar, warnings
from support.edge import edge
from support.led_mesh import LedMesh, led_mesh
from support.lone_envoy import validate
from support.running import free_port
from tulle.compile import view
from tulle.compile.explain import Request, explain_view
from tulle.model.proxy import InboundPort
from tulle.translate import Translator
from tulle.translate.static import shown, static_config

pytestmark = pytest.mark.envoy

KEY, OTHER = "k-4711-very-secret", "k-0815/also=secret"
PASSWORD = "correct horse: battery"
HASH = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
BCRYPT, PLAIN = "$2y$05$abcdefghijklmnopqrstuuJ6fBqIr0eXw3r4Fqk8b4pdl1kcoHTSS", "open-sesame"


def secret(name: str, entries: Mapping[str, str], namespace: str = "istio-system") -> str:
    return f"""apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {namespace}}}
stringData: {json.dumps(entries)}
---
"""


def login(spec: str, name: str = "who", namespace: str = "istio-system") -> str:
    return f"""apiVersion: tulle.dev/v1
kind: Authentication
metadata: {{name: {name}, namespace: {namespace}}}
spec: {spec}
---
"""


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def got(backend_: Backend) -> dict[str, str]:
    headers: dict[str, str] = backend_.seen[-1]["headers"]
    return headers


async def asked(port: int, path: str = "/", headers: Mapping[str, str] | None = None) -> int:
    return (await asyncio.to_thread(ask, port, path, headers=headers))[0]


def agrees(mesh: LedMesh, port: int, path: str, headers: Mapping[str, str], status: int) -> None:
    """What is explained is what the proxy does, and no explanation tells a key."""
    trace = explain_view(
        view(mesh.built.mesh, gateway()), gateway(), Request(url=f"http://127.0.0.1:{port}{path}", headers=tuple(headers.items()))
    )
    assert (trace.direct_response.status if trace.direct_response else 200) == status, trace
    told = json.dumps(trace.to_dict())
    assert not [hidden for hidden in (KEY, OTHER, PASSWORD, HASH) if hidden in told.replace(path, "")]


KEYS = (
    "{apiKeys: {secret: partners, from: [{header: x-key}, {query: key}, {cookie: key}], clientHeader: X-Client},"
    " excludedPaths: [/health, /public/*]}"
)
PARTNERS = secret("partners", {"acme": f"{KEY}\n", "globex": OTHER})


def test_keys_in_each_place() -> None:
    port = free_port()
    calls: tuple[tuple[str, dict[str, str], int, str | None], ...] = (
        ("/", {"x-key": KEY}, 200, "acme"),
        ("/", {"x-key": f"Bearer {OTHER}"}, 200, "globex"),
        (f"/?a=b&key={KEY}", {}, 200, "acme"),
        ("/", {"cookie": f"a=b; key={KEY}"}, 200, "acme"),
        ("/", {}, 401, None),
        ("/", {"x-key": "wrong"}, 401, None),
        ("/", {"x-key": KEY[:-1]}, 401, None),
        ("/", {"x-key": "wrong", "cookie": f"key={KEY}"}, 401, None),
        ("/", {"x-client": "acme"}, 401, None),
        ("/health", {"x-client": "acme"}, 200, ""),
        ("/health?full=1", {}, 200, ""),
        ("/public/a", {}, 200, ""),
        ("/healthy", {}, 401, None),
        ("/health/../", {}, 401, None),
        ("/public/../", {}, 401, None),
        ("/public/%2e%2e/", {}, 401, None),
        ("/public/..%2f", {}, 401, None),
        ("/public/x%5C..%5C..%5Cadmin", {}, 401, None),
        ("/public/a?next=/x%2f../", {}, 200, ""),
        ("//public/", {}, 401, None),
        ("/PUBLIC/", {}, 401, None),
    )

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), edge(port) + PARTNERS + login(KEYS), at("far", 80, far.port, id="far")) as mesh:
                for path, headers, status, client in calls:
                    assert await asked(port, path, headers) == status, (path, headers)
                    agrees(mesh, port, path, headers, status)
                    if client is not None:
                        assert got(far).get("x-client", "") == client, (path, headers)
                        assert KEY not in json.dumps(far.seen[-1]), "the key is not for the endpoint"
                assert mesh.rejections == []

    asyncio.run(run())


def test_a_key_is_taken_out_of_a_query_and_the_rest_stays_as_it_is() -> None:
    """Not decoded into something else, as Envoy would have it."""
    port, key = free_port(), OTHER.replace("/", "%2F")
    rest = "name=ann%26role=admin&x=1%20HTTP/1.1%0d%0ax:%20y&b&a=%C3%A9&k%20y=z"

    async def run() -> None:
        with backend("far") as far:
            spec = "{apiKeys: {secret: partners, from: [{header: x-key}, {query: 'k\"y'}], clientHeader: x-client}, excludedPaths: [/free]}"
            async with led_mesh(gateway(), edge(port) + PARTNERS + login(spec), at("far", 80, far.port, id="far")) as mesh:
                moved = "x-tulle-query-" + b'k"y'.hex()
                for path, headers, status, behind in (
                    (f"/a?k%22y={key}&{rest}", {}, 200, f"/a?{rest}"),
                    (f"/a?{rest}&%6b%22y={key}", {}, 200, f"/a?{rest}"),
                    (f"/a?k%22y={key}", {}, 200, "/a"),
                    (f"/a?{rest}", {"x-key": OTHER}, 200, f"/a?{rest}"),
                    (f"/free?k%22y={key}&{rest}", {}, 200, f"/free?k%22y={key}&{rest}"),
                    (f"/a?x=%26k%22y={key}", {}, 401, ""),
                    (f"/a?k%22y=wrong&k%22y={key}", {}, 401, ""),
                    ("/a", {moved: OTHER}, 401, ""),
                ):
                    assert await asked(port, path, headers) == status, path
                    if behind:
                        assert far.seen[-1]["path"] == behind
                        assert moved not in got(far)
                assert mesh.rejections == []

    asyncio.run(run())


def test_passwords() -> None:
    port = free_port()
    users = secret("staff", {".htpasswd": f"# staff\nann:{{SHA}}{HASH}\nbob:{BCRYPT}\ncid:{PLAIN}\nann:{{SHA}}{HASH}\nnonsense\n"})
    text = edge(port) + users + login("{basic: {secret: staff, userHeader: x-user, realm: Staff only}}")
    calls = (
        (basic("ann", PASSWORD), 200),
        (basic("ann", "wrong"), 401),
        (basic("bob", BCRYPT), 401),
        (basic("cid", PLAIN), 401),
        (basic("nobody", ""), 401),
        ({"authorization": f"Bearer {KEY}"}, 401),
        ({"authorization": "Basic ?"}, 401),
        ({"x-user": "ann"}, 401),
    )

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                for headers, status in calls:
                    assert await asked(port, "/", headers) == status, headers
                    agrees(mesh, port, "/", headers, status)
                assert [one["headers"]["x-user"] for one in far.seen] == ["ann"]
                assert "authorization" not in got(far), "the password is not for the endpoint"
                _, answered, _ = await asyncio.to_thread(ask, port)
                assert answered["www-authenticate"] == 'Basic realm="Staff only"'
                said = "\n".join(warnings(mesh.built, "Authentication/who"))
                for words in (
                    "line 3 of entry '.htpasswd'",
                    "user 'bob' is a bcrypt hash",
                    "user 'cid' is in plain text",
                    "'ann' is there already",
                ):
                    assert words in said
                assert not [hidden for hidden in (HASH, BCRYPT, PLAIN, "nonsense") if hidden in said]
                assert mesh.rejections == []

    asyncio.run(run())


@pytest.mark.parametrize(
    "spec", ["{apiKeys: {secret: late, from: [{header: x-key}]}}", "{basic: {secret: late}}"], ids=["keys", "passwords"]
)
def test_without_its_secret_nobody_is_let_in(spec: str) -> None:
    port = free_port()
    documents = edge(port) + login(spec)
    good = {"x-key": KEY, **basic("ann", PASSWORD)}
    stored = secret("late", {"ann": f"ann:{{SHA}}{HASH}" if "basic" in spec else KEY})

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), documents, at("far", 80, far.port, id="far")) as mesh:
                tries = ({}, good, basic("nobody", ""), basic("nobody", "nobody"))
                assert [await asked(port, "/", headers) for headers in tries] == [401] * len(tries)
                (why,) = warnings(mesh.built, "Authentication/who")
                assert "there is no Secret late in namespace istio-system: nobody is let in until it is there" in why
                await mesh.change(documents + stored)
                assert [await asked(port, "/", headers) for headers in (good, {})] == [200, 401]
                assert warnings(mesh.built, "Authentication/who") == []
                await mesh.change(documents + secret("late", {"no name": KEY}))
                assert await asked(port, "/", good) == 401
                assert len(warnings(mesh.built, "Authentication/who")) == 2
                assert mesh.rejections == []

    asyncio.run(run())


def test_all_that_is_asked_must_be_shown_and_policies_see_the_client() -> None:
    port = free_port()
    text = (
        edge(port)
        + PARTNERS
        + secret("staff", {"auth": f"ann:{{SHA}}{HASH}"})
        + login("{apiKeys: {secret: partners, clientHeader: x-client}}", "one")
        + login("{basic: {secret: staff, forwardPassword: true}}", "two")
        + """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: acme-alone, namespace: istio-system}
spec: {rules: [{when: [{key: "request.headers[x-client]", values: [acme]}]}]}
"""
    )
    password = basic("ann", PASSWORD)
    calls = (
        ({"x-api-key": KEY, **password}, 200),
        ({"x-api-key": KEY}, 401),
        (password, 401),
        ({"x-api-key": OTHER, **password}, 403),
        ({"x-api-key": OTHER, "x-client": "acme", **password}, 403),
    )

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                for headers, status in calls:
                    assert await asked(port, "/", headers) == status, headers
                    agrees(mesh, port, "/", headers, status)
                assert got(far)["authorization"] == password["authorization"]
                assert mesh.rejections == []

    asyncio.run(run())


def test_a_gateway_that_is_named_and_its_neighbour() -> None:
    port = free_port()
    named = "{targetRefs: [{group: networking.istio.io, kind: Gateway, name: closed}], apiKeys: {secret: partners, clientHeader: x-client}}"
    text = edge(port, host="open.example", name="open") + edge(port, host="closed.example", name="closed") + PARTNERS + login(named)
    calls = (
        ("open.example", {}, 200),
        ("closed.example", {}, 401),
        ("CLOSED.example", {}, 401),
        (f"closed.example:{port}", {}, 401),
        ("closed.example", {"x-api-key": KEY}, 200),
    )

    async def run() -> None:
        with backend("far") as far:
            async with led_mesh(gateway(), text, at("far", 80, far.port, id="far")) as mesh:
                for host, headers, status in calls:
                    assert await asked(port, "/", {"host": host, **headers}) == status, (host, headers)
                assert await asked(port, "/", {"host": "closed.example."}) in (401, 404)
                assert mesh.rejections == []

    asyncio.run(run())


def test_beside_a_workload() -> None:
    listen, service = free_port(), "{targetRefs: [{kind: Service, name: far}], apiKeys: {secret: partners}}"
    text = secret("partners", {"acme": KEY}, "default") + login(service, namespace="default")

    async def run() -> None:
        with backend("far") as far:
            port = InboundPort(service_port=80, listen=listen, target=far.port)
            beside = replace(sidecar(inbound=(port,), app="far"), service="far", http_proxy=None)
            async with led_mesh(beside, text) as mesh:
                assert [await asked(listen, "/", headers) for headers in ({}, {"x-api-key": KEY})] == [401, 200]
                assert mesh.rejections == []

    asyncio.run(run())


def test_nothing_that_is_shown_holds_a_key(tmp_path: Path) -> None:
    port = free_port()
    text = (
        edge(port) + PARTNERS + secret("staff", {"auth": f"ann:{{SHA}}{HASH}"}) + login(KEYS) + login("{basic: {secret: staff}}", "staff")
    )
    seen = view(built(text, at("far", 80, 1, id="far")).mesh, gateway())
    snapshot = Translator().snapshot(seen)
    config = static_config(snapshot, gateway())
    told = "\n".join((repr(seen), repr(snapshot), json.dumps(config), *(json.dumps(shown(entry)) for entry in snapshot)))
    assert '"acme"' in told
    assert "ann:{SHA}(hidden)" in told
    assert not [hidden for hidden in (KEY, OTHER, HASH) if hidden in told]
    assert validate(config, tmp_path) == ""
