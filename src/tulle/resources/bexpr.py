"""Consul's filter language: `Service.Meta.version == "v2" and not ("canary" in Service.Tags or Node matches "^db")`.

A filter is read once, against a table of what can be asked, and then asked of JSON values. A key that a map does not have matches
nothing (`!=`, `not in` and the like hold). Regular expressions are RE2, as a pattern must not be able to hold everything up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import re2

Schema = Mapping[str, "Schema | str"]
"""Names that a filter may use. A value is a schema of its own, or `text`, `number`, `flag`, `list` (of text), `map` (of text),
`anything`, or `objects` (only asked whether it is empty)."""
Test = Callable[[Any], bool]
LIMIT = 8192
"""Characters of a filter."""
DEPTH = 50

_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|`[^`]*`)|(?P<mark>==|!=|\(|\)|\[|\])|(?P<word>[A-Za-z0-9_/.+:-][A-Za-z0-9_/.+:@*-]*))""",
)
_MISSING = object()


class FilterError(ValueError):
    """A filter that cannot be read."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str


def compiled(text: str, schema: Schema) -> Test:
    """Raises FilterError."""
    if len(text) > LIMIT:
        raise FilterError(f"the filter is longer than {LIMIT} characters")
    reader = _Reader(_tokens(text), schema)
    test = reader.either(0)
    reader.end()
    return test


def _tokens(text: str) -> list[_Token]:
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            raise FilterError(f"no match found, at character {position + 1}: {text[position : position + 20]!r}")
        kind = match.lastgroup or ""
        tokens.append(_Token(kind, match[kind]))
        position = match.end()
    return tokens


class _Reader:
    """Recursive descent: `either` is or, `both` is and, `one` is not, a group, or a comparison."""

    def __init__(self, tokens: list[_Token], schema: Schema) -> None:
        self._tokens = tokens
        self._schema = schema
        self._next = 0

    def either(self, depth: int) -> Test:
        if depth > DEPTH:
            raise FilterError(f"the filter is nested more than {DEPTH} deep")
        tests = [self.both(depth)]
        while self._took("or"):
            tests.append(self.both(depth))
        return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)

    def both(self, depth: int) -> Test:
        tests = [self.one(depth)]
        while self._took("and"):
            tests.append(self.one(depth))
        return tests[0] if len(tests) == 1 else lambda value: all(test(value) for test in tests)

    def one(self, depth: int) -> Test:
        if self._took("not"):
            if depth > DEPTH:
                raise FilterError(f"the filter is nested more than {DEPTH} deep")
            test = self.one(depth + 1)
            return lambda value: not test(value)
        if self._took("("):
            test = self.either(depth + 1)
            self._must(")")
            return test
        return self._comparison()

    def end(self) -> None:
        if self._next < len(self._tokens):
            raise FilterError(f"no match found at {self._tokens[self._next].text!r}")

    # === comparisons

    def _comparison(self) -> Test:
        first = self._take()
        if first.kind == "quoted" or not self._is_selector(first):
            return self._contained(_value(first))
        path = self._selector(first)
        kind = _kind(path, self._schema)
        if self._took("is"):
            negated = self._took("not")
            self._must("empty")
            return _empty(path, kind, negated=negated)
        for mark in ("==", "!="):
            if self._took(mark):
                return _equal(path, kind, _value(self._take()), negated=mark == "!=")
        negated = self._took("not")
        if self._took("contains"):
            return _contains(path, kind, _value(self._take()), negated=negated)
        if self._took("matches"):
            return _matches(path, kind, _value(self._take()), negated=negated)
        raise FilterError(f"no match found after {'.'.join(path)!r}: expected ==, !=, in, contains, is empty or matches")

    def _contained(self, value: str) -> Test:
        negated = self._took("not")
        self._must("in")
        path = self._selector(self._take())
        return _contains(path, _kind(path, self._schema), value, negated=negated)

    def _is_selector(self, token: _Token) -> bool:
        """A bare word may be a value: `web in ServiceTags`. It is a selector if it is followed by what a selector is followed by."""
        following = [t.text for t in self._tokens[self._next : self._next + 2]]
        return token.kind == "word" and following[:1] != ["in"] and following != ["not", "in"]

    def _selector(self, first: _Token) -> tuple[str, ...]:
        if first.kind != "word" or not re.match("[A-Za-z]", first.text):
            raise FilterError(f"{first.text!r} is not a selector")
        path = first.text.split(".")
        while self._took("["):
            path.append(_value(self._take()))
            self._must("]")
            if self._next < len(self._tokens) and self._tokens[self._next].text.startswith("."):
                path += self._take().text[1:].split(".")
        if "" in path[:1] or "" in path[1:-1]:
            raise FilterError(f"{first.text!r} is not a selector")
        return tuple(path)

    # === tokens

    def _take(self) -> _Token:
        if self._next >= len(self._tokens):
            raise FilterError("the filter ends too early")
        self._next += 1
        return self._tokens[self._next - 1]

    def _took(self, text: str) -> bool:
        if self._next < len(self._tokens) and self._tokens[self._next].kind != "quoted" and self._tokens[self._next].text == text:
            self._next += 1
            return True
        return False

    def _must(self, text: str) -> None:
        if not self._took(text):
            raise FilterError(f"no match found: expected {text!r}")


def _value(token: _Token) -> str:
    if token.kind == "quoted":
        return token.text[1:-1] if token.text[0] == "`" else re.sub(r"\\(.)", r"\1", token.text[1:-1])
    if token.kind == "mark":
        raise FilterError(f"{token.text!r} is not a value")
    return token.text


def _kind(path: tuple[str, ...], schema: Schema) -> str:
    """What a selector stands for. Raises FilterError."""
    at: Schema | str = schema
    for index, name in enumerate(path):
        if isinstance(at, str):
            if at == "map" and index == len(path) - 1:
                return "text"
            if at == "anything":
                return "anything"
            raise FilterError(f"Selector {'.'.join(path)!r} is not valid")
        if name not in at:
            raise FilterError(f"Selector {'.'.join(path)!r} is not valid")
        at = at[name]
    if not isinstance(at, str):
        raise FilterError(f"Selector {'.'.join(path)!r} is not a value that can be compared")
    return at


def _at(path: tuple[str, ...], value: Any) -> Any:
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _equal(path: tuple[str, ...], kind: str, wanted: str, *, negated: bool) -> Test:
    if kind not in ("text", "number", "flag", "anything"):
        raise FilterError(f"{'.'.join(path)!r} cannot be compared with ==")
    if kind == "number" and not re.fullmatch(r"[+-]?\d{1,20}", wanted):
        raise FilterError(f"{wanted!r} is not a number")
    if kind == "flag" and wanted not in ("true", "false"):
        raise FilterError(f"{wanted!r} is not true or false")
    number = int(wanted) if kind == "number" else None

    def test(value: Any) -> bool:
        found = _at(path, value)
        if number is not None:
            return bool(found == number) != negated
        text = str(found).lower() if isinstance(found, bool) else found if isinstance(found, str) else str(found)
        return (found is not _MISSING and text == wanted) != negated

    return test


def _contains(path: tuple[str, ...], kind: str, wanted: str, *, negated: bool) -> Test:
    if kind not in ("list", "map", "text", "anything"):
        raise FilterError(f"{'.'.join(path)!r} holds nothing that can be looked for")

    def test(value: Any) -> bool:
        found = _at(path, value)
        return bool(isinstance(found, str | list | Mapping) and wanted in found) != negated

    return test


def _matches(path: tuple[str, ...], kind: str, pattern: str, *, negated: bool) -> Test:
    if kind not in ("text", "anything"):
        raise FilterError(f"{'.'.join(path)!r} cannot be matched against a pattern")
    options = re2.Options()
    options.log_errors = False
    try:
        expression = re2.compile(pattern, options)
    except re2.error as error:
        raise FilterError(f"{pattern!r} is not a regular expression: {error}") from None

    def test(value: Any) -> bool:
        found = _at(path, value)
        return bool(isinstance(found, str) and expression.search(found) is not None) != negated

    return test


def _empty(path: tuple[str, ...], kind: str, *, negated: bool) -> Test:
    if kind in ("number", "flag"):
        raise FilterError(f"{'.'.join(path)!r} is never empty")

    def test(value: Any) -> bool:
        found = _at(path, value)
        return (found is _MISSING or not found) != negated

    return test
