"""HTTP rules of VirtualServices as routes of the forward proxy."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.compiled import built, forward, gateway, hosts, instance, problems, routes, shares, sidecar, warnings
from tulle.compile import view
from tulle.model.routing import (
    Abort,
    Compare,
    Cors,
    Delay,
    DirectResponse,
    Fault,
    HeaderMatch,
    HeaderOps,
    Mirror,
    QueryMatch,
    Redirect,
    RetryPolicy,
    Route,
    RouteMatch,
    StringMatch,
)
from tulle.model.traffic import HashOn, HashPolicy

SUBSETS = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}]
"""
VIRTUAL = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews}}
spec:
  hosts: [reviews]
  http:
  {http}
"""
INSTANCES = (instance("reviews", "v1"), instance("reviews", "v2"), instance("ratings"))
TO = "route: [{destination: {host: reviews}}]"
DEFAULT_RETRY_ON = ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")


def compiled(http: str, **labels: str) -> tuple[Route, ...]:
    seen = view(built(SUBSETS + VIRTUAL.format(http=http), *INSTANCES).mesh, sidecar(**labels))
    assert not problems(seen)
    return routes(seen, "reviews:9080")


def only(http: str) -> Route:
    (route,) = compiled(http)
    return route


def exact(value: str, **more: bool) -> StringMatch:
    return StringMatch(compare=Compare.EXACT, value=value, **more)


def test_without_rules_requests_go_to_the_service() -> None:
    (route,) = routes(view(built("", *INSTANCES).mesh, sidecar()), "reviews:9080")
    assert (route.name, route.match, route.source) == ("default", RouteMatch(), None)
    assert shares(route) == {"reviews:9080": 1}
    assert forward(route).timeout is None
    assert forward(route).retry == RetryPolicy(attempts=2, retry_on=DEFAULT_RETRY_ON, retriable_status_codes=(), other_hosts=True)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("uri: {exact: /a}", RouteMatch(path=exact("/a"))),
        ("uri: {prefix: /a}", RouteMatch(path=StringMatch(compare=Compare.PREFIX, value="/a"))),
        ('uri: {regex: "/a.*"}', RouteMatch(path=StringMatch(compare=Compare.REGEX, value="/a.*"))),
        ("uri: {exact: /a}, ignoreUriCase: true", RouteMatch(path=exact("/a", ignore_case=True))),
        ("uri: {prefix: /}", RouteMatch()),
        ('uri: {regex: ".*"}', RouteMatch()),
        ("headers: {End-User: {exact: jason}}", RouteMatch(headers=(HeaderMatch(name="end-user", match=exact("jason")),))),
        ("headers: {x: {}}", RouteMatch(headers=(HeaderMatch(name="x"),))),
        ('headers: {x: {regex: "*"}}', RouteMatch(headers=(HeaderMatch(name="x"),))),
        ('headers: {x: {prefix: ""}}', RouteMatch(headers=(HeaderMatch(name="x"),))),
        ("withoutHeaders: {x: {exact: a}}", RouteMatch(headers=(HeaderMatch(name="x", match=exact("a"), invert=True),))),
        ("withoutHeaders: {x: {}}", RouteMatch(headers=(HeaderMatch(name="x", invert=True),))),
        ("method: {exact: GET}", RouteMatch(headers=(HeaderMatch(name=":method", match=exact("GET")),))),
        ("scheme: {exact: http}", RouteMatch(headers=(HeaderMatch(name=":scheme", match=exact("http")),))),
        ('authority: {exact: "a:80"}', RouteMatch(headers=(HeaderMatch(name=":authority", match=exact("a:80")),))),
        ("queryParams: {q: {exact: a}, p: {}}", RouteMatch(query=(QueryMatch(name="p"), QueryMatch(name="q", match=exact("a"))))),
        (
            "headers: {b: {exact: x}, a: {exact: y}}",
            RouteMatch(headers=(HeaderMatch(name="a", match=exact("y")), HeaderMatch(name="b", match=exact("x")))),
        ),
    ],
)
def test_match(match: str, expected: RouteMatch) -> None:
    assert compiled(f"- {{match: [{{{match}}}], {TO}}}")[0].match == expected


def test_alternatives_become_routes_in_order() -> None:
    first = f"- {{name: r, match: [{{uri: {{exact: /a}}, name: m}}, {{uri: {{exact: /b}}}}], {TO}}}"
    second = f"- {{match: [{{uri: {{exact: /c}}}}], {TO}}}"
    found = compiled(f"{first}\n  {second}")
    assert [(r.name, r.match.path and r.match.path.value) for r in found] == [("r.m", "/a"), ("r", "/b"), ("", "/c")]
    assert [r.source and r.source.field for r in found] == ["spec.http[0].match[0]", "spec.http[0].match[1]", "spec.http[1].match[0]"]


def test_nothing_comes_after_a_route_that_takes_every_request() -> None:
    text = SUBSETS + VIRTUAL.format(http=f"- {{{TO}}}\n  - {{match: [{{uri: {{exact: /a}}}}], {TO}}}")
    result = built(text, *INSTANCES)
    host = hosts(view(result.mesh, sidecar()))["reviews.default.svc.cluster.local:9080"]
    assert [r.source and r.source.field for r in host.routes if r.name != "connect"] == ["spec.http[0]"]
    assert [(s.source.field, s.why) for s in host.skipped] == [
        ("spec.http[1].match[0]", "never reached: VirtualService/reviews spec.http[0] (rules.yaml:16) takes every request")
    ]
    assert warnings(result, "VirtualService/reviews") == [
        "rules.yaml:17: VirtualService/reviews: spec.http[1].match[0]: never reached: spec.http[0] (rules.yaml:16) takes every request"
    ]


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ("port: 80", "only for port 80"),
        ("sourceLabels: {app: b}", "only for callers with labels app=b"),
        ("sourceNamespace: other", "only for callers in namespace other"),
        ("gateways: [edge]", "only for gateways edge"),
        ('headers: {"@request.auth.claims.a": {exact: x}}', "@request.auth.claims.a is known at gateways only"),
    ],
)
def test_rules_for_other_places_are_skipped_with_the_reason(match: str, why: str) -> None:
    text = SUBSETS + VIRTUAL.format(http=f"- {{match: [{{{match}}}], {TO}}}\n  - {TO}")
    host = hosts(view(built(text, *INSTANCES).mesh, sidecar(app="a")))["reviews.default.svc.cluster.local:9080"]
    assert [(s.source.field, s.why) for s in host.skipped] == [("spec.http[0].match[0]", why)]
    assert len(host.routes) == 2


@pytest.mark.parametrize("match", ["port: 9080", "sourceLabels: {app: a}", "sourceNamespace: default", "gateways: [mesh, edge]"])
def test_rules_for_this_place_are_in_force(match: str) -> None:
    found = compiled(f"- {{match: [{{uri: {{exact: /a}}, {match}}}], {TO}}}\n  - {TO}", app="a")
    assert [r.source and r.source.field for r in found] == ["spec.http[0].match[0]", "spec.http[1]"]


def test_where_no_rule_is_in_force_the_default_is() -> None:
    (route,) = compiled(f"- {{match: [{{port: 1}}], {TO}}}")
    assert (route.name, shares(route)) == ("default", {"reviews:9080": 1})


def test_weights_and_subsets() -> None:
    parts = ", ".join(f"{{destination: {{host: reviews, subset: v{n}}}, weight: {w}}}" for n, w in ((1, 90), (2, 10), (3, 0)))
    assert shares(only(f"- route: [{parts}]")) == {"reviews:9080/v1": 90, "reviews:9080/v2": 10}


def test_a_lone_destination_gets_everything() -> None:
    assert shares(only("- route: [{destination: {host: reviews, subset: v1}, weight: 0}]")) == {"reviews:9080/v1": 1}


@pytest.mark.parametrize(
    ("destination", "why"),
    [
        ("host: nowhere", "host nowhere.default.svc.cluster.local is not known in namespace default"),
        (
            "host: reviews.default",
            "host reviews.default is not known in namespace default; its full name is reviews.default.svc.cluster.local",
        ),
        ("host: reviews, subset: v9", 'host reviews.default.svc.cluster.local has no subset "v9" in a DestinationRule'),
        ("host: reviews, port: {number: 1}", "host reviews.default.svc.cluster.local has no port 1 (its ports: 9080)"),
    ],
)
def test_a_destination_that_leads_nowhere_answers_503_and_says_where(destination: str, why: str) -> None:
    text = SUBSETS + VIRTUAL.format(http=f"- route: [{{destination: {{{destination}}}}}]")
    result = built(text, *INSTANCES)
    (route,) = routes(view(result.mesh, sidecar()), "reviews:9080")
    assert forward(route).clusters == ()
    assert warnings(result, "VirtualService/reviews") == [
        f"rules.yaml:16: VirtualService/reviews: spec.http[0].route[0].destination: {why}: its requests are answered with 503"
    ]


def test_the_share_of_a_destination_that_leads_nowhere_goes_nowhere() -> None:
    route = only("- route: [{destination: {host: reviews, subset: v1}, weight: 1}, {destination: {host: nowhere}, weight: 3}]")
    assert shares(route) == {"reviews:9080/v1": 1, "BlackHoleCluster": 3}


def test_a_destination_in_another_namespace() -> None:
    text = VIRTUAL.format(http="- route: [{destination: {host: reviews.other.svc.cluster.local}}]")
    (route,) = routes(view(built(text, *INSTANCES, instance("reviews", namespace="other")).mesh, sidecar()), "reviews:9080")
    assert shares(route) == {"reviews.other.svc.cluster.local:9080": 1}


@pytest.mark.parametrize(("given", "expected"), [("0.5s", timedelta(milliseconds=500)), ("0s", None)])
def test_timeout(given: str, expected: timedelta | None) -> None:
    """Zero is none, as for Envoy and the Gateway API."""
    assert forward(only(f"- {{timeout: {given}, {TO}}}")).timeout == expected


def test_a_delegate_may_turn_off_the_timeout_of_the_root() -> None:
    found, _ = delegated(timeout="timeout: 0s, ")
    assert [forward(r).timeout for r in found[:2]] == [None, timedelta(seconds=3)]


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        ("attempts: 0", None),
        ("attempts: 3", RetryPolicy(attempts=3, retry_on=DEFAULT_RETRY_ON)),
        (
            'attempts: 1, perTryTimeout: 2s, retryOn: "5xx,503, reset"',
            RetryPolicy(
                attempts=1,
                retry_on=("5xx", "reset", "retriable-status-codes"),
                retriable_status_codes=(503,),
                per_try_timeout=timedelta(seconds=2),
            ),
        ),
        ("attempts: 1, retryOn: gateway-error", RetryPolicy(attempts=1, retry_on=("gateway-error",))),
        (
            "attempts: 1, retryRemoteLocalities: true, backoff: 1s, retryIgnorePreviousHosts: false",
            RetryPolicy(
                attempts=1, retry_on=DEFAULT_RETRY_ON, retry_remote_localities=True, backoff=timedelta(seconds=1), other_hosts=False
            ),
        ),
    ],
)
def test_retries(retries: str, expected: RetryPolicy | None) -> None:
    assert forward(only(f"- {{retries: {{{retries}}}, {TO}}}")).retry == expected


def test_rewrite() -> None:
    assert forward(only(f"- {{rewrite: {{uri: /x, authority: h.example}}, {TO}}}")).prefix_rewrite == "/x"
    assert forward(only(f"- {{rewrite: {{uri: /x, authority: h.example}}, {TO}}}")).host_rewrite == "h.example"
    regex = only(f'- {{rewrite: {{uriRegexRewrite: {{match: "/a/(.*)", rewrite: "/b/\\\\1"}}}}, {TO}}}')
    assert forward(regex).regex_rewrite == ("/a/(.*)", "/b/\\1")


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ("uri: /x", Redirect(path="/x")),
        ("prefixRewrite: /x", Redirect(prefix_rewrite="/x")),
        ('uri: "%PREFIX()%/x"', Redirect(prefix_rewrite="/x")),
        ("authority: a.example, redirectCode: 308", Redirect(host="a.example", status=308)),
        ("scheme: https, port: 8443", Redirect(scheme="https", port=8443)),
        ("scheme: https, derivePort: FROM_PROTOCOL_DEFAULT", Redirect(scheme="https", port=443)),
        ("authority: a, derivePort: FROM_PROTOCOL_DEFAULT", Redirect(host="a", port=80)),
        ("authority: a, derivePort: FROM_REQUEST_PORT", Redirect(host="a", port=9080)),
    ],
)
def test_redirect(redirect: str, expected: Redirect) -> None:
    assert only(f"- redirect: {{{redirect}}}").action == expected


def test_direct_response() -> None:
    assert only("- directResponse: {status: 418, body: {string: tea}}").action == DirectResponse(status=418, body=b"tea")
    assert only("- directResponse: {status: 503}").action == DirectResponse(status=503)


def test_headers_of_the_route_come_before_those_of_a_lone_destination() -> None:
    route = only(
        """- headers: {request: {set: {b: "1", A: "2"}, add: {x: "1"}, remove: [r2, r1]}, response: {add: {s: "1"}}}
    route: [{destination: {host: reviews}, headers: {request: {set: {x: "3", c: "4"}, remove: [r0]}}}]"""
    )
    assert route.request_headers == HeaderOps(remove=("r1", "r2", "r0"), set=(("a", "2"), ("b", "1"), ("c", "4"), ("x", "3")), add=())
    assert route.response_headers == HeaderOps(add=(("s", "1"),))


def test_headers_of_several_destinations_stay_with_them() -> None:
    route = only(
        """- route:
    - {destination: {host: reviews, subset: v1}, weight: 1, headers: {response: {set: {from: v1}}, request: {set: {":authority": one}}}}
    - {destination: {host: reviews, subset: v2}, weight: 1}"""
    )
    first, second = forward(route).clusters
    assert (first.response_headers, first.host_rewrite) == (HeaderOps(set=(("from", "v1"),)), "one")
    assert (second.response_headers, second.host_rewrite) == (HeaderOps(), None)
    assert not route.response_headers


@pytest.mark.parametrize(
    ("rule", "host"),
    [
        ("headers: {request: {set: {host: a}}}, " + TO, "a"),
        ("rewrite: {authority: b}, headers: {request: {set: {host: a}}}, " + TO, "b"),
        ('route: [{destination: {host: reviews}, headers: {request: {set: {":authority": c}}}}]', "c"),
        ("headers: {request: {set: {Host: a}}}, route: [{destination: {host: reviews}, headers: {request: {set: {host: c}}}}]", "a"),
    ],
)
def test_who_rewrites_the_host(rule: str, host: str) -> None:
    route = only(f"- {{{rule}}}")
    assert forward(route).host_rewrite == host
    assert not route.request_headers


@pytest.mark.parametrize(
    ("mirror", "expected"),
    [
        ("mirror: {host: ratings}", [("ratings", 100.0)]),
        ("mirror: {host: ratings}, mirrorPercentage: {value: 12.5}", [("ratings", 12.5)]),
        ("mirror: {host: ratings}, mirror_percent: 3", [("ratings", 3.0)]),
        ("mirror: {host: ratings}, mirrorPercentage: {value: 0}", []),
        ("mirror: {host: nowhere}", []),
        (
            "mirrors: [{destination: {host: ratings}}, {destination: {host: ratings}, percentage: {value: 1}}]",
            [("ratings", 100.0), ("ratings", 1.0)],
        ),
    ],
)
def test_mirror(mirror: str, expected: list[tuple[str, float]]) -> None:
    route = only(f"- {{{mirror}, {TO}}}")
    assert forward(route).mirrors == tuple(Mirror(cluster=f"outbound|9080||{n}.default.svc.cluster.local", percent=p) for n, p in expected)


def test_a_mirror_that_leads_nowhere_is_told() -> None:
    result = built(VIRTUAL.format(http=f"- {{mirror: {{host: nowhere}}, {TO}}}"), *INSTANCES)
    assert "spec.http[0].mirror: host nowhere.default.svc.cluster.local is not known" in warnings(result, "VirtualService/reviews")[0]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("delay: {fixedDelay: 5s, percentage: {value: 100}}", Fault(delay=Delay(duration=timedelta(seconds=5), percent=100.0))),
        ("delay: {fixedDelay: 5s, percentage: 100}", Fault(delay=Delay(duration=timedelta(seconds=5), percent=100.0))),
        ("delay: {fixedDelay: 5s, percent: 7}", Fault(delay=Delay(duration=timedelta(seconds=5), percent=7.0))),
        ("delay: {fixedDelay: 5s}", None),
        ("abort: {httpStatus: 500, percentage: 10}", Fault(abort=Abort(percent=10.0, http_status=500))),
        ("abort: {grpcStatus: UNAVAILABLE, percentage: {value: 0.1}}", Fault(abort=Abort(percent=0.1, grpc_status=14))),
        ("abort: {httpStatus: 500}", None),
        (
            "delay: {fixedDelay: 1s, percentage: 1}, abort: {httpStatus: 500, percentage: 2}",
            Fault(delay=Delay(duration=timedelta(seconds=1), percent=1.0), abort=Abort(percent=2.0, http_status=500)),
        ),
    ],
)
def test_fault(fault: str, expected: Fault | None) -> None:
    assert only(f"- {{fault: {{{fault}}}, {TO}}}").fault == expected


def test_cors() -> None:
    cors = """corsPolicy: {allowOrigins: [{exact: "https://a"}, {regex: ".*"}], allowMethods: [GET], allowHeaders: [x],
      exposeHeaders: [y], maxAge: 24h, allowCredentials: true, unmatchedPreflights: IGNORE}"""
    assert only(f"- {{{cors}, {TO}}}").cors == Cors(
        allow_origins=(exact("https://a"), StringMatch(compare=Compare.REGEX, value=".*")),
        allow_methods=("GET",),
        allow_headers=("x",),
        expose_headers=("y",),
        max_age=timedelta(hours=24),
        allow_credentials=True,
        forward_unmatched_preflights=False,
    )
    assert only(f'- {{corsPolicy: {{allowOrigin: ["https://a"]}}, {TO}}}').cors == Cors(allow_origins=(exact("https://a"),))


def test_a_consistent_hash_is_on_the_routes_to_its_destination() -> None:
    rule = SUBSETS + "  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: X-User}}}"
    seen = view(built(rule, *INSTANCES).mesh, sidecar())
    (route,) = routes(seen, "reviews:9080")
    assert forward(route).hash_policies == (HashPolicy(on=HashOn.HEADER, name="x-user"),)
    retry = forward(route).retry
    assert retry
    assert not retry.other_hosts
    (other,) = routes(view(built(rule + VIRTUAL.format(http="- " + TO), *INSTANCES).mesh, sidecar()), "reviews:9080")
    assert forward(other).hash_policies == forward(route).hash_policies


DELEGATING = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: root}}
spec:
  hosts: [reviews]
  http:
  - {{name: outer, match: [{match}], timeout: 3s, delegate: {{name: leaf, namespace: {namespace}}}}}
  - {to}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: leaf, namespace: other}}
spec:
  {more}
  http:
  - {{name: a, match: [{{uri: {{prefix: /x/a}}}}], {timeout}retries: {{attempts: 0}}, route: [{{destination: {{host: ratings}}}}]}}
  - {{name: b, route: [{{destination: {{host: ratings.other.svc.cluster.local}}}}]}}
"""


def delegated(
    match: str = "{uri: {prefix: /x}}", namespace: str = "other", more: str = 'exportTo: ["*"]', timeout: str = ""
) -> tuple[list[Route], list[str]]:
    text = DELEGATING.format(match=match, namespace=namespace, to=TO, more=more, timeout=timeout)
    result = built(text, *INSTANCES, instance("ratings", namespace="other"))
    return list(routes(view(result.mesh, sidecar()), "reviews:9080")), warnings(result, "VirtualService/root")


def test_a_delegate_s_rules_stand_where_the_root_delegates() -> None:
    found, told = delegated()
    assert [r.name for r in found] == ["outer-a", "outer-b", ""]
    assert [r.match.path and r.match.path.value for r in found] == ["/x/a", "/x", None]
    assert [shares(r) for r in found[:2]] == [{"ratings.other.svc.cluster.local:9080": 1}] * 2
    assert [forward(r).timeout for r in found[:2]] == [timedelta(seconds=3)] * 2
    assert forward(found[0]).retry is None
    assert [str(r.source and r.source.key) for r in found] == [
        "VirtualService/other/leaf",
        "VirtualService/other/leaf",
        "VirtualService/default/root",
    ]
    assert told == []


def test_a_delegate_s_rule_outside_of_the_root_s_match_is_left_out() -> None:
    found, told = delegated(match="{uri: {exact: /y}}")
    assert [r.name for r in found] == ["outer-b", ""]
    assert "VirtualService/leaf: spec.http[0]: can never match together with VirtualService/root spec.http[0]" in told[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"namespace": "nowhere"}, "does not exist"),
        ({"more": 'exportTo: ["."]'}, "is not exported to namespace default"),
        ({"more": "hosts: [ratings]"}, "has hosts, so it cannot be delegated to"),
    ],
)
def test_delegates_that_cannot_be_used_are_left_out_with_a_word(change: dict[str, str], why: str) -> None:
    found, told = delegated(**change)
    assert [r.source and r.source.field for r in found] == ["spec.http[1]"]
    assert why in told[0]


def test_a_virtual_service_without_hosts_that_nobody_names_is_told() -> None:
    text = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: leaf}\nspec: {http: [{" + TO + "}]}"
    assert (
        "in force only where a VirtualService delegates to it, and none does" in warnings(built(text, *INSTANCES), "VirtualService/leaf")[0]
    )


def test_the_oldest_virtual_service_has_a_host_to_itself_on_sidecars() -> None:
    second = VIRTUAL.format(http="- route: [{destination: {host: ratings}}]").replace("name: reviews}", "name: later}")
    result = built(VIRTUAL.format(http="- " + TO) + second, *INSTANCES)
    (route,) = routes(view(result.mesh, sidecar()), "reviews:9080")
    assert shares(route) == {"reviews:9080": 1}
    assert warnings(result, "VirtualService/reviews") == []
    assert (
        "VirtualService default/reviews (rules.yaml:3) is older and has host reviews.default.svc.cluster.local to itself"
        in (warnings(result, "VirtualService/later")[0])
    )


def test_a_more_specific_host_wins_whatever_its_age() -> None:
    wild = VIRTUAL.format(http="- route: [{destination: {host: ratings}}]").replace("[reviews]", '["*.default.svc.cluster.local"]')
    wild = wild.replace("name: reviews}", "name: wild}")
    seen = view(built(wild + VIRTUAL.format(http="- " + TO), *INSTANCES, instance("details")).mesh, sidecar())
    assert shares(routes(seen, "reviews:9080")[0]) == {"reviews:9080": 1}
    assert shares(routes(seen, "details:9080")[0]) == {"ratings:9080": 1}


def test_rules_of_gateways_only_are_not_for_sidecars() -> None:
    text = VIRTUAL.format(http="- {name: edge, directResponse: {status: 500}}").replace(
        "hosts: [reviews]", "hosts: [reviews]\n  gateways: [edge]"
    )
    assert [r.name for r in routes(view(built(text, *INSTANCES).mesh, sidecar()), "reviews:9080")] == ["default"]


def test_a_host_that_is_no_service_acts_on_port_80() -> None:
    text = VIRTUAL.format(http="- {name: out, route: [{destination: {host: reviews, port: {number: 9080}}}]}").replace(
        "[reviews]", "[api.example.com]"
    )
    seen = view(built(text, *INSTANCES).mesh, sidecar())
    assert hosts(seen)["api.example.com:80"].domains == ("api.example.com", "api.example.com:80")
    assert [r.name for r in routes(seen, "api.example.com:80")] == ["out"]
    assert not problems(seen)


def test_not_exported_rules_are_not_in_force_elsewhere() -> None:
    text = VIRTUAL.format(http="- {name: mine, directResponse: {status: 500}}").replace(
        "hosts: [reviews]", 'hosts: [reviews]\n  exportTo: ["."]'
    )
    mesh = built(text, *INSTANCES).mesh
    host = "reviews.default.svc.cluster.local:9080"
    assert [r.name for r in routes(view(mesh, sidecar()), host)] == ["mine"]
    assert [r.name for r in routes(view(mesh, sidecar("other")), host)] == ["default"]
    assert view(mesh, gateway()).route_tables == ()
