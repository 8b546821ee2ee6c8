"""Documents made to take the reader down: each is refused with its line, those beside it are read, and none takes long."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
from collections.abc import Iterator

import pytest

import tulle
from tulle.resources.read import read
from tulle.resources.yaml import MAX_CHARACTERS, MAX_DOCUMENTS, MAX_FAULTS

GOOD = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\ndata: {a: b}\n"
HEAD = "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: bad}\nspec:\n  hosts: [a]\n"


def laughs(depth: int) -> str:
    """Aliases of aliases: each line is nine times the one before."""
    letters = "abcdefghijklmnopqrstuvwxyz"[:depth]
    lines = [
        f"a: &a [{','.join('x' * 9)}]",
        *(f"{n}: &{n} [{','.join([f'*{p}'] * 9)}]" for p, n in itertools.pairwise(letters)),
    ]
    return "\n".join(lines)


BOMBS = {
    "a billion laughs": (laughs(20), "more than 500000 values once its aliases are followed"),
    "one large alias, often": (
        "a: &a [" + "x," * 5000 + "]\nb: [" + "*a," * 200 + "]",
        "more than 500000 values once its aliases are followed",
    ),
    "merge keys": ("a: &a {" + ", ".join(f"k{n}: 1" for n in range(5000)) + "}\nb: [" + "{<<: *a}," * 200 + "]", "more than 500000 values"),
    "an alias of itself": ("a: &a [*a]", "refers to no anchor before it"),
    "too many values": ("[" + "1," * 500_001 + "]", "more than 500000 values"),
    "deep brackets": ("a: " + "[" * 100_000, "nested deeper than 100 levels"),
    "deep braces": ("a: " + "{a: " * 100_000, "nested deeper than 100 levels"),
    "deep dashes": ("a:\n" + "- " * 100_000 + "x", "nested deeper than 100 levels"),
    "deep indentation": ("".join(f"{' ' * n}a:\n" for n in range(1000)), "nested deeper than 100 levels"),
    "a key that is a mapping": ("? {a: b}\n: c", "a key is no plain text"),
    "a tag of Python": (
        "a: !!python/object/apply:os.system [id]",
        "the tag tag:yaml.org,2002:python/object/apply:os.system is not supported",
    ),
    "a tag of Ruby": ("a: !ruby/object:Gem::Installer\n  i: x", "the tag !ruby/object:Gem::Installer is not supported"),
    "a key given twice": ("apiVersion: v1\nkind: ConfigMap\nkind: Secret\nmetadata: {name: x}", "given twice; the first is in line"),
    "control characters": ("a: \x07", "it contains the character U+0007"),
    "NUL": ("a: \0", "it contains the character U+0000"),
    "half a character": ("a: \ud800", "it contains the character U+D800"),
}


@pytest.mark.parametrize(("text", "why"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_and_its_neighbours_are_read(text: str, why: str) -> None:
    found = read(f"{GOOD}---\n{text}\n", "bomb.yaml")
    assert any(why in violation.message for violation in found.violations), [str(v)[:200] for v in found.violations]
    assert all(violation.origin.line > 5 for violation in found.violations)
    assert [resource.key.name for resource in found.resources] == ["good"]


def test_a_huge_file_is_not_read() -> None:
    (violation,) = read("a" * (MAX_CHARACTERS + 1), "huge.yaml").violations
    assert "the file is larger than 8 MiB" in violation.message


def test_a_file_of_countless_documents_is_read_so_far_and_no_further() -> None:
    found = read("---\n" * (MAX_DOCUMENTS + 10) + GOOD, "many.yaml")
    (violation,) = found.violations
    assert "more than 100000 documents" in violation.message
    assert found.resources == ()


COUNTLESS = {
    "unknown fields": HEAD + "".join(f"  field{n}: 1\n" for n in range(5000)),
    "wrong items": HEAD + "  http:\n" + "".join(f"  - field{n}: 1\n" for n in range(1000)),
    "keys given twice": HEAD + "  a: 1\n" * 5000,
}


@pytest.mark.parametrize("text", COUNTLESS.values(), ids=COUNTLESS)
def test_countless_mistakes_are_not_told_one_by_one(text: str) -> None:
    violations = read(text, "wrong.yaml").violations
    assert len(violations) == MAX_FAULTS + 1
    assert "not told" in violations[-1].message


NUMBERS = ("9" * 5000, "1" + "0" * 100_000, "0x" + "f" * 5000, "1e999999999", "-.inf", ".nan", "1_000", "1:30")


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: n[:12])
def test_odd_numbers_are_no_numbers_of_ours(number: str) -> None:
    found = read(
        f"{HEAD}  http: [{{timeout: {number}, retries: {{attempts: {number}}}, route: [{{destination: {{host: a}}}}]}}]\n", "n.yaml"
    )
    assert found.resources == ()
    assert found.violations


NAMES = {
    "climbing": "../../etc/passwd",
    "slashes": "a/b",
    "encoded": "a%2fb",
    "line feed": "a\\nforged",
    "escape sequence": "a\\e[2J",
    "NUL": "a\\0",
    "quotes": "a'b\\\"c",
    "space": "a b",
    "capitals": "A",
    "bidirectional": "a\\u202eb",
    "long": "a" * 254,
    "dots": "..",
    "empty": "",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("field", ["name", "namespace"])
def test_a_name_that_is_more_than_a_name_is_refused(name: str, field: str) -> None:
    metadata = {"name": '"fine"', "namespace": '"fine"', field: f'"{name}"'}
    written = ", ".join(f"{key}: {value}" for key, value in metadata.items())
    found = read(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{{written}}}\ndata: {{a: b}}\n", "names.yaml")
    assert found.resources == ()
    (violation,) = found.violations
    assert violation.field == f"metadata.{field}"
    assert not re.search(r"[\x00-\x1f\x7f\u202e]", str(violation.message)), "and it is not repeated as it is"


def patterns() -> Iterator[re.Pattern[str]]:
    """Every regular expression that stands in a module of ours."""
    for found in pkgutil.walk_packages(tulle.__path__, "tulle."):
        if not found.name.endswith("__main__"):
            values = vars(importlib.import_module(found.name)).values()
            yield from (value for value in values if isinstance(value, re.Pattern) and isinstance(value.pattern, str))


def test_no_pattern_of_ours_can_be_kept_busy() -> None:
    """With repeated pieces, and an end that does not fit, a pattern that tries all ways would not come back before the sun burns out."""
    pieces = (
        "a",
        "0",
        "-",
        ".",
        "/",
        ":",
        " ",
        "%a",
        "a-",
        "a.",
        "a=",
        "a,",
        "(",
        "[a]",
        "{*}",
        "\\",
        '"',
        "\t",
        "*",
        "1.",
        "aA0",
        "a:b,",
        "::",
    )
    seen = set(patterns())
    assert len(seen) > 50
    for pattern in seen:
        for piece in pieces:
            for end in ("", "!", "\n", "\0", '"'):
                pattern.fullmatch(piece * 60 + end)
                pattern.search(piece * 60 + end)
