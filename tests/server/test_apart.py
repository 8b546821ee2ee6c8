"""Documents that no message to proxies comes from say what they are for, and those that are endpoints are followed to the proxies."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from support.carried import snapshot
from support.compiled import sidecar
from support.reading import document
from tulle.model.proxy import Node, Role
from tulle.model.resource import Condition, Key, Resource
from tulle.resources.read import read
from tulle.server.apart import apart
from tulle.server.fleet import Fleet, Member
from tulle.translate import CLUSTER, ENDPOINTS, LISTENER

NOBODY = Condition(type="Programmed", status=None, reason="NoProxy", message="it concerns none of the connected proxies")
NODES = (sidecar("default", app="web"), sidecar("other", app="web"), Node(id="gateway~g", role=Role.GATEWAY, namespace="istio-system"))
STARTED = "and what runs already takes it when it is started again"
BOOTSTRAP = "{applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {stats_flush_interval: 7s}}}"
CLUSTERS = "{applyTo: CLUSTER, patch: {operation: MERGE, value: {connect_timeout: 7s}}}"


VERSIONS = {"ProxyConfig": "v1beta1", "EnvoyFilter": "v1alpha3"}


def the(kind: str, spec: str) -> Resource[Any]:
    found = read(document(kind, spec, api_version=f"networking.istio.io/{VERSIONS.get(kind, 'v1')}"), "f.yaml")
    (resource,) = found.resources
    return resource


@pytest.mark.parametrize(
    ("kind", "spec", "said"),
    [
        ("ProxyConfig", "selector: {matchLabels: {app: web}}\nconcurrency: 1", f"1 connected proxy is meant, {STARTED}"),
        ("ProxyConfig", "selector: {matchLabels: {app: db}}\nconcurrency: 1", f"no connected proxy is meant, {STARTED}"),
        ("EnvoyFilter", f"configPatches: [{BOOTSTRAP}]", f"1 connected proxy is meant, {STARTED}"),
        ("EnvoyFilter", f"configPatches: [{BOOTSTRAP}, {CLUSTERS}]", None),
        ("WorkloadEntry", "address: 10.0.0.1", "no connected proxy calls a service that it answers for"),
        ("WorkloadGroup", "template: {serviceAccount: a}", "it is a template for instances that register"),
        ("DestinationRule", "host: a", None),
    ],
)
def test_what_is_said(kind: str, spec: str, said: str | None) -> None:
    found = apart(NOBODY, the(kind, spec), NODES, "istio-system")
    if said is None:
        assert found == NOBODY
    else:
        assert said in found.message
        assert found.reason == ("AtStart" if STARTED in said else "NoProxy")


def test_those_of_the_root_namespace_are_for_all() -> None:
    mine = the("ProxyConfig", "concurrency: 1")
    everywhere = replace(mine, key=mine.key._replace(namespace="istio-system"))
    assert "3 connected proxies are meant" in apart(NOBODY, everywhere, NODES, "istio-system").message


ENTRY = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: old-db}
spec: {address: %s, labels: {app: db}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db}
spec:
  hosts: [db.example]
  location: MESH_INTERNAL
  resolution: %s
  ports: [{number: 5432, name: tcp, protocol: TCP}]
  workloadSelector: {labels: {app: db}}
"""


@pytest.mark.parametrize(("address", "resolution", "type_url"), [("10.0.0.9", "STATIC", ENDPOINTS), ("db.lan", "DNS", CLUSTER)])
def test_an_entry_is_there_when_its_endpoint_is(address: str, resolution: str, type_url: str) -> None:
    node, key = sidecar("default", app="web"), Key(kind="WorkloadEntry", namespace="default", name="old-db")
    held = snapshot(ENTRY % (address, resolution), node)
    fleet = Fleet()
    fleet.members[node.id] = member = Member(node=node, since=datetime.now(UTC), snapshot=held, revision=1)
    assert fleet.programmed(key).message == "0 of 1 proxy has acknowledged"
    for kind in (CLUSTER, ENDPOINTS, LISTENER):
        member.take(kind, held)
    assert (fleet.programmed(key).status, fleet.programmed(key).message) == (True, "1 of 1 proxy has acknowledged")
    assert any(s.key == key for entry in held.entries(type_url) for s in entry.sources)
