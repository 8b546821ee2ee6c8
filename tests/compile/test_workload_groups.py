"""What instances have from their group."""

from __future__ import annotations

from dataclasses import replace

from support.compiled import endpoints, inputs, instance, sidecar
from tulle import compile as compiler
from tulle.compile import Built
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Locality
from tulle.model.service import Endpoint

GROUP = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{name: machines}}
spec:
  metadata: {{labels: {{tier: {tier}, version: v9}}}}
  template: {{serviceAccount: web, locality: eu/a, weight: 3, labels: {{zone: blue}}}}
"""
MEMBER = instance("web", **{"tulle.dev/workload-group": "machines"})


def only(built: Built) -> Endpoint:
    (found,) = endpoints(compiler.view(built.mesh, sidecar()), "web:9080")
    return found


def test_the_template_fills_in_what_is_not_said() -> None:
    found = only(compiler.build(inputs(GROUP.format(tier="gold"), MEMBER)))
    assert (found.service_account, found.locality, found.weight) == ("web", Locality(region="eu", zone="a"), 3)
    assert (found.labels["tier"], found.labels["zone"], found.labels["version"]) == ("gold", "blue", "v1")


def test_what_the_instance_says_stands() -> None:
    own = replace(MEMBER, service_account="own", locality=Locality(region="us"), weight=7)
    found = only(compiler.build(inputs(GROUP.format(tier="gold"), own)))
    assert (found.service_account, found.locality, found.weight) == ("own", Locality(region="us"), 7)


def test_a_group_that_changes_comes_or_goes() -> None:
    built = compiler.build(inputs("", MEMBER))
    assert only(built).labels.get("tier") is None
    for text, tier in ((GROUP.format(tier="gold"), "gold"), (GROUP.format(tier="tin"), "tin"), ("", None)):
        built = compiler.build(replace(inputs(text, MEMBER), registrations=built.inputs.registrations), built)
        assert only(built).labels.get("tier") == tier


def test_a_group_is_one_of_the_instances_own_namespace() -> None:
    elsewhere = replace(MEMBER, id="far", namespace="far", labels=FrozenMap({**MEMBER.labels}))
    result = compiler.build(inputs(GROUP.format(tier="gold"), elsewhere))
    (found,) = next(iter(result.mesh.endpoints(result.mesh.services[0]).values()))
    assert found.labels.get("tier") is None
