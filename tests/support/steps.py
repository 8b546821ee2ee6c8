"""Meshes that are built step by step, each from the one before, beside ones that are built from nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from support.compiled import plain
from tulle import compile as compiler
from tulle.compile import Built, view
from tulle.model.mesh import Inputs
from tulle.model.proxy import Layer, Node


def on_the_way(pictures: Iterable[Inputs], random: Any) -> Iterator[Inputs]:
    """From one picture to the next: some of what was there goes, what comes is added or takes the place of its predecessor."""
    last: Inputs | None = None
    for picture in pictures:
        one = picture
        if last is not None:
            kept = {key: resource for key, resource in last.resources.items() if random.random() < 0.8}
            known = {id_: instance for id_, instance in last.registrations.items() if random.random() < 0.9}
            some = {key: resource for key, resource in one.resources.items() if random.random() < 0.5}
            one = replace(last, resources={**kept, **some}, registrations={**known, **one.registrations})
        yield (last := one)


def check(steps: Iterable[Inputs], nodes: Sequence[Node]) -> None:
    """Every step gives what a fresh start gives; and where nothing changed, all layers are the same objects as before."""
    built: Built | None = None
    seen: list[tuple[Layer, ...]] = [()] * len(nodes)
    for step in steps:
        built, alone = compiler.build(step, built), compiler.build(step)
        assert built.statuses == alone.statuses
        for place, node in enumerate(nodes):
            now = view(built.mesh, node)
            assert plain(now) == plain(view(alone.mesh, node))
            seen[place] = now.layers
        again = compiler.build(replace(step, resources=dict(step.resources), registrations=dict(step.registrations)), built)
        assert again.statuses is built.statuses
        assert [view(again.mesh, node).layers for node in nodes] == seen
