"""Kinds that are read and checked, and of which nothing, or little, is in force."""

from __future__ import annotations

import pytest

from support.compiled import built
from support.reading import document, spec_of, warned, wrong

TELEMETRY = "telemetry.istio.io/v1"
PROXY_CONFIG = "networking.istio.io/v1beta1"


def test_workload_groups() -> None:
    spec = """
metadata: {labels: {app: a}, annotations: {x: y}}
template: {ports: {http: 8080}, serviceAccount: web, labels: {version: v1}, locality: eu/a, weight: 2, network: n}
probe: {httpGet: {path: /ready, port: 8080, httpHeaders: [{name: a, value: b}]}, periodSeconds: 5}
"""
    assert spec_of("WorkloadGroup", spec).probe.http_get.path == "/ready"
    assert [w.partition(":")[0] for w in warned("WorkloadGroup", spec)] == [
        "spec.metadata.annotations",
        "spec.template.ports",
        "spec.template.network",
        "spec.probe",
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{}", ["spec.template: required"]),
        ("template: {address: 1.2.3.4}", ["5: spec.template.address: must not be set: each instance has its own"]),
        ("template: {}\nprobe: {}", ["6: spec.probe: set one of httpGet, tcpSocket, exec, grpc"]),
        ("template: {}\nprobe: {tcpSocket: {port: 0}}", ["6: spec.probe.tcpSocket.port: must be between 1 and 65535, not 0"]),
    ],
)
def test_wrong_workload_groups(spec: str, said: list[str]) -> None:
    found = wrong("WorkloadGroup", spec)
    assert len(found) == len(said)
    assert all(end in line for end, line in zip(said, found, strict=True))


def test_proxy_configs() -> None:
    spec = "{selector: {matchLabels: {app: a}}, concurrency: 0, environmentVariables: {A: b}, image: {imageType: distroless}}"
    assert [w.partition(":")[0] for w in warned("ProxyConfig", spec, api_version=PROXY_CONFIG)] == ["spec.image"]
    (said,) = warned("ProxyConfig", "{environmentVariables: {A: b, LD_PRELOAD: /tmp/x.so}}", api_version=PROXY_CONFIG)
    assert said.startswith("spec.environmentVariables: not in force: variables that make programs load other code")


def test_telemetry() -> None:
    spec = """
selector: {matchLabels: {app: a}}
accessLogging: [{providers: [{name: envoy}], filter: {expression: response.code >= 400}, match: {mode: CLIENT}}]
metrics: [{overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {a: {value: "1"}, b: {operation: REMOVE}}}], reportingInterval: 5s}]
tracing: [{randomSamplingPercentage: 12.5, custom_tags: {a: {literal: {value: b}}, c: {header: {name: x}}}}]
"""
    assert spec_of("Telemetry", spec, api_version=TELEMETRY).tracing[0].random_sampling_percentage == 12.5
    assert [w.partition(":")[0] for w in warned("Telemetry", spec, api_version=TELEMETRY)] == [
        "spec.accessLogging",
        "spec.metrics",
        "spec.tracing",
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("metrics: [{overrides: [{mode: CLIENT}]}]", 'spec.metrics[0].overrides[0].mode: unknown field "mode"'),
        ("metrics: [{overrides: [{tagOverrides: {a: {}}}]}]", "spec.metrics[0].overrides[0].tagOverrides.a.value: required"),
        ("tracing: [{randomSamplingPercentage: 120}]", "spec.tracing[0].randomSamplingPercentage: must be between 0 and 100"),
        ("tracing: [{customTags: {a: {}}}]", "spec.tracing[0].customTags.a: set one of literal, environment, header, formatter"),
    ],
)
def test_wrong_telemetry(spec: str, said: str) -> None:
    (found,) = wrong("Telemetry", spec, api_version=TELEMETRY)
    assert said in found


def test_they_are_accepted() -> None:
    result = built(document("Telemetry", "{}", api_version=TELEMETRY))
    (status,) = result.statuses.values()
    assert status.condition("Accepted")
    assert [c.status for c in status.conditions] == [True]
