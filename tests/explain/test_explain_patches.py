"""EnvoyFilters on a request's way, rules that delegate, and subsets without instances."""

from __future__ import annotations

import pytest

from support.compiled import built, instance, sidecar
from tulle.compile.explain import Request, Trace, explain

MESH = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v9, labels: {version: v9}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: whole}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /part}}]
    delegate: {name: part}
  - name: main
    route: [{destination: {host: reviews, subset: v9}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: part}
spec: {http: [{route: [{destination: {host: reviews, subset: v1}}]}]}
---
"""
PATCH = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: changes}}
spec: {{configPatches: [{patch}]}}
"""
LUA = "{name: a, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, inline_code: ''}}"
HOST = "reviews.default.svc.cluster.local"


def asked(path: str, patch: str = "") -> Trace:
    text = MESH + (PATCH.format(patch=patch) if patch else "")
    return explain(built(text, instance("reviews")).mesh, sidecar(), Request(url=f"http://reviews:9080{path}"))


def told(trace: Trace, start: str) -> list[tuple[bool, str]]:
    return [(step.matched, step.why) for step in trace.steps if step.rule.startswith(start)]


def change(apply_to: str, operation: str, match: str = "", value: str = "") -> str:
    body = f", value: {value}" if value else ""
    return f"{{applyTo: {apply_to}, match: {{{match}}}, patch: {{operation: {operation}{body}}}}}"


def routed(vhost: str) -> str:
    return f"routeConfiguration: {{vhost: {{{vhost}}}}}"


@pytest.mark.parametrize(
    ("patch", "what"),
    [
        (
            change("CLUSTER", "MERGE", f"cluster: {{service: {HOST}}}", "{connect_timeout: 3s}"),
            f"changes the cluster outbound|9080|v1|{HOST}",
        ),
        (change("CLUSTER", "REMOVE", "cluster: {subset: v9}"), ""),
        (change("CLUSTER", "ADD", value="{name: more}"), ""),
        (change("HTTP_ROUTE", "MERGE", routed(f"name: '{HOST}:9080'"), "{name: b}"), "changes the route VirtualService/part spec.http[0]"),
        (change("HTTP_ROUTE", "REMOVE", routed("route: {name: main}")), ""),
        (change("HTTP_ROUTE", "REMOVE", routed("route: {action: REDIRECT}")), ""),
        (
            change("HTTP_ROUTE", "INSERT_FIRST", value="{match: {prefix: /}, direct_response: {status: 204}}"),
            "inserts into the virtual host",
        ),
        (change("VIRTUAL_HOST", "REMOVE", "routeConfiguration: {portNumber: 9080}"), "removes from or takes away the virtual host"),
        (change("VIRTUAL_HOST", "REMOVE", "routeConfiguration: {portNumber: 9081}"), ""),
        (change("ROUTE_CONFIGURATION", "MERGE", value="{most_specific_header_mutations_wins: true}"), "changes the route table http_proxy"),
        (change("HTTP_FILTER", "INSERT_FIRST", "context: SIDECAR_OUTBOUND", LUA), "inserts into the filter chain http_proxy"),
        (change("HTTP_FILTER", "INSERT_FIRST", "context: SIDECAR_INBOUND", LUA), ""),
        (change("LISTENER", "MERGE", value="{per_connection_buffer_limit_bytes: 1}"), "changes the listener 127.0.0.1_15001"),
        (change("LISTENER", "REMOVE", "listener: {portNumber: 1}"), ""),
    ],
)
def test_what_a_request_meets(patch: str, what: str) -> None:
    ((matched, why),) = told(asked("/part", patch), "EnvoyFilter/changes")
    assert matched == bool(what)
    assert why.startswith(f"it {what}" if what else "it changes what this proxy does")
    assert "in Envoy's own words" in why


def test_who_delegates_is_told() -> None:
    ((matched, why),) = told(asked("/part"), "VirtualService/part")
    assert matched
    assert why.endswith("VirtualService/whole spec.http[0] (rules.yaml:13) delegates to it")


def test_nobody_stands_in_for_a_subset() -> None:
    trace = asked("/other")
    assert trace.endpoints == ()
    assert trace.steps[-1].why == 'no instance has the labels of subset "v9", and no other stands in: answered 503'
