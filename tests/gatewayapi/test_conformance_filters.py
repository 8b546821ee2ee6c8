"""What the specification expects of mirrors, timeouts, retries, header filters and CORS, and of the backends that requests go to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from support.backend import Backend, backend
from support.carried import ask, at, carried, until
from support.compiled import built, cluster, gateway, instance
from support.gateway_api import EDGE, mistakes, served
from support.running import free_port
from tulle.compile import view

pytestmark = pytest.mark.envoy

API = "apiVersion: gateway.networking.k8s.io/v1"


def edge(port: int, rules: str) -> str:
    gate = f"spec: {{gatewayClassName: tulle, listeners: [{{name: web, port: {port}, protocol: HTTP}}]}}"
    route = f"spec: {{parentRefs: [{{name: edge}}], rules: [{rules}]}}"
    return f"{API}\nkind: Gateway\nmetadata: {{name: edge}}\n{gate}\n---\n{API}\nkind: HTTPRoute\nmetadata: {{name: r}}\n{route}\n---\n"


def rule(path: str, more: str = "", to: str = "a") -> str:
    return f"{{matches: [{{path: {{value: {path}}}}}], {more} backendRefs: [{{name: {to}, port: 80}}]}}"


@contextmanager
def running(rules: str, folder: Path, *names: str) -> Iterator[tuple[int, dict[str, Backend]]]:
    """A gateway with the rules, and the backends behind it."""
    port = free_port()
    with ExitStack() as stack:
        found = {name: stack.enter_context(backend(name)) for name in names}
        registered = (at(name, 80, one.port, id=name) for name, one in found.items())
        stack.enter_context(carried(edge(port, rules), gateway(), folder, *registered))
        yield port, found


def mirror(to: str, more: str = "") -> str:
    return f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {to}, port: 80}}{more}}}}}"


def test_mirrors(tmp_path: Path) -> None:
    """Several at once; what they answer is not seen. A share of none, and one that is not there, change nothing."""
    made = (mirror("b"), mirror("c", ", fraction: {numerator: 5, denominator: 5}"), mirror("d", ", percent: 0"), mirror("gone"))
    many, half = f"filters: [{', '.join(made)}],", f"filters: [{mirror('b', ', percent: 50')}],"
    with running(f"{rule('/many', many)}, {rule('/half', half)}", tmp_path, *"abcd") as (port, found):
        status, _, _ = ask(port, "/many/1", headers={"host": "x.example"})
        assert status == 200
        for name in "abc":
            seen = found[name].wait_for("/many/1")
            assert seen["headers"]["host"].startswith("x.example")
        assert found["d"].seen == []
        for number in range(60):
            ask(port, f"/half/{number}")
        ask(port, "/many/2")
        found["b"].wait_for("/many/2")

        def copies() -> int:
            return sum(one["path"].startswith("/half") for one in found["b"].seen)

        until(lambda: copies() > 5)
        assert copies() < 55


@contextmanager
def silent() -> Iterator[int]:
    """A port where calls are taken and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_timeouts(tmp_path: Path) -> None:
    port = free_port()
    limits = {"/whole": "request: 200ms", "/one": "request: 10s, backendRequest: 200ms", "/both": "request: 300ms, backendRequest: 200ms"}
    rules = ", ".join(rule(path, f"timeouts: {{{limit}}}, retry: {{attempts: 0}},") for path, limit in limits.items())
    with silent() as quiet, backend("b") as b:
        text = edge(port, f"{rules}, {rule('/never', 'timeouts: {request: 0s},', 'b')}")
        with carried(text, gateway(), tmp_path, at("a", 80, quiet, id="a"), at("b", 80, b.port, id="b")):
            assert {path: ask(port, path)[0] for path in limits} == dict.fromkeys(limits, 504)
            assert ask(port, "/never")[0] == 200


RETRIES = {
    "/none": "",
    "/codes": "retry: {codes: [503], attempts: 2, backoff: 10ms},",
    "/other": "retry: {codes: [500], attempts: 2},",
    "/few": "retry: {codes: [503], attempts: 1},",
    "/usual": "retry: {codes: [503]},",
    "/off": "retry: {codes: [503], attempts: 0},",
}


def test_retries(tmp_path: Path) -> None:
    """Each request fails twice."""
    with running(", ".join(rule(path, more) for path, more in RETRIES.items()), tmp_path, "a") as (port, _):
        seen = {path: ask(port, path, headers={"x-fail": f"{path[1:]}/2/503"})[0] for path in RETRIES}
    assert seen == {"/none": 503, "/codes": 200, "/other": 503, "/few": 503, "/usual": 200, "/off": 503}


def test_connections_that_fail_are_tried_again_at_another_instance(tmp_path: Path) -> None:
    port, dead = free_port(), free_port()
    with backend("a") as a:
        registered = (at("a", 80, dead, id="dead"), at("a", 80, a.port, id="a"))
        with carried(edge(port, rule("/", "retry: {attempts: 3},")), gateway(), tmp_path, *registered):
            assert {ask(port)[0] for _ in range(20)} == {200}


def test_tries_that_take_too_long_are_made_again(tmp_path: Path) -> None:
    """Where a rule speaks of retries."""
    port = free_port()
    again = "timeouts: {request: 30s, backendRequest: 1s}, retry: {attempts: 3},"
    with silent() as quiet, backend("a") as a:
        registered = (at("a", 80, quiet, id="quiet"), at("a", 80, a.port, id="a"))
        with carried(edge(port, rule("/", again)), gateway(), tmp_path, *registered):
            assert {ask(port)[0] for _ in range(4)} == {200}


def test_without_instances_there_is_503(tmp_path: Path) -> None:
    service = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: empty}\nspec: {selector: {app: none}, ports: [{name: http, port: 80}]}\n---\n"
    )
    port = free_port()
    with carried(service + edge(port, rule("/", to="empty")), gateway(), tmp_path):
        assert ask(port)[0] == 503


def test_answers_are_changed(tmp_path: Path) -> None:
    what = "set: [{name: X-Cluster, value: mine}], add: [{name: x-answer, value: one}], remove: [X-Saw]"
    rules = f"[{{filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{{what}}}}}], backendRefs: [{{name: a, port: 8080}}]}}]"
    text = EDGE + f"{API}\nkind: HTTPRoute\nmetadata: {{name: r}}\nspec: {{parentRefs: [{{name: edge}}], rules: {rules}}}\n"

    async def run() -> None:
        async with served(text, tmp_path, "a") as gate:
            answer = await gate.send("GET", "http://x.example/", {})
            assert (answer.get("x-cluster"), answer.get("x-answer"), answer.get("x-saw")) == ("mine", "one", None)

    asyncio.run(run())


ROUTE = f"{API}\nkind: HTTPRoute\nmetadata: {{name: r}}\nspec:\n  parentRefs: [{{name: edge}}]\n  rules:\n"


def http_route(rules: str) -> str:
    return ROUTE + "\n".join(f"  {line}" for line in rules.strip().split("\n")) + "\n"


CORS = """
- matches: [{path: {value: /open}}]
  filters: [{type: CORS, cors: {allowOrigins: ["*"], allowMethods: ["*"], allowHeaders: ["*"], exposeHeaders: ["*"]}}]
  backendRefs: [{name: a, port: 8080}]
- matches: [{path: {value: /mine}}]
  filters:
  - type: CORS
    cors: {allowOrigins: ["*"], allowMethods: ["*"], allowHeaders: ["*"], exposeHeaders: ["*"], allowCredentials: true, maxAge: 60}
  backendRefs: [{name: a, port: 8080}]
"""


@pytest.mark.parametrize("mine", [False, True])
def test_origins_of_all_kinds(mine: bool, tmp_path: Path) -> None:
    """With credentials there is no `*` in an answer."""
    text = EDGE + http_route(CORS)
    asked = {"origin": "https://any.example", "access-control-request-method": "PATCH", "access-control-request-headers": "x-one"}

    async def run() -> None:
        async with served(text, tmp_path, "a") as gate:
            url = f"http://x.example/{'mine' if mine else 'open'}"
            told = await gate.send("OPTIONS", url, asked)
            assert (told.status, told.get("x-cluster")) == (200, None)
            assert told.get("access-control-allow-origin") in (asked["origin"], *(() if mine else ("*",)))
            assert told.get("access-control-allow-credentials") == ("true" if mine else None)
            assert told.get("access-control-max-age") == ("60" if mine else "5")
            assert told.get("access-control-allow-methods") == "PATCH"
            assert told.get("access-control-allow-headers") == "x-one"
            answer = await gate.send("GET", url, {"origin": asked["origin"]})
            assert answer.get("x-cluster") == "a"
            assert answer.get("access-control-expose-headers") == (None if mine else "*")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("protocol", "http2", "tls"), [("kubernetes.io/h2c", True, False), ("kubernetes.io/ws", False, False), ("http", False, False)]
)
def test_protocols_of_backends(protocol: str, http2: bool, tls: bool) -> None:
    """What a Service's `appProtocol` says. An upgrade to WebSocket is always passed on."""
    ports = f"[{{name: p, port: 80, appProtocol: {protocol}}}]"
    service = f"apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {{selector: {{app: a}}, ports: {ports}}}\n---\n"
    found = cluster(view(built(service + edge(80, rule("/")), instance("a", number=80)).mesh, gateway()), "a:80")
    assert (found.http2, found.tls is not None) == (http2, tls)


def test_websockets_are_passed_on(tmp_path: Path) -> None:
    with running(rule("/"), tmp_path, "a") as (port, _), socket.create_connection(("127.0.0.1", port), timeout=60) as caller:
        caller.sendall(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n")
        assert b"101" in caller.recv(4096).split(b"\r\n")[0]
        caller.sendall(b"ping")
        assert caller.recv(4) == b"ping"


STRICT = """
- filters:
  - type: CORS
    cors:
      allowOrigins: ["https://app.example", "https://*.wide.example", "http://ports.example:8080"]
      allowMethods: [GET, PUT]
      allowHeaders: [x-token]
      exposeHeaders: [x-answer]
      allowCredentials: true
  backendRefs: [{name: a, port: 8080}]
"""


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://app.example", True),
        ("https://x.wide.example", True),
        ("https://y.x.wide.example", True),
        ("http://ports.example:8080", True),
        ("http://app.example", False),
        ("https://wide.example", False),
        ("https://app.example.evil", False),
        ("https://evil/x.wide.example", False),
    ],
)
def test_cors(origin: str, allowed: bool, tmp_path: Path) -> None:
    async def run() -> None:
        async with served(EDGE + http_route(STRICT), tmp_path, "a") as gate:
            asked = {"origin": origin, "access-control-request-method": "PUT"}
            preflight = await gate.send("OPTIONS", "http://x.example/", asked)
            assert (preflight.status, preflight.get("x-cluster")) == (200, None if allowed else "a")
            plain = await gate.send("GET", "http://x.example/", {"origin": origin})
            assert plain.get("x-cluster") == "a"
            for answer in (preflight, plain):
                assert answer.get("access-control-allow-origin") == (origin if allowed else None)
                assert answer.get("access-control-allow-credentials") == ("true" if allowed else None)
            if allowed:
                assert preflight.get("access-control-allow-methods") == "GET,PUT"
                assert preflight.get("access-control-allow-headers") == "x-token"
                assert preflight.get("access-control-max-age") == "5"
                assert plain.get("access-control-expose-headers") == "x-answer"

    asyncio.run(run())


def elsewhere(path: str, backend: str, more: str = "") -> str:
    return f"- matches: [{{path: {{value: {path}}}}}]\n  {more}\n  backendRefs: [{{name: a, port: 8080, filters: [{backend}]}}]"


def redirecting(path: str, how: str) -> str:
    return f"- matches: [{{path: {{value: {path}}}}}]\n  filters: [{{type: RequestRedirect, requestRedirect: {{{how}}}}}]"


ALONE = (
    elsewhere("/full", "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /new}}}"),
    elsewhere("/prefix", "{type: URLRewrite, urlRewrite: {hostname: in.test, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}"),
    elsewhere("/away", "{type: RequestRedirect, requestRedirect: {hostname: away.test, statusCode: 301}}"),
    elsewhere(
        "/both",
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: backend}]}}",
        "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: rule}, {name: x-more, value: '1'}]}}]",
    ),
    *(redirecting(f"/{status}", f"scheme: https, statusCode: {status}") for status in (303, 307)),
)


def test_filters_of_a_rules_only_backend_act_as_those_of_the_rule(tmp_path: Path) -> None:
    table = """
    GET http://x.example/full/of?q=1 => a path=/new?q=1
    GET http://x.example/prefix/of => a path=/new/of host=in.test
    GET http://x.example/away/1 => 301 http://away.test/away/1
    GET http://x.example/both => a x-set=backend x-more=1
    GET http://x.example/303 => 303 https://x.example/303
    GET http://x.example/307/1 => 307 https://x.example/307/1
    """

    async def run() -> list[str]:
        async with served(EDGE + http_route("\n".join(ALONE)), tmp_path, "a") as gate:
            return await mistakes(gate, table)

    assert asyncio.run(run()) == []


def test_each_backend_has_its_own_filters(tmp_path: Path) -> None:
    def share(name: str) -> str:
        request = f"{{type: RequestHeaderModifier, requestHeaderModifier: {{set: [{{name: x-for, value: {name}}}]}}}}"
        answer = f"{{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-from, value: {name}}}], remove: [x-path]}}}}"
        return f"{{name: {name}, port: 8080, filters: [{request}, {answer}]}}"

    text = EDGE + http_route(f"- backendRefs: [{share('a')}, {share('b')}]")

    async def run() -> None:
        async with served(text, tmp_path, *"ab") as gate:
            seen = set()
            while seen != {"a", "b"}:
                response = await gate.send("GET", "http://x.example/", {})
                name = response.get("x-cluster") or ""
                assert response.get("x-from") == name
                assert f'["x-for", "{name}"]' in (response.get("x-saw") or "")
                seen.add(name)

    asyncio.run(run())
