"""From a mesh file to what is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tulle.agent.gateway import DEFAULT_LABELS, GatewaySpec
from tulle.agent.spec import WorkloadPort, WorkloadSpec
from tulle.agent.supervise import Restart
from tulle.agent.workloads import gateway_spec, workloads
from tulle.model.identity import Labels
from tulle.model.proxy import Upstream
from tulle.model.service import Protocol
from tulle.resources.meshfile import Mesh
from tulle.resources.read import read

HEAD = "apiVersion: tulle.dev/v1\nkind: Mesh\nmetadata: {name: shop}\nspec:\n"


def mesh(spec: str) -> Mesh:
    found = read(HEAD + spec, "mesh.yaml")
    assert not found.violations, found.violations
    made: Any = found.meshes[0].spec
    return made


def made(spec: str, **more: Any) -> list[WorkloadSpec]:
    return list(workloads(mesh(spec), Path("/shop"), **more))


def test_all_that_a_workload_says() -> None:
    (spec,) = made("""
  workloads:
  - service: reviews
    version: v2
    namespace: books
    labels: {tier: back}
    ports: [{number: 9080}, {number: 9090, protocol: grpc, target: 7000, name: rpc}]
    command: serve --port {port}
    workingDirectory: apps
    env: {STARS: black, LIMIT: 3}
    serviceAccount: reader
    locality: eu/a
    weight: 3
    upstreams: [{service: redis, port: 6379, bind: 16379}]
    restart: onFailure
    backoff: 2s
""")
    assert spec.id == "reviews-v2.books"
    assert spec.name == "reviews-v2"
    assert spec.all_labels == Labels({"app": "reviews", "version": "v2", "tier": "back"})
    assert spec.ports == (
        WorkloadPort(number=9080, name="http-9080"),
        WorkloadPort(number=9090, target=7000, name="rpc", protocol=Protocol.GRPC),
    )
    assert spec.command == ("serve", "--port", "{port}")
    assert spec.directory == "/shop/apps"
    assert dict(spec.environment) == {"STARS": "black", "LIMIT": "3"}
    assert (spec.service_account, str(spec.locality), spec.weight) == ("reader", "eu/a", 3)
    assert spec.upstreams == (Upstream(host="redis", port=6379, bind_port=16379),)
    assert (spec.restart, spec.first_delay) == (Restart.ON_FAILURE, 2.0)
    spec.check()


def test_replicas_have_numbers_and_single_instances_have_none() -> None:
    specs = made("""
  workloads:
  - {service: web, ports: [{number: 80}], command: web, replicas: 2}
  - {service: web, ports: [{number: 80}], command: other}
  - {service: web, version: v2, ports: [{number: 80}], command: web, replicas: 0}
  - {name: caller, command: call}
""")
    assert [(spec.id, spec.name, spec.service) for spec in specs] == [
        ("web-0", "web-0", "web"),
        ("web-1", "web-1", "web"),
        ("web-2", "web-2", "web"),
        ("caller", "caller", ""),
    ]


def test_the_same_file_on_several_machines() -> None:
    (spec,) = made("  workloads: [{service: web, ports: [{number: 80}], command: web}]\n", machine="left", address="10.0.0.7")
    assert (spec.id, spec.name, spec.address) == ("web@left", "web", "10.0.0.7")
    spec.check()


def test_the_gateway() -> None:
    assert gateway_spec(mesh("  workloads: []\n")) == GatewaySpec()
    assert GatewaySpec().labels == DEFAULT_LABELS
    assert gateway_spec(mesh("  gateway: {enabled: false}\n")) is None
    said = gateway_spec(mesh("  gateway: {name: edge, namespace: net, labels: {istio: edge}, bind: 0.0.0.0}\n"))
    assert said == GatewaySpec(name="edge", namespace="net", labels=Labels({"istio": "edge"}), bind="0.0.0.0")
