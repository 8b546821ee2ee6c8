"""What the specification expects of HTTPRoutes at a gateway: a real Envoy does it, and `explain` says so."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from support.gateway_api import EDGE, mistakes, served

pytestmark = pytest.mark.envoy


def route(spec: str, *, name: str = "r", namespace: str = "default", parent: str = "{name: edge, namespace: default}") -> str:
    body = "\n".join(f"  {line}" for line in spec.strip("\n").split("\n"))
    head = f"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, namespace: {namespace}}}"
    return f"{head}\nspec:\n  parentRefs: [{parent}]\n{body}\n---\n"


def rule(matches: str, backend: str, more: str = "") -> str:
    return f"- matches: [{matches}]\n  backendRefs: [{{name: {backend}, port: 8080}}]\n{more}"


def rules(*made: str) -> str:
    return "rules:\n" + "\n".join(made)


def prefix(value: str, more: str = "") -> str:
    return f"{{path: {{value: {value}}}{more}}}"


def exact(value: str) -> str:
    return f"{{path: {{type: Exact, value: {value}}}}}"


REWRITES = """
/foo/bar /foo /xyz /xyz/bar
/foo/bar /foo /xyz/ /xyz/bar
/foo/bar /foo/ /xyz /xyz/bar
/foo/bar /foo/ /xyz/ /xyz/bar
/foo /foo /xyz /xyz
/foo/ /foo /xyz /xyz/
/foo/bar /foo "" /bar
/foo/ /foo "" /
/foo /foo "" /
/foo/ /foo / /
/foo /foo / /
/foo?q=1 /foo /xyz /xyz?q=1
/foo/bar?q=1 /foo / /bar?q=1
/foo/bar / /xyz /xyz/foo/bar
/fo+o/a.b /fo+o / /a.b
""".strip().splitlines()
"""The specification's table of prefix replacements, and more: path, prefix, replacement, what the backend sees."""


def _rewrite(number: int, line: str) -> str:
    _, before, after, _ = line.split()
    modifier = f"{{type: ReplacePrefixMatch, replacePrefixMatch: {after}}}"
    filters = f"  filters: [{{type: URLRewrite, urlRewrite: {{path: {modifier}}}}}]"
    return route(f"hostnames: [n{number}.example]\n" + rules(rule(prefix(before), "a", filters)), name=f"r{number}")


SCENES = {
    "paths are matched by segments, exactly, or by expression": (
        EDGE
        + route(
            rules(
                rule(exact("/exact"), "a"),
                rule(prefix("/pre"), "b"),
                rule(prefix("/slash/"), "b"),
                rule("{path: {type: RegularExpression, value: '/ex/[0-9]+'}}", "c"),
            )
        ),
        """
        GET http://x.example/exact => a
        GET http://x.example/exact?q=1 => a
        GET http://x.example/exact/ => 404
        GET http://x.example/Exact => 404
        GET http://x.example/pre => b
        GET http://x.example/pre/ => b
        GET http://x.example/pre/more => b
        GET http://x.example/prefix => 404
        GET http://x.example/slash => b
        GET http://x.example/slash/ => b
        GET http://x.example/slash/x => b
        GET http://x.example/slashes => 404
        GET http://x.example/ex/42 => c
        GET http://x.example/ex/4x => 404
        GET http://x.example/ => 404
        """,
    ),
    "the more specific match goes first, whatever the order of rules": (
        EDGE
        + route(
            rules(
                rule(prefix("/"), "a"),
                rule(prefix("/one"), "b"),
                rule(prefix("/one/two"), "c"),
                rule(exact("/one/two/three"), "d"),
                rule(prefix("/one", ", headers: [{name: x, value: '1'}]"), "c"),
                rule(prefix("/one", ", headers: [{name: x, value: '1'}, {name: y, value: '1'}]"), "d"),
                rule(prefix("/one", ", method: PUT"), "e"),
                rule(prefix("/one", ", queryParams: [{name: q, value: '1'}]"), "e"),
            )
        ),
        """
        GET http://x.example/ => a
        GET http://x.example/one => b
        GET http://x.example/one/two => c
        GET http://x.example/one/two/three => d
        GET http://x.example/one x=1 => c
        GET http://x.example/one x=1 y=1 => d
        PUT http://x.example/one x=1 y=1 => e
        GET http://x.example/one?q=1 => e
        GET http://x.example/one?q=1 x=1 => c
        GET http://x.example/one/two x=1 y=1 => c
        """,
    ),
    "headers, queries and methods": (
        EDGE
        + route(
            rules(
                rule("{headers: [{name: X-One, value: a}, {name: x-one, value: never}]}", "a"),
                rule("{headers: [{name: x-two, type: RegularExpression, value: '[0-9]+'}]}", "b"),
                rule("{queryParams: [{name: q, value: a}]}", "c"),
                rule("{queryParams: [{name: q, type: RegularExpression, value: 'b.*'}]}", "d"),
                rule("{method: DELETE}, {method: PATCH}", "e"),
            )
        ),
        """
        GET http://x.example/ x-one=a => a
        GET http://x.example/ x-one=b => 404
        GET http://x.example/ x-two=42 => b
        GET http://x.example/ x-two=4x => 404
        GET http://x.example/?q=a => c
        GET http://x.example/?q=bcd => d
        GET http://x.example/?q=A => 404
        DELETE http://x.example/ => e
        PATCH http://x.example/ => e
        POST http://x.example/ => 404
        """,
    ),
    "hosts of a listener and of routes are intersected, and the more specific goes first": (
        EDGE.replace("protocol: HTTP}", "protocol: HTTP, hostname: '*.example'}")
        + route("hostnames: [a.example, '*.b.example', elsewhere.test]\n" + rules(rule(prefix("/"), "a")), name="first")
        + route("hostnames: ['*.example']\n" + rules(rule(prefix("/wide"), "b")), name="second")
        + route("hostnames: [c.example]\n" + rules(rule(prefix("/own"), "c")), name="third"),
        """
        GET http://a.example/wide => a
        GET http://a.example:80/ => a
        GET http://x.b.example/ => a
        GET http://y.x.b.example/ => a
        GET http://b.example/ => 404
        GET http://b.example/wide => b
        GET http://c.example/own => c
        GET http://c.example/wide => b
        GET http://c.example/other => 404
        GET http://elsewhere.test/ => 404
        GET http://example/ => 404
        """,
    ),
    "a request belongs to one listener, the most specific": (
        EDGE.replace(
            "[{name: web, port: 80, protocol: HTTP}]",
            "[{name: all, port: 80, protocol: HTTP}, {name: some, port: 80, protocol: HTTP, hostname: '*.example'},"
            " {name: one, port: 80, protocol: HTTP, hostname: a.example}, {name: other, port: 81, protocol: HTTP, hostname: a.example}]",
        )
        + route(rules(rule(prefix("/all"), "a")), name="all", parent="{name: edge, sectionName: all}")
        + route(rules(rule(prefix("/some"), "b")), name="some", parent="{name: edge, sectionName: some}")
        + route("hostnames: [a.example]\n" + rules(rule(prefix("/one"), "c")), name="one", parent="{name: edge, sectionName: one}")
        + route("hostnames: [a.example]\n" + rules(rule(prefix("/late"), "d")), name="late", parent="{name: edge, sectionName: all}")
        + route(rules(rule(prefix("/port"), "e")), name="port", parent="{name: edge, port: 81}"),
        """
        GET http://a.example/one => c
        GET http://a.example/some => 404
        GET http://a.example/all => 404
        GET http://a.example/late => 404
        GET http://b.example/some => b
        GET http://b.example/all => 404
        GET http://b.test/all => a
        GET http://b.test/some => 404
        GET http://a.example:81/port => e
        GET http://a.example/port => 404
        """,
    ),
    "hosts of a route that belong to another listener are not served by its own": (
        EDGE.replace(
            "[{name: web, port: 80, protocol: HTTP}]",
            "[{name: any, port: 80, protocol: HTTP}, {name: wide, port: 80, protocol: HTTP, hostname: '*.example'},"
            " {name: deep, port: 80, protocol: HTTP, hostname: '*.deep.example'},"
            " {name: one, port: 80, protocol: HTTP, hostname: one.deep.example}]",
        )
        + "".join(
            route(
                "hostnames: [bar.test, '*.example', '*.deep.example', one.deep.example]\n" + rules(rule(prefix(f"/{name}"), backend)),
                name=name,
                parent=f"{{name: edge, sectionName: {name}}}",
            )
            for name, backend in (("any", "a"), ("wide", "b"), ("deep", "c"), ("one", "d"))
        ),
        "\n".join(
            f"GET http://{host}/{path} => {backend if host == own else 404}"
            for own, path, backend in (
                ("bar.test", "any", "a"),
                ("bar.example", "wide", "b"),
                ("bar.deep.example", "deep", "c"),
                ("one.deep.example", "one", "d"),
            )
            for host in ("bar.test", "bar.example", "bar.deep.example", "one.deep.example")
        ),
    ),
    "of routes for one host the one that names it most closely goes first, however old": (
        EDGE.replace(
            "[{name: web, port: 80, protocol: HTTP}]",
            "[{name: one, port: 80, protocol: HTTP, hostname: one.deep.example},"
            " {name: deep, port: 80, protocol: HTTP, hostname: '*.deep.example'}]",
        )
        + route(rules(rule(prefix("/"), "a"), rule(prefix("/a"), "a")), name="none")
        + route("hostnames: ['*.example']\n" + rules(rule(prefix("/b"), "b")), name="wide")
        + route("hostnames: ['*.deep.example']\n" + rules(rule(prefix("/b"), "c"), rule(prefix("/c"), "c")), name="deep")
        + route("hostnames: [one.deep.example]\n" + rules(rule(prefix("/c"), "d")), name="exact"),
        """
        GET http://one.deep.example/c => d
        GET http://one.deep.example/b => c
        GET http://one.deep.example/a => a
        GET http://one.deep.example/ => a
        GET http://two.deep.example/c => c
        GET http://two.deep.example/b => c
        GET http://two.deep.example/ => a
        """,
    ),
    "of equal rules the older route's goes first, then the first of its own": (
        EDGE
        + route(rules(rule(prefix("/same"), "a"), rule(prefix("/same"), "b")), name="z-older")
        + route(rules(rule(prefix("/same"), "c"), rule(prefix("/more"), "c")), name="a-newer"),
        """
        GET http://x.example/same => a
        GET http://x.example/more => c
        """,
    ),
    "prefixes are replaced by segments": (
        EDGE + "".join(_rewrite(number, line) for number, line in enumerate(REWRITES)),
        "\n".join(f"GET http://n{n}.example{line.split()[0]} => a path={line.split()[3]}" for n, line in enumerate(REWRITES)),
    ),
    "paths and hosts are rewritten, headers changed": (
        EDGE
        + route(
            rules(
                rule(
                    prefix("/full"),
                    "a",
                    "  filters: [{type: URLRewrite, urlRewrite: {hostname: in.test, path: {type: ReplaceFullPath, replaceFullPath: /1}}}]",
                ),
                rule(prefix("/host"), "a", "  filters: [{type: URLRewrite, urlRewrite: {hostname: in.test}}]"),
                rule(
                    prefix("/headers"),
                    "a",
                    "  filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Set, value: new%},"
                    " {name: x-set, value: no}], add: [{name: x-add, value: two}, {name: X-Add, value: no}], remove: [x-gone]}}]",
                ),
                rule(
                    prefix("/own-host"),
                    "a",
                    "  filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: in.test}]}}]",
                ),
            )
        ),
        """
        GET http://x.example/full/of?q=1 => a path=/1?q=1 host=in.test
        GET http://x.example/host => a path=/host host=in.test
        GET http://x.example/headers x-set=old x-add=one x-gone=1 => a x-set=new% x-add=one,two x-gone=- host=x.example
        GET http://x.example/own-host => a host=in.test
        """,
    ),
    "redirects": (
        EDGE
        + route(
            "rules:\n"
            + "\n".join(
                f"- matches: [{{path: {{value: {path}}}}}]\n  filters: [{{type: RequestRedirect, requestRedirect: {{{how}}}}}]"
                for path, how in (
                    ("/host", "hostname: new.example"),
                    ("/status", "hostname: new.example, statusCode: 308"),
                    ("/secure", "scheme: https, statusCode: 301"),
                    ("/port", "port: 8443"),
                    ("/both", "scheme: https, port: 443, hostname: new.example"),
                    ("/odd", "scheme: http, port: 443, hostname: new.example"),
                    ("/full", "path: {type: ReplaceFullPath, replaceFullPath: /there}"),
                    ("/old", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}"),
                    ("/strip", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"),
                )
            )
        ),
        """
        GET http://x.example/host/a?q=1 => 302 http://new.example/host/a?q=1
        GET http://x.example/status => 308 http://new.example/status
        GET http://x.example/secure => 301 https://x.example/secure
        GET http://x.example/port => 302 http://x.example:8443/port
        GET http://x.example/both => 302 https://new.example/both
        GET http://x.example/odd => 302 http://new.example:443/odd
        GET http://x.example/full/of?q=1 => 302 http://x.example/there?q=1
        GET http://x.example/old/a => 302 http://x.example/new/a
        GET http://x.example/strip/a => 302 http://x.example/a
        GET http://x.example/strip => 302 http://x.example/
        """,
    ),
    "redirects from a port of its own": (
        EDGE.replace("port: 80", "port: 8080")
        + route(
            "rules:\n"
            + "\n".join(
                f"- matches: [{{path: {{value: {path}}}}}]\n  filters: [{{type: RequestRedirect, requestRedirect: {{{how}}}}}]"
                for path, how in (
                    ("/host", "hostname: new.example"),
                    ("/secure", "scheme: https"),
                    ("/plain", "scheme: http, hostname: b.c"),
                )
            )
        ),
        """
        GET http://x.example:8080/host => 302 http://new.example:8080/host
        GET http://x.example:8080/secure => 302 https://x.example:443/secure
        GET http://x.example:8080/plain => 302 http://b.c/plain
        """,
    ),
    "what is not valid is answered with 500": (
        EDGE
        + route(
            rules(
                rule(prefix("/gone"), "gone"),
                rule(prefix("/port"), "a").replace("port: 8080", "port: 9"),
                "- matches: [{path: {value: /kind}}]\n  backendRefs: [{kind: Bucket, group: x.example, name: a}]",
                "- matches: [{path: {value: /none}}]",
                "- matches: [{path: {value: /zero}}]\n  backendRefs: [{name: a, port: 8080, weight: 0}]",
                "- matches: [{path: {value: /plugin}}]\n  backendRefs: [{name: a, port: 8080}]\n"
                "  filters: [{type: ExtensionRef, extensionRef: {group: x.example, kind: F, name: f}}]",
                "- matches: [{path: {value: /abroad}}]\n  backendRefs: [{name: far, namespace: other, port: 8080}]",
                "- matches: [{path: {value: /granted}}]\n  backendRefs: [{name: near, namespace: other, port: 8080}]",
                rule(prefix("/good"), "a"),
            )
        )
        + """
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service, name: near}]
""",
        """
        GET http://x.example/gone => 500
        GET http://x.example/port => 500
        GET http://x.example/kind => 500
        GET http://x.example/none => 500
        GET http://x.example/zero => 500
        GET http://x.example/plugin => 500
        GET http://x.example/abroad => 500
        GET http://x.example/granted => near
        GET http://x.example/good => a
        """,
    ),
}
ABROAD = {"far": "other", "near": "other"}


@pytest.mark.parametrize("name", SCENES)
def test_requests(name: str, tmp_path: Path) -> None:
    text, table = SCENES[name]

    async def run() -> list[str]:
        async with served(text, tmp_path, *"abcde", *ABROAD, namespaces=ABROAD) as gate:
            return await mistakes(gate, table)

    assert asyncio.run(run()) == []


def test_shares_of_backends_and_of_what_is_not_valid(tmp_path: Path) -> None:
    backends = ", ".join(f"{{name: {name}, port: 8080, weight: {weight}}}" for name, weight in (("a", 6), ("b", 2), ("c", 0), ("gone", 2)))
    text = EDGE + route(f"rules: [{{backendRefs: [{backends}]}}]")

    async def run() -> Counter[str]:
        async with served(text, tmp_path, *"abc") as gate:
            seen: Counter[str] = Counter()
            for _ in range(400):
                response = await gate.send("GET", "http://x.example/", {})
                seen[response.get("x-cluster") or str(response.status)] += 1
            return seen

    seen = asyncio.run(run())
    assert set(seen) == {"a", "b", "500"}
    assert 180 < seen["a"] < 300
    assert min(seen["b"], seen["500"]) > 30
