"""RateLimits in a real Envoy: who is counted, what counts, what callers are told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.backend import backend
from support.carried import ask, at, carried
from support.compiled import built, gateway
from support.edge import edge
from support.meshed import STRICT, meshed, opened, sidecar
from support.running import free_port
from support.tokens import Issuer
from tulle.compile import view
from tulle.compile.explain import Request, explain_view
from tulle.model.proxy import Upstream

pytestmark = pytest.mark.envoy

ISSUER = Issuer()
OK, LIMITED = 200, 429


TOKENS = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: istio-system}}
spec: {{jwtRules: [{{issuer: '{ISSUER.name}', jwks: '{ISSUER.key_set}'}}]}}
"""


def rate_limit(*limits: str, more: str = "", name: str = "limit") -> str:
    """Nothing is filled up while a test runs: each limit is for a day or a month."""
    return f"""apiVersion: tulle.dev/v1
kind: RateLimit
metadata: {{name: {name}, namespace: istio-system}}
spec: {{{more} limits: [{", ".join(f"{{{limit}}}" for limit in limits)}]}}
---
"""


@contextmanager
def limited(tmp_path: Path, *documents: str) -> Iterator[int]:
    port = free_port()
    text = edge(port, TOKENS) + "".join(documents)
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        yield port


def statuses(port: int, times: int, path: str = "/", **headers: str) -> list[int]:
    return [ask(port, path, headers={name.replace("_", "-"): value for name, value in headers.items()})[0] for _ in range(times)]


def test_what_is_left_is_told(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit("requests: 2, per: day")) as port:
        first, _, last = (ask(port) for _ in range(3))
        assert (first[0], first[1]["x-ratelimit-limit"], first[1]["x-ratelimit-remaining"]) == (OK, "2", "1")
        assert "retry-after" not in first[1]
        assert (last[0], last[1]["x-ratelimit-remaining"]) == (LIMITED, "0")
        assert 0 < int(last[1]["retry-after"]) <= 86_400
        assert int(last[1]["x-ratelimit-reset"]) > 0


def test_burst_and_silence(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit("requests: 2, per: month, burst: 3", more="headers: false,")) as port:
        answers = [ask(port) for _ in range(4)]
        assert [status for status, _, _ in answers] == [OK, OK, OK, LIMITED]
        assert not any(name.startswith("x-ratelimit") for _, headers, _ in answers for name in headers)


def test_what_is_counted_apart(tmp_path: Path) -> None:
    keys = "'request.headers[X-Key]', request.method, request.path, source.principal, 'request.auth.claims[realm][group]'"
    with limited(tmp_path, rate_limit(f"requests: 1, per: month, by: [{keys}]")) as port:
        assert statuses(port, 2) == [OK, LIMITED]
        assert statuses(port, 2, x_key="a") == [OK, LIMITED]
        assert statuses(port, 2, x_key="b") == [OK, LIMITED]
        assert statuses(port, 2, "/other") == [OK, LIMITED]
        assert statuses(port, 1, "/other?query=new") == [LIMITED], "the query is no part of the path"
        assert statuses(port, 1, x_envoy_original_path="/new") == [LIMITED], "a caller cannot say that its path was another"
        for group in ("clerks", "guests"):
            token = ISSUER.token(realm={"group": group})
            assert statuses(port, 2, authorization=f"Bearer {token}") == [OK, LIMITED], group
            other = ISSUER.token(realm={"group": group}, nonce=1)
            assert statuses(port, 1, authorization=f"Bearer {other}") == [LIMITED], "another token of the same group"


def test_callers_behind_a_gateway_are_told_apart_by_their_own_address(tmp_path: Path) -> None:
    with limited(tmp_path, rate_limit("requests: 1, per: month, by: [remote.ip]")) as port:
        assert statuses(port, 2) == [OK, LIMITED]
        assert statuses(port, 1, x_forwarded_for="10.1.2.3") == [LIMITED], "nobody may say who he is"


def test_only_what_matches_counts(tmp_path: Path) -> None:
    match = "match: {paths: [/api/*, /exact, '*.js'], notPaths: [/api/health], hosts: [Shop.example], notMethods: [POST]}"
    with limited(tmp_path, rate_limit(f"requests: 1, per: month, by: [request.path], {match}")) as port:
        for path in ("/api/a", "/exact", "/exact?x=1", "/lib/a.js?v=2"):
            expected = [LIMITED, LIMITED] if path == "/exact?x=1" else [OK, LIMITED]
            assert statuses(port, 2, path, host="shop.example:8080") == expected, path
        for path in ("/api", "/exactly", "/a.js/b", "/b?x=.js", "/api/health", "/api/health?x"):
            assert statuses(port, 2, path, host="shop.example") == [OK, OK], path
        assert statuses(port, 2, "/api/other", host="elsewhere.example") == [OK, OK]


def test_several_limits_hold_together(tmp_path: Path) -> None:
    documents = (
        rate_limit("requests: 1, per: month, by: [request.path]", "requests: 3, per: month"),
        rate_limit("requests: 9, per: day", name="b"),
    )
    with limited(tmp_path, *documents) as port:
        assert [statuses(port, 1, path) for path in ("/a", "/b", "/c", "/d")] == [[OK], [OK], [OK], [LIMITED]]


def test_who_is_refused_does_not_count(tmp_path: Path) -> None:
    refuse = """apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed, namespace: istio-system}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/closed]}}]}]}
---
"""
    with limited(tmp_path, refuse, rate_limit("requests: 1, per: month")) as port:
        assert statuses(port, 3, "/closed") == [403, 403, 403]
        assert statuses(port, 2) == [OK, LIMITED]


def test_explain_says_what_a_request_counts_against() -> None:
    document = rate_limit(
        "requests: 10, per: minute, burst: 20, by: [remote.ip, 'request.headers[x-key]']", "requests: 1, per: day, match: {paths: [/a]}"
    )
    mesh = built(edge(8080, TOKENS) + document, at("far", 80, 1, id="far")).mesh
    node = gateway()
    trace = explain_view(view(mesh, node), node, Request(url="http://127.0.0.1:8080/b", headers=(("x-key", "one"),)))
    said = {step.rule: (step.matched, step.why) for step in trace.steps if step.rule.startswith("RateLimit/")}
    apart = 'remote.ip "127.0.0.1" and request.headers[x-key] "one"'
    why = f"it counts against 10 requests per minute, 20 at once, counted by this proxy, for {apart}"
    assert said == {
        "RateLimit/limit limits[0]": (True, why),
        "RateLimit/limit limits[1]": (False, "path is \"/b\", it counts only '/a' in any spelling or a path with an encoded /../"),
    }


def test_callers_are_told_apart_by_the_identity_that_their_certificate_proves(tmp_path: Path) -> None:
    """By `source.principal`, between real sidecars: a header says nothing."""
    direct, ports = free_port(), {"ann": free_port(), "ben": free_port()}
    text = f"{STRICT}---\n{rate_limit('requests: 2, per: month, by: [source.principal]').replace('istio-system', 'default')}"

    async def run() -> dict[str, list[int]]:
        with backend("app") as app:
            web = sidecar("web", opened(80, direct, app.port))
            callers = [sidecar(name, calls=(Upstream(host="web", port=80, bind_port=port),)) for name, port in ports.items()]
            async with meshed(tmp_path, text, (web, *callers)):
                return {
                    name: [(await asyncio.to_thread(ask, port, headers={"host": "web"}))[0] for _ in range(3)]
                    for name, port in ports.items()
                }

    assert asyncio.run(run()) == {"ann": [OK, OK, LIMITED], "ben": [OK, OK, LIMITED]}
