"""Explain never fails on a request, and the route it names is the first that takes the request."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from support.generated_routes import Chance
from support.views import http_listener, to, view
from tulle.compile.explain import Request, UnusableRequestError, explain_view
from tulle.compile.explain.outcome import Backends, route
from tulle.compile.explain.request import Wire
from tulle.model.proxy import Node, Role
from tulle.model.routing import Compare, HeaderMatch, QueryMatch, Route, RouteMatch, RouteTable, StringMatch, VirtualHost

WORDS = st.text(st.sampled_from("/ab.*%2?&=#:[]x \\é\0"), max_size=12)
HEADERS = st.lists(st.tuples(WORDS | st.sampled_from(("host", "x", "content-type", "upgrade", "connection")), WORDS), max_size=4).map(tuple)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10_000), WORDS, WORDS, HEADERS, st.booleans(), st.booleans())
def test_no_request_makes_it_fail(
    seed: int, method: str, target: str, headers: tuple[tuple[str, str], ...], edge: bool, proxy: bool
) -> None:
    table = Chance(seed).table("t", tunnels=proxy)
    trace = route(table, Wire(method=method or "GET", target=target, headers=headers, edge=edge, proxy=proxy), Backends())
    json.dumps(trace.to_dict())
    assert trace.steps


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(("GET", "CONNECT", "x", "")), WORDS, HEADERS, st.booleans())
def test_no_url_makes_it_fail(seed: int, method: str, url: str, headers: tuple[tuple[str, str], ...], proxy: bool) -> None:
    seen = view(http_listener("l", Chance(seed).table("t"), forward_proxy=proxy))
    node = Node(id="x", role=Role.SIDECAR if proxy else Role.GATEWAY)
    for start in ("", "http://", "http://a.example/", "https://b.example:80/"):
        try:
            trace = explain_view(seen, node, Request(method=method, url=start + url, headers=headers))
        except UnusableRequestError as error:
            assert str(error)
        else:
            json.dumps(trace.to_dict())


PLAIN = st.sampled_from(("/", "/a", "/a/b", "/ab", "/b"))
VALUES = st.sampled_from(("1", "2", "12"))
MATCHES = st.builds(
    lambda path, header, query: RouteMatch(
        path=path and StringMatch(compare=path[0], value=path[1]),
        headers=(HeaderMatch(name="x", match=StringMatch(compare=header[0], value=header[1]), invert=header[2]),) if header else (),
        query=(QueryMatch(name="q", match=StringMatch(compare=Compare.EXACT, value=query)),) if query else (),
    ),
    st.none() | st.tuples(st.sampled_from((Compare.EXACT, Compare.PREFIX)), PLAIN),
    st.none() | st.tuples(st.sampled_from((Compare.EXACT, Compare.PREFIX, Compare.SUFFIX)), VALUES, st.booleans()),
    st.none() | VALUES,
)


def takes(match: RouteMatch, path: str, header: str | None, query: str | None) -> bool:
    """Said once more, in the simplest way."""
    if match.path and not (path == match.path.value if match.path.compare is Compare.EXACT else path.startswith(match.path.value)):
        return False
    for wanted in match.headers:
        value = header or ""
        text = wanted.match.value if wanted.match else ""
        same = {"exact": value == text, "prefix": value.startswith(text), "suffix": value.endswith(text)}[wanted.match.compare.value]
        if (same and header is not None) == wanted.invert:
            return False
    return all(query == wanted.match.value for wanted in match.query if wanted.match)


@settings(max_examples=500, deadline=None)
@given(st.lists(MATCHES, max_size=6), PLAIN, st.none() | VALUES, st.none() | VALUES)
def test_the_first_route_that_takes_the_request_wins(matches: list[RouteMatch], path: str, header: str | None, query: str | None) -> None:
    routes = tuple(Route(name=str(n), match=match, action=to("c")) for n, match in enumerate(matches))
    table = RouteTable(name="t", virtual_hosts=(VirtualHost(name="v", domains=("*",), routes=routes),))
    headers = (("host", "h"), *([("x", header)] if header else []))
    trace = route(table, Wire(method="GET", target=path + (f"?q={query}" if query else ""), headers=headers), Backends())
    expected = next((str(n) for n, match in enumerate(matches) if takes(match, path, header, query)), None)
    assert trace.route == expected
    assert (trace.direct_response is not None) == (expected is None)
    tried = [step.matched for step in trace.steps if step.rule in {r.name for r in routes}]
    assert tried == [False] * (len(routes) if expected is None else int(expected)) + [True] * (expected is not None)
