"""Changes to Envoy's own configuration: which messages they are for, what they do, and whom they are charged to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.backend import backend
from support.carried import ask, at, carried, snapshot
from support.compiled import built, gateway, instance, sidecar, warnings
from support.running import free_port
from tulle.compile import view
from tulle.model.proxy import InboundPort, Node, Upstream
from tulle.protos import from_dict, to_dict
from tulle.resources.read import read
from tulle.translate import CLUSTER, LISTENER, ROUTES, Snapshot, Translator
from tulle.translate.patching.merge import merge
from tulle.translate.static import decode

FILTER = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  priority: {priority}
  configPatches: [{patch}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{selector: {{app: {app}}}, ports: [{{port: 9080}}]}}
---
"""
FAULT = "envoy.filters.http.fault"
BUFFER = '{name: buffer, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 8}}'


def rule(patch: str, *, name: str = "a", namespace: str = "default", priority: int = 0) -> str:
    return FILTER.format(patch=patch, name=name, namespace=namespace, priority=priority)


def node(**more: Any) -> Node:
    inbound = (InboundPort(service_port=9080, listen=20001, target=20002),)
    return replace(sidecar(app="client", inbound=inbound, upstreams=(Upstream(host="far", port=9080, bind_port=19080),)), **more)


def seen(text: str, at_node: Node | None = None) -> Snapshot:
    return snapshot(text, at_node or node(), instance("far"))


def message(found: Snapshot, type_url: str, name: str) -> dict[str, Any]:
    entry = found.get(type_url, name)
    assert entry is not None, sorted(found.names(type_url))
    return to_dict(decode(entry))


def each(found: Snapshot, listener: str) -> list[list[str]]:
    """The HTTP filters of each chain: on a workload's port that for mutual TLS, then that for plain text."""
    chains = message(found, LISTENER, listener)["filter_chains"]
    return [[f["name"] for f in chain["filters"][0]["typed_config"]["http_filters"]] for chain in chains]


def filters(found: Snapshot, listener: str) -> list[str]:
    return each(found, listener)[-1]


INBOUND, OUTBOUND, PROXY = "127.0.0.1_20001", "127.0.0.1_19080", "127.0.0.1_15001"


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{}", {INBOUND, OUTBOUND, PROXY}),
        ("{context: SIDECAR_INBOUND}", {INBOUND}),
        ("{context: SIDECAR_OUTBOUND}", {OUTBOUND, PROXY}),
        ("{context: GATEWAY}", set()),
        ("{listener: {portNumber: 20001}}", {INBOUND}),
        ("{listener: {portNumber: 9080}}", {INBOUND}),
        ("{listener: {name: 127.0.0.1_15001}}", {PROXY}),
        ("{listener: {name: virtualInbound}}", {INBOUND}),
        ("{listener: {filterChain: {name: nothing}}}", set()),
        ("{listener: {filterChain: {sni: a.com}}}", set()),
        ("{listener: {filterChain: {transportProtocol: tls}}}", {INBOUND}),
        ("{listener: {filterChain: {applicationProtocols: 'h2,http/1.1'}}}", set()),
        ("{listener: {filterChain: {destinationPort: 9080}}}", {INBOUND}),
        ("{listener: {filterChain: {filter: {name: envoy.tcp_proxy}}}}", set()),
        ("{listener: {filterChain: {filter: {name: envoy.http_connection_manager}}}}", {INBOUND, OUTBOUND, PROXY}),
        ("{proxy: {proxyVersion: '^1.32'}}", {INBOUND, OUTBOUND, PROXY}),
        ("{proxy: {proxyVersion: '^1.5'}}", set()),
        ("{proxy: {metadata: {a: b}}}", set()),
        ("{proxy: {metadata: {NAMESPACE: default}}}", {INBOUND, OUTBOUND, PROXY}),
        ("{proxy: {metadata: {NAMESPACE: elsewhere}}}", set()),
        ("{listener: {filterChain: {transportSocket: envoy.transport_sockets.tls}}}", {INBOUND}),
    ],
)
def test_which_listeners_an_http_filter_is_for(match: str, expected: set[str]) -> None:
    found = seen(rule(f"{{applyTo: HTTP_FILTER, match: {match}, patch: {{operation: INSERT_FIRST, value: {BUFFER}}}}}"))
    assert {name for name in (INBOUND, OUTBOUND, PROXY) if any(chain[0] == "buffer" for chain in each(found, name))} == expected


PLAIN = ["envoy.filters.http.cors", FAULT, "envoy.filters.http.router"]


@pytest.mark.parametrize(
    ("operation", "sub_filter", "more", "expected"),
    [
        ("ADD", "", "", [*PLAIN[:2], "buffer", PLAIN[2]]),
        ("ADD", "", ", filterClass: AUTHZ", ["buffer", *PLAIN]),
        ("INSERT_FIRST", "", "", ["buffer", *PLAIN]),
        ("INSERT_BEFORE", FAULT, "", [PLAIN[0], "buffer", *PLAIN[1:]]),
        ("INSERT_AFTER", "envoy.fault", "", [*PLAIN[:2], "buffer", PLAIN[2]]),
        ("INSERT_AFTER", "nothing", "", PLAIN),
        ("REPLACE", FAULT, "", [PLAIN[0], "buffer", PLAIN[2]]),
        ("REMOVE", FAULT, "", [PLAIN[0], PLAIN[2]]),
    ],
)
def test_operations_on_a_list(operation: str, sub_filter: str, more: str, expected: list[str]) -> None:
    match = f"{{context: SIDECAR_INBOUND, listener: {{filterChain: {{filter: {{subFilter: {{name: '{sub_filter}'}}}}}}}}}}"
    found = seen(rule(f"{{applyTo: HTTP_FILTER, match: {match}, patch: {{operation: {operation}, value: {BUFFER}{more}}}}}"))
    assert [f for f in filters(found, INBOUND) if f in (*PLAIN, "buffer")] == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{cluster: {name: 'inbound|9080||'}}", {"inbound|9080||"}),
        ("{context: SIDECAR_INBOUND}", {"inbound|9080||"}),
        ("{cluster: {portNumber: 9080}}", {"inbound|9080||", "far"}),
        ("{cluster: {service: far.default.svc.cluster.local, subset: v1}}", {"inbound|9080||"} - {"inbound|9080||"}),
        ("{context: SIDECAR_OUTBOUND, cluster: {service: far.default.svc.cluster.local}}", {"far"}),
        ("{cluster: {service: far.default.svc.cluster.local}}", {"far"}),
        ("{cluster: {service: Client.default.svc.cluster.local}}", {"inbound|9080||"}),
        ("{cluster: {service: picked.default.svc.cluster.local, portNumber: 9080}}", {"inbound|9080||"}),
        ("{cluster: {service: passed-by.default.svc.cluster.local}}", set()),
    ],
)
def test_which_clusters_are_meant(match: str, expected: set[str]) -> None:
    services = "".join(SERVICE.format(name=name, app=app) for name, app in (("picked", "client"), ("passed-by", "other")))
    patch = f"{{applyTo: CLUSTER, match: {match}, patch: {{operation: MERGE, value: {{connect_timeout: 7s}}}}}}"
    found = seen(services + rule(patch), node(service="client"))
    names = {"far": "outbound|9080||far.default.svc.cluster.local", "inbound|9080||": "inbound|9080||"}
    assert {short for short, name in names.items() if message(found, CLUSTER, name)["connect_timeout"] == "7s"} == expected


def test_clusters_and_listeners_come_and_go() -> None:
    added = "{applyTo: CLUSTER, patch: {operation: ADD, value: {name: extra, type: STATIC}}}"
    gone = "{applyTo: LISTENER, match: {listener: {portNumber: 19080}}, patch: {operation: REMOVE}}"
    found = seen(rule(added) + "---" + rule(gone, name="b"))
    assert message(found, CLUSTER, "extra")["name"] == "extra"
    assert found.get(LISTENER, OUTBOUND) is None


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{}", "3s"),
        ("{routeConfiguration: {name: http_proxy}}", "3s"),
        ("{routeConfiguration: {name: other}}", "0s"),
        ("{routeConfiguration: {portNumber: 81}}", "0s"),
        ("{routeConfiguration: {vhost: {name: far.default.svc.cluster.local:9080}}}", "3s"),
        ("{routeConfiguration: {vhost: {domainName: far:9080}}}", "3s"),
        ("{routeConfiguration: {vhost: {name: other}}}", "0s"),
        ("{routeConfiguration: {vhost: {route: {name: default}}}}", "3s"),
        ("{routeConfiguration: {vhost: {route: {name: other}}}}", "0s"),
        ("{routeConfiguration: {vhost: {route: {action: ROUTE}}}}", "3s"),
        ("{routeConfiguration: {vhost: {route: {action: REDIRECT}}}}", "0s"),
        ("{context: SIDECAR_INBOUND}", "0s"),
    ],
)
def test_which_routes_are_meant(match: str, expected: str) -> None:
    found = seen(rule(f"{{applyTo: HTTP_ROUTE, match: {match}, patch: {{operation: MERGE, value: {{route: {{timeout: 3s}}}}}}}}"))
    hosts = message(found, ROUTES, "http_proxy")["virtual_hosts"]
    host = next(h for h in hosts if h["name"].startswith("far."))
    assert next(r for r in host["routes"] if r["name"] == "default")["route"]["timeout"] == expected


def test_priority_then_root_namespace_then_age() -> None:
    def timeout(seconds: int, **more: Any) -> str:
        patch = f"{{applyTo: CLUSTER, patch: {{operation: MERGE, value: {{connect_timeout: {seconds}s}}}}}}"
        return rule(patch, name=f"n{seconds}", **more)

    for documents, last in (
        ([timeout(1, priority=1), timeout(2)], "1s"),
        ([timeout(1), timeout(2, namespace="istio-system")], "1s"),
        ([timeout(1), timeout(2)], "2s"),
        ([timeout(1, namespace="elsewhere")], "10s"),
    ):
        assert message(seen("---".join(documents)), CLUSTER, "inbound|9080||")["connect_timeout"] == last


def test_what_was_changed_knows_by_whom() -> None:
    text = rule("{applyTo: CLUSTER, match: {cluster: {portNumber: 9080}}, patch: {operation: MERGE, value: {connect_timeout: 7s}}}")
    entry = seen(text).get(CLUSTER, "inbound|9080||")
    assert entry is not None
    (source,) = entry.sources
    assert (str(source), source.origin.line) == ("EnvoyFilter/a spec.configPatches[0]", 7)


def test_proxies_share_what_is_patched_and_the_rest_pay_nothing() -> None:
    text = rule("{applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 7s}}}")
    mesh, translator = built(text, instance("far")).mesh, Translator()
    one, two, other = (view(mesh, node(id=n, namespace=ns)) for n, ns in (("a", "default"), ("b", "default"), ("c", "else")))
    assert one.patches is two.patches
    assert other.patches is None
    assert translator.snapshot(one).bundles[2] is translator.snapshot(two).bundles[2]
    assert translator.snapshot(other).bundles[2] is translator.bundle(other.layers[2])


CLUSTER_TYPE = "envoy.config.cluster.v3.Cluster"


@pytest.mark.parametrize(
    ("target", "patch", "replace_lists", "expected"),
    [
        ({"connect_timeout": "10s"}, {"connect_timeout": "0.5s"}, False, {"connect_timeout": "0.500s"}),
        ({"filters": [{"name": "a"}]}, {"filters": [{"name": "b"}]}, False, {"filters": [{"name": "a"}, {"name": "b"}]}),
        ({"filters": [{"name": "a"}]}, {"filters": [{"name": "b"}]}, True, {"filters": [{"name": "b"}]}),
        ({"type": "EDS"}, {"cluster_type": {"name": "x"}}, False, {"cluster_type": {"name": "x"}}),
        ({"metadata": {"filter_metadata": {"a": {"x": 1.0}}}}, {"metadata": {"filter_metadata": {"a": {"y": 2.0}}}}, False,
         {"metadata": {"filter_metadata": {"a": {"x": 1.0, "y": 2.0}}}}),
        ({"upstream_bind_config": {}}, {"outlier_detection": {}}, False, {"upstream_bind_config": {}, "outlier_detection": {}}),
    ],
)  # fmt: skip
def test_merging(target: dict[str, Any], patch: dict[str, Any], replace_lists: bool, expected: dict[str, Any]) -> None:
    merged = from_dict(CLUSTER_TYPE, target)
    merge(merged, from_dict(CLUSTER_TYPE, patch), replace_lists=replace_lists)
    assert to_dict(merged) == expected


@pytest.mark.parametrize(
    ("patch", "complaint"),
    [
        ("{applyTo: CLUSTER, patch: {operation: MERGE, value: {conect_timeout: 3s}}}",
         'patch.value.conect_timeout: unknown field "conect_timeout" of envoy.config.cluster.v3.Cluster; did you mean "connect_timeout"?'),
        ("{applyTo: CLUSTER, patch: {operation: MERGE, value: {filters: [{nam: a}]}}}", 'patch.value.filters[0].nam: unknown field "nam"'),
        ('{applyTo: HTTP_FILTER, patch: {operation: ADD, value: {typed_config: {"@type": t/a.b.C}}}}',
         'patch.value.typed_config["@type"]: this Envoy has no type a.b.C'),
        ("{applyTo: HTTP_FILTER, patch: {operation: ADD, value: {typed_config: {}}}}",
         'patch.value.typed_config: must be a mapping with "@type"'),
        ("{applyTo: LISTENER, patch: {operation: MERGE, value: {tcp_backlog_size: many}}}",
         "patch.value: is no envoy.config.listener.v3.Listener"),
        ("{applyTo: LISTENER, patch: {operation: REPLACE, value: {}}}", "patch.operation: REPLACE cannot be done to a LISTENER"),
        ("{applyTo: LISTENER, patch: {operation: ADD}}", "patch.value: required"),
        ("{patch: {operation: ADD}}", "applyTo: required"),
        ("{applyTo: LISTENER}", "patch.operation: required"),
    ],
)  # fmt: skip
def test_patches_that_are_wrong(patch: str, complaint: str) -> None:
    found = [str(v) for v in read(rule(patch), "f.yaml").violations]
    assert any(f"EnvoyFilter/a: spec.configPatches[0].{complaint}" in v for v in found), found


def test_a_route_is_patched_as_if_it_shared_nothing_with_its_neighbours() -> None:
    rules = """---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: far}
spec:
  hosts: [far]
  http:
  - {name: a, match: [{uri: {exact: /a}}], route: [{destination: {host: far}}]}
  - {name: b, match: [{uri: {exact: /b}}], route: [{destination: {host: far}}]}
"""
    match = "{routeConfiguration: {vhost: {route: {name: a}}}}"
    often = "{route: {retry_policy: {num_retries: 9}}}"
    found = seen(rule(f"{{applyTo: HTTP_ROUTE, match: {match}, patch: {{operation: MERGE, value: {often}}}}}") + rules)
    host = next(h for h in message(found, ROUTES, "http_proxy")["virtual_hosts"] if h["name"].startswith("far."))
    own, first, second = host["routes"]
    assert "retry_policy" not in own["route"]
    assert first["route"]["retry_policy"] == second["route"]["retry_policy"] | {"num_retries": 9}
    assert first["metadata"] == second["metadata"]


def test_patches_that_are_left_out_are_told() -> None:
    (warning,) = warnings(built(rule("{applyTo: CLUSTER, match: {context: WAYPOINT}, patch: {operation: REMOVE}}")), "EnvoyFilter/a")
    assert "spec.configPatches[0]: not in force: there are no waypoints" in warning


LUA = """
{applyTo: HTTP_FILTER, match: {context: GATEWAY}, patch: {operation: ADD, value: {name: envoy.filters.http.lua, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua,
  inline_code: 'function envoy_on_response(handle) handle:headers():add("x-lua", "yes") end'}}}}
"""
EDGE = """---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge}}
spec:
  selector: {{istio: ingressgateway}}
  servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ["*"], bind: 127.0.0.1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: far}}
spec: {{hosts: ["*"], gateways: [edge], http: [{{route: [{{destination: {{host: far}}}}]}}]}}
"""


@pytest.mark.envoy
def test_a_filter_of_ones_own_at_the_gateway(tmp_path: Path) -> None:
    port = free_port()
    text = rule(LUA, namespace="istio-system") + EDGE.format(port=port)
    with backend("far") as far, carried(text, gateway(), tmp_path, at("far", 80, far.port, id="far")):
        status, headers, body = ask(port)
    assert (status, headers["x-lua"], json.loads(body)["name"]) == (200, "yes", "far")
