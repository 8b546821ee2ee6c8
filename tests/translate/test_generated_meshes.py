"""Whatever users write: every name resolves, no order matters, no history matters, and Envoy accepts it.

`TULLE_MESHES=500` makes a deeper run through Envoy; a seed in a failure repeats it.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.generated_meshes import Dice
from support.lone_envoy import validate
from tulle.compile import Built, build, view
from tulle.model.mesh import Inputs
from tulle.model.proxy import Node
from tulle.translate import Snapshot, Translator
from tulle.translate.static import static_config

MESHES = int(os.environ.get("TULLE_MESHES", "20"))

seeds = st.integers(0, 2**32)


def snapshots(built: Built, nodes: tuple[Node, ...], translator: Translator) -> list[Snapshot]:
    return [translator.snapshot(view(built.mesh, node)) for node in nodes]


def versions(built: Built, nodes: tuple[Node, ...], translator: Translator) -> list[dict[tuple[str, str], str]]:
    return [snapshot.versions() for snapshot in snapshots(built, nodes, translator)]


def turned_around(inputs: Inputs) -> Inputs:
    resources, registrations = reversed(inputs.resources.items()), reversed(inputs.registrations.items())
    return Inputs(resources=dict(resources), registrations=dict(registrations), settings=inputs.settings)


def without(inputs: Inputs, dice: Dice) -> Inputs:
    """Some of the same documents and registrations, for a mesh to come from."""
    keep = lambda mapping: {key: value for key, value in mapping.items() if dice.maybe(70)}  # noqa: E731
    return Inputs(resources=keep(inputs.resources), registrations=keep(inputs.registrations), settings=inputs.settings)


@given(seeds)
def test_every_name_resolves(seed: int) -> None:
    dice = Dice(seed)
    built, nodes = build(dice.inputs()), dice.nodes()
    assert [snapshot.problems() for snapshot in snapshots(built, nodes, Translator())] == [()] * len(nodes)


@given(seeds)
@settings(max_examples=50)
def test_the_order_of_what_is_given_does_not_matter(seed: int) -> None:
    dice = Dice(seed)
    inputs, nodes = dice.inputs(), dice.nodes()
    assert versions(build(turned_around(inputs)), nodes, Translator()) == versions(build(inputs), nodes, Translator())


@given(seeds)
@settings(max_examples=50)
def test_what_was_before_does_not_matter(seed: int) -> None:
    dice = Dice(seed)
    inputs, nodes = dice.inputs(), dice.nodes()
    translator = Translator()
    before = build(without(inputs, dice))
    versions(before, nodes, translator)
    assert versions(build(inputs, before), nodes, translator) == versions(build(inputs), nodes, Translator())


@pytest.mark.envoy
@pytest.mark.timeout(600 + MESHES)
def test_envoy_accepts_them(tmp_path: Path) -> None:
    for seed in range(MESHES):
        dice = Dice(seed)
        built, nodes = build(dice.inputs()), dice.nodes()
        for node, snapshot in zip(nodes, snapshots(built, nodes, Translator()), strict=True):
            assert validate(static_config(snapshot, node), tmp_path) == "", (seed, node.id)
