"""The mesh file."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from support.reading import cases, document
from tulle.model.identity import Locality
from tulle.model.mesh import MeshSettings
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol
from tulle.resources.meshfile import Mesh, RestartWhen, json_schema
from tulle.resources.read import read

EVERYTHING = """
config: [mesh, rules/first.yaml]
gateway: {enabled: true, name: edge, namespace: istio-system, labels: {istio: edge}, bind: 0.0.0.0}
settings: {domain: mesh.example, rootNamespace: root, outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
workloads:
- service: reviews
  namespace: shop
  version: v1
  labels: {team: a}
  serviceAccount: reviewer
  replicas: 2
  command: python -m reviews --port {port} 'two words'
  workingDirectory: app
  env: {LEVEL: info, LIMIT: 10, LISTEN: "127.0.0.1:{port}"}
  ports: [{number: 9080, name: http, protocol: HTTP}, {port: 9081, protocol: grpc}]
  locality: eu/a/rack1
  weight: 3
  restart: onFailure
  backoff: 100ms
- name: caller
  command: [curl, -s, 3]
  upstreams: [{service: redis, port: 6379, bind: 127.0.0.1:16379}, {host: db.shop, port: 5432, bind: 15432}]
- service: elsewhere
  ports: [{number: 80, target: 8000}]
  jwt: {audiences: [bank, audit], file: run/jwt}
"""


def mesh(text: str) -> Mesh:
    found = read(document("Mesh", text, api_version="tulle.dev/v1"), "mesh.yaml")
    assert [str(v) for v in found.violations] == []
    assert found.resources == ()
    (resource,) = found.meshes
    return resource.spec


def test_every_field_is_read() -> None:
    spec = mesh(EVERYTHING)
    reviews, caller, elsewhere = spec.workloads
    assert spec.config == ("mesh", "rules/first.yaml")
    assert (spec.gateway.name, spec.gateway.labels, spec.gateway.bind) == ("edge", {"istio": "edge"}, "0.0.0.0")
    assert spec.settings.settings() == MeshSettings(domain="mesh.example", root_namespace="root", allow_any=False)
    assert reviews.command == ("python", "-m", "reviews", "--port", "{port}", "two words")
    assert reviews.env == {"LEVEL": "info", "LIMIT": "10", "LISTEN": "127.0.0.1:{port}"}
    assert [(p.number, p.name, p.speaks, p.target) for p in reviews.ports] == [
        (9080, "http", Protocol.HTTP, None),
        (9081, None, Protocol.GRPC, None),
    ]
    assert reviews.locality == Locality(region="eu", zone="a", subzone="rack1")
    assert (reviews.title, caller.title, elsewhere.title) == ("reviews-v1", "caller", "elsewhere")
    assert (reviews.restart, reviews.backoff) == (RestartWhen.ON_FAILURE, timedelta(milliseconds=100))
    assert elsewhere.jwt is not None
    assert (elsewhere.jwt.audiences, elsewhere.jwt.file) == (("bank", "audit"), "run/jwt")
    assert caller.command == ("curl", "-s", "3")
    assert [u.upstream() for u in caller.upstreams] == [
        Upstream(host="redis", port=6379, bind_port=16379),
        Upstream(host="db.shop", port=5432, bind_port=15432),
    ]


def test_nothing_is_needed() -> None:
    spec = mesh("{}")
    assert (spec.workloads, spec.gateway.enabled, spec.settings.settings()) == ((), True, MeshSettings())


def test_the_outbound_policy_may_be_a_word() -> None:
    assert not mesh("settings: {outboundTrafficPolicy: REGISTRY_ONLY}").settings.settings().allow_any


BAD = """
gatway: {}
config: rules
gateway: {bind: localhost}
settings: {outboundTrafficPolicy: SOME}
=>
5: spec.gatway: unknown field "gatway"; did you mean "gateway"?
6: spec.config: must be a list
7: spec.gateway.bind: must be an IP address, not 'localhost'
8: spec.settings.outboundTrafficPolicy.mode: must be one of REGISTRY_ONLY, ALLOW_ANY, not 'SOME'
====
workloads:
- {}
- {service: a, command: x}
- {service: a, ports: [{number: 80}]}
- {service: a, command: "x '", ports: [{port: 80, target: 0, protocol: smtp}], env: {A: 1.5}, locality: a/b/c/d}
=>
6: spec.workloads[0]: set one of service, name
6: spec.workloads[0].command: required
7: spec.workloads[1].ports: must have at least one item where service is set
8: spec.workloads[2].ports[0].target: required where the workload has no command
9: spec.workloads[3].command: cannot be cut into words: No closing quotation
9: spec.workloads[3].env.A: must be text, not 1.5
9: spec.workloads[3].ports[0].protocol: must be one of http, http2, grpc, tcp, udp, auto, not 'smtp'
9: spec.workloads[3].ports[0].target: must be between 1 and 65535, not 0
9: spec.workloads[3].locality: must be "region", "region/zone" or "region/zone/subzone", not 'a/b/c/d'
====
workloads:
- name: a
  command: [[x]]
  upstreams: [{port: 1, bind: x}, {service: b, port: 1, bind: "localhost:1"}, {service: b, port: 1, bind: 0}]
  restart: sometimes
=>
7: spec.workloads[0].command: must be a text or a list of words, not a list
8: spec.workloads[0].upstreams[0].service: required
8: spec.workloads[0].upstreams[0].bind: must be a port or "address:port", such as "127.0.0.1:16379", not 'x'
8: spec.workloads[0].upstreams[1].bind: must be a port or "address:port", such as "127.0.0.1:16379", not 'localhost:1'
8: spec.workloads[0].upstreams[2].bind: must be a port or "address:port", such as "127.0.0.1:16379", not 0
9: spec.workloads[0].restart: must be one of always, onFailure, never, not 'sometimes'
====
workloads:
- {service: a, command: x, replicas: 2, ports: [{port: 80, target: 8000}], upstreams: [{host: b, port: 1, bind: 1}], env: {a-b: c}}
=>
6: spec.workloads[0].env.a-b: is no name of a variable
6: spec.workloads[0].ports[0].target: cannot be the same for several replicas
6: spec.workloads[0].upstreams[0].bind: cannot be the same for several replicas
====
workloads:
- {name: a, command: x, upstreams: [{host: b, port: 1, bind: 1000}]}
- {name: c, command: x, upstreams: [{host: b, port: 1, bind: 1000}]}
- {service: d, ports: [{number: 80, target: 1000}]}
=>
7: spec.workloads[1].upstreams[0].bind: 127.0.0.1:1000 is taken by workloads[0]
8: spec.workloads[2].ports[0].target: 127.0.0.1:1000 is taken by workloads[1]
====
workloads: [{service: d, ports: [{number: 80, target: 1000}, {number: 80, target: 1001}]}]
=>
5: spec.workloads[0].ports[1].number: 80 is taken by an earlier item
"""


@pytest.mark.parametrize(("spec", "expected"), cases(BAD))
def test_violations(spec: str, expected: list[str]) -> None:
    found = read(document("Mesh", spec, api_version="tulle.dev/v1"), "mesh.yaml")
    assert sorted(str(v).removeprefix("mesh.yaml:").replace("Mesh/a: ", "", 1) for v in found.violations) == sorted(expected)
    assert found.meshes == ()


def test_the_version_is_checked() -> None:
    (violation,) = read(document("Mesh", "{}", api_version="tulle.dev/v2"), "m.yaml").violations
    assert str(violation) == 'm.yaml:1: Mesh/a: apiVersion: Mesh has no API version "tulle.dev/v2"; it has tulle.dev/v1'


def test_the_schema_is_closed_and_always_the_same() -> None:
    schema = json_schema()
    assert json.dumps(schema) == json.dumps(json_schema())
    assert {"Workload", "WorkloadPort", "MeshGateway"} <= schema["$defs"].keys()
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values() if part["type"] == "object")
    workload = schema["$defs"]["Workload"]["properties"]
    assert workload["restart"]["enum"] == ["always", "onFailure", "never"]
    assert workload["command"]["anyOf"] == [{"type": "string"}, {"items": {"type": "string"}, "type": "array"}]
    assert workload["replicas"] == {"default": 1, "description": "How many instances to run.", "maximum": 1000, "minimum": 0,
                                    "title": "Replicas", "type": "integer"}  # fmt: skip


def test_every_field_of_the_schema_is_read() -> None:
    import yaml

    written: dict[str, Any] = yaml.safe_load(EVERYTHING)
    named = {"number", "service", "target"} | {key for workload in written["workloads"] for key in workload}
    assert json_schema()["$defs"]["Workload"]["properties"].keys() <= named | {"name", "upstreams", "ports"}
