"""The language of policies: rules in HCL or JSON, as Consul's users write them.

    service_prefix "" { policy = "read" }
    key "config/web" { policy = "write" }
    operator = "read"

Reference: Consul's documentation, "ACL rules".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

NAMED = ("agent", "event", "identity", "key", "node", "query", "service", "session")
"""What is told apart by name, each also with `_prefix`."""
WHOLE = ("acl", "keyring", "mesh", "operator", "peering")
INTENTION = "intention"
"""The kind that `intentions` inside of a service's rule speaks of."""
_LIMIT = 64 * 1024


class Access(IntEnum):
    """What a rule gives; each includes those before it, but for DENY."""

    DENY = 0
    READ = 1
    LIST = 2
    WRITE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    kind: str
    name: str = ""
    prefix: bool = False
    """It is for all names that begin so."""
    access: Access


class RulesError(ValueError):
    """The text is no set of rules. The message says what is wrong."""


def parse(text: str) -> tuple[Rule, ...]:
    """Raises RulesError."""
    if len(text) > _LIMIT:
        raise RulesError(f"they are longer than {_LIMIT} characters")
    statements = _from_json(text) if text.lstrip().startswith("{") else _Reader(text).statements()
    return tuple(rule for statement in statements for rule in _rules(*statement))


Statement = tuple[str, str | None, object]
"""A kind, the name of what it is for, and what is given: a word, or fields."""


def _rules(word: str, name: str | None, given: object) -> Iterator[Rule]:
    kind = word.removesuffix("_prefix")
    if word in WHOLE and name is None:
        yield Rule(kind=word, access=_access(word, given))
    elif kind in NAMED and name is not None and isinstance(given, dict):
        unknown = sorted(given.keys() - {"policy", "intentions", "sentinel"})
        if unknown:
            raise RulesError(f"{word} {json.dumps(name)}: unknown field {unknown[0]!r}")
        access = _access(word, given.get("policy"))
        yield Rule(kind=kind, name=name, prefix=kind != word, access=access)
        if kind == "service":
            yield Rule(kind=INTENTION, name=name, prefix=kind != word, access=_intentions(word, given, access))
    else:
        raise RulesError(f"{word!r} is no kind of rule, or not written as one")


def _intentions(word: str, given: dict[str, object], access: Access) -> Access:
    if "intentions" in given:
        return _access(word, given["intentions"])
    return min(access, Access.READ)


def _access(word: str, given: object) -> Access:
    known = {"deny": Access.DENY, "read": Access.READ, "write": Access.WRITE}
    if word.startswith("key"):
        known["list"] = Access.LIST
    if not isinstance(given, str) or given.lower() not in known:
        raise RulesError(f"{word}: policy must be one of {', '.join(known)}, not {str(given)[:32]!r}")
    return known[given.lower()]


def _from_json(text: str) -> Iterator[Statement]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RulesError(f"they are not JSON: {error}") from None
    for word, given in document.items():
        for part in given if isinstance(given, list) else [given]:
            if isinstance(part, dict):
                yield from ((word, name, fields) for name, fields in part.items())
            else:
                yield word, None, part


_TOKEN = re.compile(
    r'(?P<skip>\s+|\#[^\n]*|//[^\n]*|/\*.*?\*/)|(?P<text>"(?:[^"\\\n]|\\.)*")|(?P<word>[A-Za-z_][A-Za-z0-9_-]*)|(?P<mark>[{}=,\[\]:])',
    re.DOTALL,
)


class _Reader:
    """The part of HCL that rules are written in."""

    def __init__(self, text: str) -> None:
        self._tokens = [*_tokens(text), ("end", "")]
        self._at = 0

    def statements(self) -> Iterator[Statement]:
        while self._peek()[0] != "end":
            word = self._key()
            kind, value = self._peek()
            if kind == "text":
                self._next()
                self._skip("=")
                yield word, _unquoted(value), self._block()
            else:
                self._expect("=")
                yield word, None, self._text()
            self._skip(",")

    def _block(self) -> dict[str, object]:
        self._expect("{")
        found: dict[str, object] = {}
        while not self._skip("}"):
            name = self._key()
            self._expect("=")
            found[name] = self._text()
            self._skip(",")
        return found

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at]

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += token[0] != "end"
        return token

    def _skip(self, mark: str) -> bool:
        if found := self._peek() == ("mark", mark):
            self._next()
        return found

    def _expect(self, mark: str) -> None:
        if not self._skip(mark):
            raise RulesError(f"{mark!r} is missing before {self._peek()[1][:32] or 'the end'!r}")

    def _key(self) -> str:
        kind, value = self._next()
        if kind not in ("word", "text"):
            raise RulesError(f"a word is missing before {value[:32] or 'the end'!r}")
        return _unquoted(value) if kind == "text" else value

    def _text(self) -> str:
        kind, value = self._next()
        if kind != "text":
            raise RulesError(f"text in quotes is missing before {value[:32] or 'the end'!r}")
        return _unquoted(value)


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise RulesError(f"cannot be read from {text[at : at + 20]!r}")
        at = match.end()
        if match.lastgroup and match.lastgroup != "skip":
            yield match.lastgroup, match.group()


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        raise RulesError(f"{text[:32]} is no text") from None
