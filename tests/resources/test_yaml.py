"""YAML to values and lines."""

# ruff: noqa: RUF001

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.resources.yaml import MAX_CHARACTERS, MAX_DEPTH, Document, load


def one(text: str) -> Document:
    (document,) = load(text)
    return document


def faults(text: str) -> list[tuple[int, str]]:
    return [(fault.line, fault.message) for document in load(text) for fault in document.faults]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("12", 12),
        ("-7", -7),
        ("+7", 7),
        ("012", 12),
        ("0o14", 12),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("-1E-2", -0.01),
        ("1e", "1e"),
        ("12:30", "12:30"),
        ("22:22", "22:22"),
        ("1:02:03", "1:02:03"),
        ("2026-11-21", "2026-11-21"),
        ("2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z"),
        ("v1.2.3", "v1.2.3"),
        ("1.2.3", "1.2.3"),
        ("10.0.0.1", "10.0.0.1"),
        ("null", None),
        ("Null", None),
        ("~", None),
        ("", None),
        ("nulls", "nulls"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!int 12", 12),
        ("=", "="),
        ("9" * 60, 10**60 - 1),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: Any) -> None:
    read = one(f"a: {text}").value["a"]
    assert (type(read), read) == (type(value), value)


def test_nan() -> None:
    assert math.isnan(one("a: .nan").value["a"])


def test_every_field_has_its_line() -> None:
    document = one("# first\na: 1\nb:\n  - c: [x,\n      y]\n    d.e/f: 2\n  -\n    g: {h: 3}\n")
    assert document.line == 2
    assert document.lines == {
        "a": 2,
        "b": 3,
        "b[0]": 4,
        "b[0].c": 4,
        "b[0].c[0]": 4,
        "b[0].c[1]": 5,
        'b[0]["d.e/f"]': 6,
        "b[1]": 8,
        "b[1].g": 8,
        "b[1].g.h": 8,
    }


def test_documents_of_a_file_keep_their_lines() -> None:
    documents = list(load("%YAML 1.2\n# about\n---\na: 1\n---\n# nothing\n---\n...\n---   \nb: 2\n--- {c: 3}\n"))
    assert [(d.value, d.line) for d in documents] == [({"a": 1}, 4), ({"b": 2}, 10), ({"c": 3}, 11)]


def test_a_marker_in_a_text_is_no_marker() -> None:
    assert one("a: |\n  ---\n  b\n").value == {"a": "---\nb\n"}


def test_windows_line_ends_and_a_byte_order_mark() -> None:
    documents = list(load("\ufeffa: 1\r\n---\r\nb: 2\r\n"))
    assert [(d.value, d.lines) for d in documents] == [({"a": 1}, {"a": 1}), ({"b": 2}, {"b": 3})]


def test_a_broken_document_leaves_the_others() -> None:
    documents = list(load("a: 1\n---\nb: [\n---\nc: 3\n"))
    assert [d.value for d in documents] == [{"a": 1}, None, {"c": 3}]
    assert documents[1].faults[0].line == 4


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3, "is not valid YAML: did not find expected ',' or ']', while parsing a flow sequence"),
        ("a:\n\t- b\n", 2, "is not valid YAML: found character that cannot start any token (a tab? YAML indents with spaces), "),
        ("a: 1\na: 2\n", 2, "given twice; the first is in line 1"),
        ("a: &x 1\nb: *y\n", 2, "the alias *y refers to no anchor before it"),
        ("a: &x [*x]\n", 1, "the alias *x refers to no anchor before it"),
        ("a: !secret x\n", 1, "the tag !secret is not supported"),
        ("a: !env {b: 1}\n", 1, "the tag !env is not supported"),
        ("? [a]\n: 1\n", 1, "a key is no plain text"),
        ("a:\n  ? {b: 1}\n  : 1\n", 2, "a key of a is no plain text"),
        ("a: 1\nb: \x00\n", 2, "is not text: it contains the character U+0000"),
        ("a: 1\nb: \ud800\n", 2, "is not text: it contains the character U+D800"),
        ("a: 1\n<<: [3]\n", 1, "<< takes mappings only"),
    ],
)
def test_faults_name_their_line(text: str, line: int, message: str) -> None:
    ((found_line, found),) = faults(text)
    assert found_line == line
    assert found.startswith(message)


def test_aliases_and_merge_keys() -> None:
    document = one("base: &b {x: 1, y: 2}\nuse: *b\nmore:\n  <<: *b\n  y: 3\n")
    assert document.value == {"base": {"x": 1, "y": 2}, "use": {"x": 1, "y": 2}, "more": {"x": 1, "y": 3}}
    assert document.lines["use"] == 2


def test_aliases_do_not_blow_up() -> None:
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    ((line, message),) = faults("\n".join(levels))
    assert (line, message) == (6, "the document has more than 500000 values once its aliases are followed")


def test_depth_and_size_are_bounded() -> None:
    assert faults("[" * 5000) == [(1, f"the document is nested deeper than {MAX_DEPTH} levels")]
    assert faults("a" * (MAX_CHARACTERS + 1)) == [(1, "the file is larger than 8 MiB")]
    assert one("[" * MAX_DEPTH + "]" * MAX_DEPTH).faults == ()


def test_addresses_in_lists_may_end_with_a_colon() -> None:
    assert one("a: [1.2.3.4, 001:db8::, 2001:db8::1, 'x::']").value == {"a": ["1.2.3.4", "001:db8::", "2001:db8::1", "x::"]}
    assert one("a: {b: [2001:db8::]}").value == {"a": {"b": ["2001:db8::"]}}


texts = st.text(st.characters(codec="utf-8"))
plain = st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_infinity=False) | texts
keys = st.text(st.characters(codec="utf-8"), max_size=80)
"""YAML takes no key of more than 1024 characters, and JSON may write twelve for one."""
nested = st.recursive(plain, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


@given(nested)
def test_json_is_yaml(value: Any) -> None:
    import json

    document = list(load(json.dumps(value)))
    assert [d.value for d in document if not d.faults] == ([] if value is None else [value])


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert all(document.line >= 1 for document in load(text))


@given(st.text(alphabet="-–: \n\t[]{}#&*!|>'\"%@`,?ab1.~<=\r", max_size=60))
def test_no_text_of_signs_raises(text: str) -> None:
    for document in load(text):
        assert all(1 <= fault.line <= text.count("\n") + text.count("\r") + 2 for fault in document.faults)
