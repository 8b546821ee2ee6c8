"""Proxies are started as ProxyConfig documents say: seen in the processes that run."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from support.api import running_api
from support.running import Place, running

MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {name: started}
spec:
  workloads:
  - {name: web, command: [sleep, "1000"]}
  - {name: api, command: [sleep, "1000"]}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: all, namespace: istio-system}
spec: {concurrency: 3, environmentVariables: {WHERE: everywhere}}
---
apiVersion: networking.istio.io/v1beta1
kind: ProxyConfig
metadata: {name: web}
spec: {selector: {matchLabels: {app: web}}, concurrency: 2, environmentVariables: {WHERE: at web, LD_PRELOAD: /nowhere.so}}
"""


def proxies(run_dir: Path) -> dict[str, tuple[str, str, bool]]:
    """By the id of its node: `--concurrency`, the variable, and whether it has the one that no document may set."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode().split("\0")
            said = dict(line.partition("=")[::2] for line in (process / "environ").read_bytes().decode().split("\0"))
        except (OSError, UnicodeDecodeError):
            continue
        if {"--concurrency", "-c"} <= {*words} and words[words.index("-c") + 1].startswith(str(run_dir)):
            text = Path(words[words.index("-c") + 1]).read_text()
            node = next(name for name in ("sidecar~web", "sidecar~api", "gateway~ingressgateway") if f'"{name}"' in text)
            found[node] = (words[words.index("--concurrency") + 1], said.get("WHERE", ""), "LD_PRELOAD" in said)
    return found


@pytest.mark.envoy
def test_processes_are_started_as_documents_say(tmp_path: Path) -> None:
    place, run_dir = Place(folder=tmp_path), tmp_path / "run"
    place.write("mesh.yaml", MESH.replace("name: web, command", "name: web, labels: {app: web}, command"))

    async def mesh() -> None:
        async with running(place, "up", "mesh.yaml", "--run-dir", str(run_dir)):
            await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 3)
            assert proxies(run_dir) == {
                "sidecar~web": ("2", "at web", False),
                "sidecar~api": ("3", "everywhere", False),
                "gateway~ingressgateway": ("3", "everywhere", False),
            }

    asyncio.run(mesh())


@pytest.mark.envoy
def test_what_is_said_at_the_start_wins(tmp_path: Path) -> None:
    place, run_dir = Place(folder=tmp_path), tmp_path / "run"
    place.write("mesh.yaml", MESH.partition("  workloads:")[0] + "  workloads: []\n---" + MESH.partition("\n---")[2])

    async def mesh() -> None:
        async with running(place, "up", "mesh.yaml", "--run-dir", str(run_dir), "--concurrency", "1"):
            await place.until("/api/v1/proxies", lambda a: len(a["proxies"]) == 1)
            assert proxies(run_dir) == {"gateway~ingressgateway": ("1", "everywhere", False)}

    asyncio.run(mesh())


def test_agents_are_told(tmp_path: Path) -> None:
    with running_api(tmp_path) as api:
        assert api.request("GET", "/api/v1/proxy-config?namespace=default&labels=app=web,version=v1") == (
            200,
            {"concurrency": 2, "environment": {"app": "web", "version": "v1"}, "bootstrap": []},
        )
        answer = {"concurrency": None, "environment": {}, "bootstrap": [{"value": {"stats_flush_interval": "7s"}, "replace_lists": False}]}
        assert api.request("GET", "/api/v1/proxy-config?namespace=other&role=gateway") == (200, answer)
