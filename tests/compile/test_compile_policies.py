"""DestinationRules as policies of clusters."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from support.compiled import built, cluster, endpoints, instance, sidecar, warnings
from tulle.compile import view
from tulle.model.proxy import InboundPort
from tulle.model.service import Protocol, Resolution
from tulle.model.traffic import (
    Algorithm,
    ConnectionPool,
    HashOn,
    HashPolicy,
    LoadBalancer,
    OutlierDetection,
    TcpKeepalive,
    TrafficPolicy,
)

RULE = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  host: {host}
  {spec}
"""
A = "a.default.svc.cluster.local"


def rule(spec: str, *, host: str = A, name: str = "a", namespace: str = "default") -> str:
    return RULE.format(spec=spec, host=host, name=name, namespace=namespace)


def policy(spec: str, name: str = "a:9080") -> TrafficPolicy:
    two_ports = (instance("a"), instance("a", "v2", number=9090, protocol=Protocol.GRPC, name="grpc"))
    return cluster(view(built(rule(spec), *two_ports).mesh, sidecar()), name).policy


def test_without_a_rule_the_defaults_hold() -> None:
    found = cluster(view(built("", instance("a")).mesh, sidecar()), "a:9080").policy
    assert found == TrafficPolicy()
    assert found.load_balancer.algorithm is Algorithm.LEAST_REQUEST
    assert found.connection_pool.connect_timeout == timedelta(seconds=10)
    assert found.outlier_detection is None


@pytest.mark.parametrize(
    ("lb", "expected"),
    [
        ("simple: ROUND_ROBIN", LoadBalancer(algorithm=Algorithm.ROUND_ROBIN)),
        ("simple: LEAST_CONN", LoadBalancer(algorithm=Algorithm.LEAST_REQUEST)),
        ("simple: UNSPECIFIED", LoadBalancer(algorithm=Algorithm.LEAST_REQUEST)),
        ("simple: RANDOM, warmup: {duration: 10s}", LoadBalancer(algorithm=Algorithm.RANDOM)),
        ("simple: ROUND_ROBIN, warmup: {duration: 10s}", LoadBalancer(algorithm=Algorithm.ROUND_ROBIN, warmup=timedelta(seconds=10))),
        (
            "warmup: {duration: 10s, minimumPercent: 50, aggression: 2}",
            LoadBalancer(warmup=timedelta(seconds=10), warmup_minimum_percent=50.0, warmup_aggression=2.0),
        ),
        (
            "consistentHash: {useSourceIp: true}",
            LoadBalancer(algorithm=Algorithm.RING_HASH, hash=HashPolicy(on=HashOn.SOURCE_IP), minimum_ring_size=1024),
        ),
        (
            "consistentHash: {httpQueryParameterName: q, ringHash: {minimumRingSize: 7}}",
            LoadBalancer(algorithm=Algorithm.RING_HASH, hash=HashPolicy(on=HashOn.QUERY, name="q"), minimum_ring_size=7),
        ),
        (
            "consistentHash: {httpHeaderName: X-U, maglev: {tableSize: 101}}",
            LoadBalancer(algorithm=Algorithm.MAGLEV, hash=HashPolicy(on=HashOn.HEADER, name="x-u"), table_size=101),
        ),
        (
            "consistentHash: {httpHeaderName: X-U, maglev: {}}",
            LoadBalancer(algorithm=Algorithm.MAGLEV, hash=HashPolicy(on=HashOn.HEADER, name="x-u")),
        ),
        (
            "consistentHash: {httpCookie: {name: c, path: /p, ttl: 0s}, minimumRingSize: 5}",
            LoadBalancer(
                algorithm=Algorithm.RING_HASH,
                hash=HashPolicy(on=HashOn.COOKIE, name="c", cookie_path="/p", cookie_ttl=timedelta(0)),
                minimum_ring_size=5,
            ),
        ),
    ],
)
def test_load_balancer(lb: str, expected: LoadBalancer) -> None:
    assert policy(f"trafficPolicy: {{loadBalancer: {{{lb}}}}}").load_balancer == expected


def test_connection_pool() -> None:
    found = policy(
        """trafficPolicy:
    connectionPool:
      tcp: {maxConnections: 1, connectTimeout: 2s, maxConnectionDuration: 3s, idleTimeout: 4s,
            tcpKeepalive: {probes: 5, time: 6s, interval: 7s}}
      http: {http1MaxPendingRequests: 8, http2MaxRequests: 9, maxRequestsPerConnection: 10, maxRetries: 11, idleTimeout: 12s,
             maxConcurrentStreams: 13, useClientProtocol: true}"""
    ).connection_pool
    assert found == ConnectionPool(
        max_connections=1,
        connect_timeout=timedelta(seconds=2),
        max_connection_duration=timedelta(seconds=3),
        tcp_idle_timeout=timedelta(seconds=4),
        keepalive=TcpKeepalive(probes=5, time=timedelta(seconds=6), interval=timedelta(seconds=7)),
        max_pending_requests=8,
        max_requests=9,
        max_requests_per_connection=10,
        max_retries=11,
        idle_timeout=timedelta(seconds=12),
        max_concurrent_streams=13,
        use_client_protocol=True,
    )


def test_zero_limits_are_no_limits() -> None:
    found = policy(
        "trafficPolicy: {connectionPool: {tcp: {maxConnections: 0}, http: {maxRetries: 0, http2MaxRequests: 0}}}"
    ).connection_pool
    assert found == ConnectionPool()


def test_upgrade_to_http2() -> None:
    seen = view(built(rule("trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}"), instance("a")).mesh, sidecar())
    assert cluster(seen, "a:9080").http2


@pytest.mark.parametrize(("spoken", "alike"), [(Protocol.HTTP, False), (Protocol.AUTO, True)])
def test_where_callers_upgrade_workloads_of_http_1_are_not_spoken_to_as_callers_speak(spoken: Protocol, alike: bool) -> None:
    text = rule("trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}")
    node = replace(sidecar(app="a", inbound=(InboundPort(service_port=9080, listen=1, target=2, protocol=spoken),)), service="a")
    for said, expected in ((text, alike), ("", True)):
        own = next(c for c in view(built(said, instance("a")).mesh, node).clusters if c.name == "inbound|9080||")
        assert (own.http2, own.policy.connection_pool.use_client_protocol) == (False, expected)


@pytest.mark.parametrize(
    ("outlier", "expected"),
    [
        ("interval: 10s", OutlierDetection()),
        ("consecutive5xxErrors: 0", OutlierDetection(consecutive_5xx=None)),
        ("consecutive5xxErrors: 7, consecutiveGatewayErrors: 3", OutlierDetection(consecutive_5xx=7, consecutive_gateway_errors=3)),
        (
            "consecutiveErrors: 5, interval: 1m, baseEjectionTime: 3m",
            OutlierDetection(consecutive_5xx=5, interval=timedelta(minutes=1), base_ejection_time=timedelta(minutes=3)),
        ),
        ("consecutiveErrors: 2, consecutive5xxErrors: 9", OutlierDetection(consecutive_5xx=9)),
        ("maxEjectionPercent: 100, minHealthPercent: 30", OutlierDetection(max_ejection_percent=100, min_health_percent=30)),
        (
            "splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 4",
            OutlierDetection(split_external_local_errors=True, consecutive_local_failures=4),
        ),
    ],
)
def test_outlier_detection(outlier: str, expected: OutlierDetection) -> None:
    assert policy(f"trafficPolicy: {{outlierDetection: {{{outlier}}}}}").outlier_detection == expected


PORTS = """trafficPolicy:
    loadBalancer: {simple: RANDOM}
    outlierDetection: {maxEjectionPercent: 50}
    portLevelSettings:
    - {port: {number: 9090}, connectionPool: {tcp: {maxConnections: 3}}}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
  - name: v3
    labels: {version: v3}
    trafficPolicy: {portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: ROUND_ROBIN}}]}
"""


@pytest.mark.parametrize(
    ("name", "algorithm", "ejects", "connections"),
    [
        ("a:9080", Algorithm.RANDOM, True, None),
        ("a:9090", Algorithm.LEAST_REQUEST, False, 3),
        ("a:9080/v1", Algorithm.RANDOM, True, None),
        ("a:9090/v1", Algorithm.LEAST_REQUEST, False, 3),
        ("a:9080/v2", Algorithm.ROUND_ROBIN, True, None),
        ("a:9090/v2", Algorithm.ROUND_ROBIN, False, 3),
        ("a:9080/v3", Algorithm.ROUND_ROBIN, False, None),
        ("a:9090/v3", Algorithm.LEAST_REQUEST, False, 3),
    ],
)
def test_settings_of_a_port_replace_and_those_of_a_subset_override(
    name: str, algorithm: Algorithm, ejects: bool, connections: int | None
) -> None:
    found = policy(PORTS, name)
    assert found.load_balancer.algorithm is algorithm
    assert (found.outlier_detection is not None) is ejects
    assert found.connection_pool.max_connections == connections


def test_subsets_choose_endpoints_by_label() -> None:
    text = rule("subsets: [{name: v1, labels: {version: v1}}, {name: all}, {name: none, labels: {version: v9}}]")
    seen = view(built(text, instance("a", "v1"), instance("a", "v2")).mesh, sidecar())
    assert [e.workload for e in endpoints(seen, "a:9080/v1")] == ["a-v1-default"]
    assert len(endpoints(seen, "a:9080/all")) == 2
    assert endpoints(seen, "a:9080/none") == ()


def found_by(text: str, namespace: str = "client", **labels: str) -> str:
    mesh = built(text, instance("a")).mesh
    names = {1: "client", 2: "owner", 3: "root"}
    limit = cluster(view(mesh, sidecar(namespace, **labels)), "a:9080").policy.connection_pool.max_connections
    return names[limit] if limit else ""


def limited(number: int, namespace: str, name: str = "a", host: str = A, more: str = "") -> str:
    return rule(
        f"trafficPolicy: {{connectionPool: {{tcp: {{maxConnections: {number}}}}}}}\n  {more}", host=host, name=name, namespace=namespace
    )


def test_the_client_s_rule_before_the_service_s_before_the_root_s() -> None:
    client, owner, root = limited(1, "client"), limited(2, "default"), limited(3, "istio-system")
    assert found_by(client + owner + root) == "client"
    assert found_by(owner + root) == "owner"
    assert found_by(root) == "root"
    assert found_by(limited(1, "third")) == ""
    assert found_by(limited(2, "default", more='exportTo: ["."]') + root) == "root"
    assert found_by(limited(1, "client", more='exportTo: ["."]')) == "client"


def test_the_most_specific_host_of_a_namespace_wins() -> None:
    wild, exact = limited(1, "client", "w", '"*.default.svc.cluster.local"'), limited(2, "client")
    assert found_by(wild + exact) == "owner"
    assert found_by(wild) == "client"


def test_a_rule_for_some_workloads_holds_for_them_only() -> None:
    some = limited(1, "client", more="workloadSelector: {matchLabels: {app: x}}")
    assert found_by(limited(2, "client", "all") + some, app="x") == "client"
    assert found_by(limited(2, "client", "all") + some, app="y") == "owner"
    assert found_by(limited(1, "default", more="workloadSelector: {matchLabels: {app: x}}"), app="x") == ""


def test_two_rules_for_one_host_join_their_subsets_and_the_older_policy_holds() -> None:
    first = rule("subsets: [{name: v1, labels: {version: v1}}]", name="first")
    second = rule(
        "trafficPolicy: {loadBalancer: {simple: RANDOM}}\n  subsets: [{name: v2, labels: {version: v2}}, {name: v1}]", name="second"
    )
    third = rule("trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}", name="third")
    result = built(first + second + third, instance("a", "v1"), instance("a", "v2"))
    seen = view(result.mesh, sidecar())
    assert cluster(seen, "a:9080").policy.load_balancer.algorithm is Algorithm.RANDOM
    assert [e.workload for e in endpoints(seen, "a:9080/v1")] == ["a-v1-default"]
    assert [e.workload for e in endpoints(seen, "a:9080/v2")] == ["a-v2-default"]
    assert warnings(result, "DestinationRule/first") == []
    assert 'subset "v1" of host a.default.svc.cluster.local is defined at rules.yaml:' in warnings(result, "DestinationRule/second")[0]
    assert "DestinationRule second (rules.yaml:11) speaks for host" in warnings(result, "DestinationRule/third")[0]


def test_a_rule_for_an_unknown_host_is_told() -> None:
    text = rule("trafficPolicy: {loadBalancer: {simple: RANDOM}}", host="nowhere")
    assert "no service nowhere.default.svc.cluster.local is known in namespace default" in warnings(built(text), "DestinationRule/a")[0]
    assert warnings(built(rule("subsets: []", host='"*.default.svc.cluster.local"'), instance("a")), "DestinationRule/a") == []


def test_passthrough_balances_what_is_called_by_name() -> None:
    text = rule("trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}")
    result = built(text, instance("a"))
    found = cluster(view(result.mesh, sidecar()), "a:9080")
    assert (found.resolution, found.policy.load_balancer.algorithm) == (Resolution.STATIC, Algorithm.RANDOM)
    assert "PASSTHROUGH" in warnings(result, "DestinationRule/a")[0]


def test_passthrough_to_a_name_outside_looks_that_name_up() -> None:
    """And not whatever host the request bears, which a rule may have sent there."""
    entry = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out}
spec: {hosts: [a.com], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
"""
    text = rule("trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}", host="a.com") + entry
    assert cluster(view(built(text).mesh, sidecar()), "a.com:80").resolution is Resolution.DNS


def test_where_nothing_is_said_of_a_port_the_endpoint_is_spoken_to_as_the_caller_spoke() -> None:
    text = """
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {ports: [{port: 9080}]}
"""
    found = cluster(view(built(text, instance("a")).mesh, sidecar()), "a:9080")
    assert found.http
    assert found.policy.connection_pool.use_client_protocol
