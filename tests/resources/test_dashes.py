"""A dash of typography in place of a hyphen."""

# ruff: noqa: RUF001

from __future__ import annotations

from textwrap import indent

import pytest

from support.reading import document, good
from tulle.resources.read import read

EN = "the list item starts with an en dash (–); YAML wants a hyphen (-)"
EM = "the list item starts with an em dash (—); YAML wants a hyphen (-)"


def told(text: str) -> list[tuple[int, str]]:
    return [(v.origin.line, v.message) for v in read(text, "f.yaml").violations]


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        pytest.param("hosts:\n– a\nhttp: []", [(6, EN)], id="a scalar where a key is expected"),
        pytest.param("hosts:\n– a\n– b", [(6, EN), (7, EN)], id="two of them"),
        pytest.param("hosts:\n  – a", [(6, EN)], id="a plain text"),
        pytest.param("hosts:\n  – a\n  – b", [(6, EN), (7, EN)], id="a plain text of two lines"),
        pytest.param("hosts:\n  — a", [(6, EM)], id="em dash"),
        pytest.param("hosts:\n- a\n  – b", [(7, EN)], id="the continuation of an item"),
        pytest.param("hosts:\n- a\n– b\n- c", [(7, EN)], id="among hyphens"),
        pytest.param("hosts: [a]\nhttp:\n– route:\n  - destination: {host: b}", [(7, EN)], id="a mapping"),
        pytest.param("hosts: [a]\nhttp:\n- route:\n  – destination: {host: b}", [(8, EN)], id="an inner list"),
        pytest.param("hosts: [a]\nhttp:\n- name: x\n  – route: 3", [(8, EN)], id="read as a key"),
        pytest.param("hosts:\n-  – a", [(6, EN)], id="after a hyphen"),
        pytest.param("hosts:\n–\n  a", [(6, EN)], id="alone on its line"),
        pytest.param("hosts:\n–\u00a0a", [(6, EN)], id="before a hard space"),
    ],
)
def test_an_item_with_a_wrong_dash_is_told_by_its_line(hosts: str, expected: list[tuple[int, str]]) -> None:
    assert told(document("VirtualService", hosts)) == expected


def test_the_violation_names_the_resource_where_the_document_can_be_read() -> None:
    (violation,) = read(document("VirtualService", "hosts:\n  – a"), "f.yaml").violations
    assert str(violation) == f"f.yaml:6: VirtualService/a: {EN}"


def test_other_documents_of_the_file_are_read() -> None:
    text = document("VirtualService", "hosts:\n– a") + "---\n" + document("DestinationRule", "host: b", name="b")
    found = read(text, "f.yaml")
    assert [v.origin.line for v in found.violations] == [6]
    assert [r.key.name for r in found.resources] == ["b"]


@pytest.mark.parametrize(
    "annotations",
    [
        'x: "– a"',
        "x: a – b",
        "x: – a",
        "x: |\n  – a\n  – b",
        "x: >-\n  – a",
        "x: 'one\n  – two'",
        "# – a\nx: y",
        "x: |\n  – a\n\n  – b\ny: z",
        "x: |2\n   – a\ny: '– z'",
    ],
)
def test_dashes_in_texts_are_texts(annotations: str) -> None:
    head = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nspec: {host: a}\nmetadata:\n  name: a\n  annotations:\n"
    assert good(head + indent(annotations, "    ")).annotations


def test_a_text_below_a_key_of_an_item_ends_with_its_indentation() -> None:
    text = "a:\n- x: |\n    – text\n  – y\n"
    assert told(text)[0] == (4, EN)
