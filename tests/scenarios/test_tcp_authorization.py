"""Connections: ports are allowed and refused; rules about requests never let one in, and never keep one out of a refusal."""

from __future__ import annotations

import pytest

from support.scene import said_over_tcp
from support.town import Town
from support.words import policy

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("scenarios")]
LINES = "selector: {matchLabels: {app: lines}}, "


def reached(town: Town) -> dict[int, bool]:
    return {number: said_over_tcp(port, b"port\n") == b"hello port\n" for number, port in town.lines.items()}


@pytest.mark.parametrize(
    ("spec", "first", "second"),
    [
        ("action: ALLOW, rules: [{to: [{operation: {ports: ['9000', '9001']}}]}]", True, True),
        ("action: ALLOW, rules: [{to: [{operation: {ports: ['9000']}}]}]", True, False),
        ("action: ALLOW, rules: [{to: [{operation: {methods: [GET], ports: ['9000']}}]}]", False, False),
        ("action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]", False, False),
        ("action: DENY, rules: [{to: [{operation: {methods: [GET], ports: ['9000']}}]}]", False, True),
        ("action: ALLOW, rules: [{from: [{source: {principals: [cluster.local/ns/foo/sa/caller]}}]}]", True, True),
        ("action: ALLOW, rules: [{from: [{source: {namespaces: [bar]}}]}]", False, False),
        ("action: DENY, rules: [{from: [{source: {notPrincipals: [cluster.local/ns/foo/sa/caller]}}]}]", True, True),
    ],
)
def test_ports(town: Town, spec: str, first: bool, second: bool) -> None:
    assert reached(town) == {9000: True, 9001: True}
    with town.scene.holding(policy("ports", LINES + spec)):
        assert reached(town) == {9000: first, 9001: second}
        said = {number: town.scene.can(f"tcp://lines.foo:{number}", source="foo/caller") for number in town.lines}
        assert said == {9000: "yes" if first else "no", 9001: "yes" if second else "no"}
