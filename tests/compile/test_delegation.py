"""What a rule and the rule that delegates to it match together: the one that is delegated to asks for the same or less (BEHAVIOURS 10)."""

from __future__ import annotations

import pytest
import yaml

from tulle.compile.delegation import ConflictError, conditions
from tulle.resources.networking.virtual_service import HttpMatch


def match(text: str) -> HttpMatch:
    return HttpMatch.model_validate(yaml.safe_load(text))


INSIDE = [
    ("uri: {prefix: /a}", "uri: {exact: /a/b}", "uri: {exact: /a/b}"),
    ("headers: {x: {prefix: ab}}", "headers: {x: {prefix: abc}, y: {}}", "headers: {x: {prefix: abc}, y: {}}"),
    ("headers: {x: {}}", "headers: {x: {exact: a}}", "headers: {x: {exact: a}}"),
    ("headers: {x: {exact: a}}", "queryParams: {q: {exact: a}}", "{headers: {x: {exact: a}}, queryParams: {q: {exact: a}}}"),
    ("queryParams: {q: {prefix: a}}", "queryParams: {q: {exact: ab}}", "queryParams: {q: {exact: ab}}"),
    ("withoutHeaders: {x: {exact: ab}}", "withoutHeaders: {x: {prefix: a}}", "withoutHeaders: {x: {prefix: a}}"),
    ("withoutHeaders: {x: {exact: ab}}", "withoutHeaders: {x: {}}", "withoutHeaders: {x: {}}"),
    ("sourceLabels: {a: b}", "sourceLabels: {c: d}", "sourceLabels: {a: b, c: d}"),
    ("{port: 80, gateways: [a, b]}", "gateways: [b]", "{port: 80, gateways: [b]}"),
]
OUTSIDE = [
    ("uri: {exact: /a}", "uri: {prefix: /a}"),
    ("uri: {regex: /a.*}", "uri: {exact: /a}"),
    ("headers: {x: {exact: a}}", "headers: {x: {}}"),
    ("headers: {x: {prefix: ab}}", "headers: {x: {prefix: a}}"),
    ("withoutHeaders: {x: {prefix: a}}", "withoutHeaders: {x: {exact: ab}}"),
    ("sourceLabels: {a: b}", "sourceLabels: {a: c}"),
    ("port: 80", "port: 81"),
    ("gateways: [a]", "gateways: [a, b]"),
    ("{uri: {prefix: /a}, ignoreUriCase: true}", "uri: {prefix: /a}"),
]


@pytest.mark.parametrize(("root", "leaf", "both"), INSIDE)
def test_what_both_match(root: str, leaf: str, both: str) -> None:
    assert conditions(match(root), match(leaf)) == match(both)


@pytest.mark.parametrize(("root", "leaf"), OUTSIDE)
def test_what_lies_outside(root: str, leaf: str) -> None:
    with pytest.raises(ConflictError):
        conditions(match(root), match(leaf))
