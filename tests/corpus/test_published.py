"""Istio documents in the shapes in which they are published, of every kind and age: they compile, or fail with an error that is right.

What is said of each file stands in `published/said/`; `pytest tests/corpus --update-golden` writes it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support.certificates import Ca
from support.lone_envoy import validate
from support.published import FOLDER, Published, names, together

SAID = FOLDER / "said"
each_file = pytest.mark.parametrize("name", names())


@each_file
def test_what_is_said(name: str, request: pytest.FixtureRequest) -> None:
    said, file = Published.of(name).said(), SAID / f"{name}.txt"
    if request.config.getoption("--update-golden"):
        SAID.mkdir(exist_ok=True)
        file.write_text(said)
    assert said == file.read_text()


def test_every_kind_and_age_is_there() -> None:
    used = {(r.key.kind, r.api_version.rpartition("/")[2]) for name in names() for r in Published.of(name).found.resources}
    kinds = ("VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "Sidecar")
    assert {(kind, version) for kind in kinds for version in ("v1", "v1beta1", "v1alpha3")} <= used
    assert sum(len(Published.of(name).found.resources) + len(Published.of(name).found.violations) for name in names()) > 150
    assert {("EnvoyFilter", "v1alpha3"), ("ProxyConfig", "v1beta1"), ("WorkloadGroup", "v1"), ("Telemetry", "v1alpha1")} <= used


@pytest.mark.envoy
def test_envoy_takes_all_of_it(tmp_path: Path) -> None:
    roots = Ca().write(tmp_path)
    configs = [pair for name in names() for pair in Published.of(name).configs(roots)]
    for inside, config in together(configs):
        refused = validate(config, tmp_path)
        if refused:
            alone = {name: text for name, one in configs if name in inside and (text := validate(one, tmp_path))}
            assert alone == {}, f"together: {refused}"
            raise AssertionError(refused)
