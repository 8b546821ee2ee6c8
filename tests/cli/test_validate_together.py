"""`tulle validate`: what is wrong between documents, told without a control plane."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = str(Path(sys.executable).with_name("tulle"))
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - match: [{uri: {prefix: /old}}]
    delegate: {name: lost}
  - route: [{destination: {host: shop, subset: v2}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: shop}
spec:
  host: shop
  subsets: [{name: v1, labels: {version: v1}}]
"""
GOOD = ROUTE.replace("v2", "v1").replace("delegate: {name: lost}", "directResponse: {status: 410}")
MESH = """
apiVersion: tulle.dev/v1
kind: Mesh
metadata: {name: place}
spec:
  config: [config]
  workloads:
  - {service: store, ports: [{port: 80}], command: [sleep, '1']}
"""


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, cwd=folder, timeout=60, env=os.environ | {"COLUMNS": "120"})
    return done.returncode, done.stdout, done.stderr


def test_what_documents_name_and_no_other_has(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(ROUTE)
    code, out, err = run(tmp_path, "validate", "-f", "shop.yaml")
    assert (code, out) == (0, "")
    place, nowhere = "warning: shop.yaml", "host shop.default.svc.cluster.local has no subset"
    delegate, destination, *more = err.splitlines()
    assert (
        delegate
        == f"{place}:9: VirtualService/shop: spec.http[0].delegate: VirtualService default/lost does not exist: this rule is left out"
    )
    assert destination.startswith(
        f'{place}:10: VirtualService/shop: spec.http[1].route[0].destination: {nowhere} "v2" in a DestinationRule'
    )
    assert more == [
        "taken to run, as no file says so: shop.default.svc.cluster.local",
        "documents: 2 good; violations: 0; warnings: 2",
    ]
    assert run(tmp_path, "validate", "-f", "shop.yaml", "--strict")[0] == 1


def test_good_documents_stay_good_though_nobody_knows_who_runs(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(GOOD)
    code, out, _ = run(tmp_path, "validate", "-f", "shop.yaml", "--strict", "-o", "json")
    told = json.loads(out)
    assert (code, told["warnings"], told["assumed"], told["good"]) == (0, [], ["shop.default.svc.cluster.local"], 2)


def test_a_document_that_is_written_again_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(f"{GOOD}---{GOOD}")
    code, _, err = run(tmp_path, "validate", "-f", "shop.yaml", "--strict")
    assert code == 1
    assert "shop.yaml:2: VirtualService/shop: is written again at shop.yaml:19: only the last one holds" in err


def test_a_mesh_file_says_which_services_run(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "shop.yaml").write_text(GOOD)
    code, out, _ = run(tmp_path, "validate", "-f", "mesh.yaml", "-o", "json")
    told = json.loads(out)
    assert (code, told["assumed"], told["good"]) == (0, [], 3)
    assert {(w["path"], w["line"], w["field"]) for w in told["warnings"]} == {
        ("config/shop.yaml", 10, "spec.http[1].route[0].destination"),
        ("config/shop.yaml", 16, "spec.host"),
    }
    (tmp_path / "mesh.yaml").write_text(MESH.replace("store", "shop"))
    assert run(tmp_path, "validate", "-f", "mesh.yaml", "--strict")[0] == 0


def test_violations_come_first_and_nothing_is_said_of_what_follows_from_them(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(ROUTE.replace("subsets:", "subset:"))
    code, out, err = run(tmp_path, "validate", "-f", "shop.yaml")
    assert (code, len(out.splitlines())) == (1, 1)
    assert err == "documents: 1 good; violations: 1; warnings: 0\n"


@pytest.mark.parametrize(
    ("there", "why"), [(False, "No such file or directory"), (True, "no file in this folder ends in .yaml, .yml or .json")]
)
def test_a_mesh_file_whose_documents_are_not_there_is_refused_as_by_up(tmp_path: Path, there: bool, why: str) -> None:
    (tmp_path / "mesh.yaml").write_text(MESH)
    if there:
        (tmp_path / "config").mkdir()
    answers = {run(tmp_path, *words) for words in (("validate", "-f", "mesh.yaml"), ("up", "mesh.yaml"))}
    assert answers == {(2, "", f"tulle: mesh.yaml:6: config: {why}\n")}
