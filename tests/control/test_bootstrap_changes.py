"""EnvoyFilters change what proxies start with: seen in the files of those that run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.compiled import built, documents, warnings
from support.running import Place, running
from tulle.agent.bootstrap import Change, changed
from tulle.compile.patching import bootstrap_patches
from tulle.model.identity import Labels
from tulle.model.proxy import Node, Role

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {name: started}
spec:
  workloads:
  - {name: web, labels: {app: web}, command: [sleep, "1000"]}
---
"""
FILTERS = """
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: all, namespace: istio-system}
spec:
  configPatches:
  - {applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {statsFlushInterval: 7s, node: {metadata: {shop: north}}}}}
  - applyTo: BOOTSTRAP
    match: {context: GATEWAY}
    patch: {operation: MERGE, value: {stats_config: {stats_tags: [{tag_name: shop, regex: "^shop=(.*)"}]}}}
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: web, namespace: default}
spec:
  priority: -1
  workloadSelector: {labels: {app: web}}
  configPatches:
  - {applyTo: BOOTSTRAP, patch: {operation: MERGE, value: {stats_sinks: [{name: there.is.none}]}}}
"""


def configs(run_dir: Path) -> dict[str, dict[str, Any]]:
    """By the id of the node, what each proxy started with."""
    found = (json.loads(path.read_text()) for path in run_dir.rglob("envoy.json"))
    return {config["node"]["id"]: config for config in found}


@pytest.mark.envoy
def test_proxies_start_with_what_is_changed_and_without_what_is_wrong(tmp_path: Path) -> None:
    place, run_dir = Place(folder=tmp_path), tmp_path / "run"
    place.write("mesh.yaml", MESH + FILTERS)

    async def mesh() -> None:
        async with running(place, "up", "mesh.yaml", "--run-dir", str(run_dir)):
            await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 2)
            found = configs(run_dir)
            gateway, web = found["gateway~ingressgateway"], found["sidecar~web"]
            assert (gateway["stats_flush_interval"], gateway["node"]["metadata"]["shop"]) == ("7s", "north")
            assert "shop" in [tag["tag_name"] for tag in gateway["stats_config"]["stats_tags"]]
            assert "stats_flush_interval" not in web, "Envoy refuses a part of it, so the proxy starts without all of it"

    asyncio.run(mesh())


def merged(role: Role, namespace: str = "default", app: str = "other") -> list[str]:
    node = Node(id="", role=role, namespace=namespace, labels=Labels({"app": app}))
    return [patch.value for patch in bootstrap_patches(documents(FILTERS).values(), "istio-system", node)]


def test_which_changes_are_for_a_proxy() -> None:
    assert [len(merged(*who)) for who in ((Role.GATEWAY,), (Role.SIDECAR,), (Role.SIDECAR, "far", "web"))] == [2, 1, 1]
    assert "there.is.none" in merged(Role.SIDECAR, app="web")[0], "the lower priority comes first"


def test_merging() -> None:
    config = {"a": {"b": 1, "c": [1]}, "d": [1]}
    one, two = Change(value={"a": {"c": [2], "e": 3}}), Change(value={"d": [4]}, replace_lists=True)
    assert changed(config, (one, two)) == {"a": {"b": 1, "c": [1, 2], "e": 3}, "d": [4]}
    assert config == {"a": {"b": 1, "c": [1]}, "d": [1]}


@pytest.mark.parametrize(
    ("values", "every"),
    [
        ({}, "60s"),
        ({"stats_flush_interval": "7s"}, "63s"),
        ({"stats_flush_interval": "0.500s"}, "60s"),
        ({"stats_flush_interval": "90s"}, "90s"),
        ({"stats_flush_interval": "7s", "stats_eviction_interval": "14s"}, "14s"),
    ],
)
def test_statistics_are_forgotten_in_step_with_their_flushes(values: dict[str, str], every: str) -> None:
    assert changed({"stats_eviction_interval": "60s"}, (Change(value=values),))["stats_eviction_interval"] == every
    assert "stats_eviction_interval" not in changed({}, (Change(value={"stats_flush_interval": "7s"}),))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("{statsFlushInterval: 7s}", "holds for proxies that are started from now on: those that run keep what they have"),
        ("{admin: {}}", "not in force: admin is the agent's own, which leads the proxy by it"),
        ("{dynamicResources: {}}", "not in force: dynamicResources is the agent's own, which leads the proxy by it"),
        ("{node: {id: a}}", "not in force: node.id is the agent's own, which leads the proxy by it"),
    ],
)
def test_what_is_said_of_it(value: str, said: str) -> None:
    text = (
        FILTERS.partition("  configPatches:")[0] + f"  configPatches: [{{applyTo: BOOTSTRAP, patch: {{operation: MERGE, value: {value}}}}}]"
    )
    (warning,) = warnings(built(text), "EnvoyFilter/all")
    assert warning.endswith(f"spec.configPatches[0]: {said}")
