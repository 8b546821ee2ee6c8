"""Istio's MeshConfig in the ConfigMap `istio`."""

from __future__ import annotations

import pytest

from tulle.model.screen import PathLevel
from tulle.resources.mesh_config import parse
from tulle.resources.read import read


def config_map(mesh: str, name: str = "istio") -> str:
    body = "\n".join(f"    {line}" for line in mesh.splitlines())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: istio-system}}\ndata:\n  mesh: |\n{body}\n"


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        ("extensionProviders: [{envoyExtAuthzGrpc: {service: a, port: 1}}]", "data.mesh: extensionProviders[0].name: required"),
        ("extensionProviders: [{name: a, envoyExtAuthzGrpc: {service: a, port: x}}]",
         "data.mesh: extensionProviders[0].envoyExtAuthzGrpc.port: must be a whole number, not 'x'"),
        ("extensionProviders: [{name: a, envoyExtAuthzHttp: {service: a, port: 1, statusOnError: '7'}}]",
         "data.mesh: extensionProviders[0].envoyExtAuthzHttp.statusOnError: must be an HTTP status, as text, not '7'"),
        ("pathNormalization: {normalization: ALL}",
         f"data.mesh: pathNormalization.normalization: must be one of DEFAULT, {', '.join(level.value for level in PathLevel)}, not 'ALL'"),
        ("pathNormalization: BASE", "data.mesh: pathNormalization: must be a mapping"),
        ("extensionProvider: []", 'data.mesh: extensionProvider: unknown field "extensionProvider"'),
        ("extensionProviders: 7", "data.mesh: extensionProviders: must be a list, not 7"),
        ("extensionProviders: [7]", "data.mesh: extensionProviders[0]: must be a mapping"),
        ("- a", "data.mesh: must be a mapping"),
        ("a: [", "data.mesh: line 2: is not valid YAML"),
    ],
)  # fmt: skip
def test_mistakes(mesh: str, said: str) -> None:
    (violation,) = read(config_map(mesh), "mesh.yaml").violations
    assert said in str(violation)
    assert str(violation).startswith("mesh.yaml:5: ConfigMap/istio: ")


def test_what_is_not_in_force_is_told() -> None:
    mesh = "accessLogFile: /dev/stdout\nextensionProviders: [{name: a, zipkin: {}}]"
    warnings = [str(w).partition("istio: ")[2] for w in read(config_map(mesh), "mesh.yaml").warnings]
    assert warnings == [
        "data.mesh: accessLogFile: not in force",
        "data.mesh: extensionProviders[0].zipkin: not in force",
    ]


def test_other_config_maps_may_say_what_they_like() -> None:
    assert read(config_map("a: [", name="other"), "mesh.yaml").violations == ()


@pytest.mark.parametrize(
    ("said", "level"),
    [("", "BASE"), ("{}", "BASE"), ("{normalization: DEFAULT}", "BASE"), ("{normalization: 4}", "DECODE_AND_MERGE_SLASHES")]
    + [(f"{{normalization: {level.value}}}", level.value) for level in PathLevel],
)
def test_the_form_of_paths(said: str, level: str) -> None:
    found = parse(f"pathNormalization: {said}" if said else "{}")
    assert (found.path_level, found.problems, found.idle) == (PathLevel(level), (), ())
