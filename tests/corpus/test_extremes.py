"""The least and the most that documents may say: what is accepted is made into messages that Envoy takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.certificates import Ca
from support.every_field import NODES, Place, Trial, at, changed, documents, leaves
from support.lone_envoy import validate
from support.published import together
from tulle.resources.read import read
from tulle.translate.static import static_config

KINDS = ("VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "WorkloadEntry", "WorkloadGroup", "Sidecar")
NUMBERS = (0, 1, 100, 599, 65535, 2**31 - 1, 2**32 - 1, 2**63 - 1)
DURATIONS = ("0s", "1ms", "400ms", "9h", "2562000h")
_DURATION = re.compile(r"\d+(ms|s|m|h)")


def extreme(document: dict[str, Any], order: int) -> dict[str, Any]:
    """With the first value in its place that is accepted, wherever there is a number or a duration."""
    for place in _counted(document):
        for value in (NUMBERS if isinstance(at(document, place), int | float) else DURATIONS)[::order]:
            variant = changed(document, place, value)
            if not read(json.dumps(variant), "a.yaml").violations:
                document = variant
                break
    return document


def _counted(document: dict[str, Any]) -> Iterator[Place]:
    for leaf in leaves(document["spec"]):
        value = at(document, place := ("spec", *leaf))
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number or (isinstance(value, str) and _DURATION.fullmatch(value)):
            yield place


@pytest.mark.envoy
@pytest.mark.parametrize("order", [1, -1], ids=["least", "most"])
def test_envoy_takes_all_that_is_accepted(order: int, tmp_path: Path) -> None:
    roots = Ca().write(tmp_path)
    configs = []
    for kind in KINDS:
        for number, document in enumerate(documents(kind)):
            node = NODES[-1] if kind == "Gateway" else NODES[0]
            snapshot = Trial(extreme(document, order)).snapshots[node.id]
            configs.append((f"{kind} {number}", static_config(snapshot, node, roots)))
    listening = [(name, config) for name, config in configs if config.get("static_resources", {}).get("listeners")]
    for inside, config in together(listening):
        assert validate(config, tmp_path) == "", inside
