"""Reads YAML 1.2 into plain values, with the line of every field.

The tokens come from PyYAML's C parser; values are made here, in the same pass as the lines. Scalars follow YAML 1.2's core schema:
`on`, `12:30` and `2026-01-01` are text, `012` is twelve. A file is cut at its `---` lines first, so that a document which is no YAML
takes no other with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from yaml import MarkedYAMLError, ScalarNode, dump
from yaml._yaml import CParser
from yaml.cyaml import CSafeDumper
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from tulle.resources.dashes import DASHES, dash_lines, suspicious
from tulle.resources.paths import item, member

MAX_CHARACTERS = 8 * 1024 * 1024
MAX_VALUES = 500_000
"""In one document, those that aliases repeat included."""
MAX_DEPTH = 100
MAX_DOCUMENTS = 100_000
"""In one file."""
MAX_FAULTS = 100
"""Of one document that are told one by one."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,4000}")
_BASED = re.compile(r"0o[0-7]{1,4000}|0x[0-9a-fA-F]{1,4000}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INFINITE = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
_MAY_BE_MORE_THAN_TEXT = frozenset("~nNtTfF-+.0123456789")
_TEXT_TAGS = ("!", "tag:yaml.org,2002:str")
_PLAIN_TAGS = tuple(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null"))
_START = re.compile(r"^---(?=[ \t\r\n]|\Z)", re.MULTILINE)
_NO_CONTENT = re.compile(r"(?:[ \t]*(?:#.*)?\r?\n|%.*\n)*")
_SURROGATES = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_COLON_AT_END = re.compile(r"(?<=[\[{,\s])([0-9A-Fa-f]*:[0-9A-Fa-f:]*:)(?=\s*[\]},])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that makes a document unreadable as YAML, or read otherwise than it was meant."""

    line: int
    message: str
    field: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """`value` consists of dict, list, str, int, float, bool and None. It is None where `faults` say why there is none."""

    value: Any
    line: int
    lines: dict[str, int] = field(default_factory=dict)
    """Line of each field path; what an alias repeats has only the alias's own."""
    faults: tuple[Fault, ...] = ()


class _RefusedError(Exception):
    """The document cannot be read on from here."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def load(text: str) -> Iterator[Document]:
    """Every document of a file that is not empty, in order. Never raises, whatever the text."""
    if len(text) > MAX_CHARACTERS:
        yield _failed(1, f"the file is larger than {MAX_CHARACTERS // 1024 // 1024} MiB")
        return
    for number, (chunk, offset) in enumerate(_chunks(text.removeprefix("\ufeff"))):
        if number >= MAX_DOCUMENTS:
            yield _failed(offset + 1, f"the file has more than {MAX_DOCUMENTS} documents; nothing is read from here on")
            return
        yield from _load_chunk(chunk, offset)


def _chunks(text: str) -> Iterator[tuple[str, int]]:
    """The pieces between `---` lines, with the number of lines before each."""
    begin = line = 0
    for match in _START.finditer(text):
        before = text[begin : match.start()]
        if _NO_CONTENT.fullmatch(before):
            continue
        yield before, line
        begin, line = match.start(), line + before.count("\n")
    yield text[begin:], line


def _failed(line: int, message: str) -> Document:
    return Document(value=None, line=line, faults=(Fault(line=line, message=message),))


def _load_chunk(text: str, offset: int) -> list[Document]:
    found: list[Document] = []
    try:
        found.extend(_Reader(offset).documents(text))
    except MarkedYAMLError as error:
        if (repaired := _repaired(text, str(error.problem))) != text:
            return _load_chunk(repaired, offset)
        found.append(_unreadable(text, offset, _mark_line(error, offset), _explained(error)))
    except ReaderError as error:
        found.append(_not_text(text, offset, int(error.position), _code(error.character)))
    except UnicodeEncodeError as error:
        found.append(_not_text(text, offset, error.start, ord(text[error.start])))
    except _RefusedError as refused:
        found.append(_unreadable(text, offset, refused.line, refused.message))
    return found


def _repaired(text: str, problem: str) -> str:
    """The same text, with the same lines, where the parser is stricter than those of Kubernetes: an item such as `2001:db8::`, and JSON's
    pairs of escapes for one character."""
    if "unexpected ':'" in problem:
        return _COLON_AT_END.sub(r'"\1"', text)
    if "Unicode" in problem:
        return _SURROGATES.sub(lambda pair: json.loads(f'"{pair[0]}"'), text)
    return text


def _not_text(text: str, offset: int, position: int, code: int) -> Document:
    return _failed(offset + 1 + text[:position].count("\n"), f"is not text: it contains the character U+{code:04X}")


def _code(character: str | int) -> int:
    return character if isinstance(character, int) else ord(character)


def _mark_line(error: MarkedYAMLError, offset: int) -> int:
    mark = error.problem_mark or error.context_mark
    return offset + (mark.line + 1 if mark else 1)


def _explained(error: MarkedYAMLError) -> str:
    problem = str(error.problem or error.context)
    if "cannot start any token" in problem:
        problem += " (a tab? YAML indents with spaces)"
    return "is not valid YAML: " + problem + (f", {error.context}" if error.context and error.context != problem else "")


def _unreadable(text: str, offset: int, line: int, message: str) -> Document:
    """What is wrong with a text that is no YAML: its typographic dashes, if it has some, since they are the likely cause."""
    dashes = tuple(Fault(line=offset + 1 + number, message=said) for number, said in dash_lines(text)) if suspicious(text) else ()
    first = dashes[0].line if dashes else line
    return Document(value=None, line=first, faults=dashes or (Fault(line=line, message=message),))


def _row(mark: Any) -> int:
    """The line of a mark, from 0. Events of the C parser always bear marks."""
    return int(mark.line)


class _Reader:
    """Makes values of the tokens of one chunk."""

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._next: Any = None
        self._plain_lines: set[int] = set()
        """Lines (from 0, in the chunk) on which plain scalars stand: there a wrong dash is no part of a quoted text."""

    def documents(self, text: str) -> Iterator[Document]:
        parser = CParser(text)
        self._next = parser.get_event
        dashes = dict(dash_lines(text)) if suspicious(text) else {}
        while not isinstance(event := self._next(), StreamEndEvent):
            if isinstance(event, DocumentStartEvent):
                document = self._document(dashes)
                if document.value is not None or document.faults:
                    yield document

    def _document(self, dashes: dict[int, str]) -> Document:
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._count = 0
        self._lines: dict[str, int] = {}
        self._faults: list[Fault] = []
        self._plain_lines.clear()
        event = self._next()
        line = self._line(event)
        value = self._node(event, "", 0)
        wrong = [Fault(line=self._offset + 1 + n, message=said) for n, said in dashes.items() if n in self._plain_lines]
        return Document(value=value, line=line, lines=self._lines, faults=tuple(wrong or self._faults))

    def _line(self, event: Event) -> int:
        return _row(event.start_mark) + self._offset + 1

    def _node(self, event: NodeEvent, path: str, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            raise _RefusedError(self._line(event), f"the document has more than {MAX_VALUES} values")
        if isinstance(event, ScalarEvent):
            value = self._scalar(event, path)
            if event.anchor:
                self._anchors[event.anchor] = (value, 1)
            return value
        if isinstance(event, AliasEvent):
            return self._alias(event)
        if depth >= MAX_DEPTH:
            raise _RefusedError(self._line(event), f"the document is nested deeper than {MAX_DEPTH} levels")
        return self._collection(event, path, depth)

    def _collection(self, event: Any, path: str, depth: int) -> Any:
        before = self._count
        if event.tag is not None and event.tag not in ("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._fault(event, path, f"the tag {event.tag} is not supported")
        read = self._mapping if isinstance(event, MappingStartEvent) else self._sequence
        value = read(path, depth + 1)
        if event.anchor:
            self._anchors[event.anchor] = (value, self._count - before + 1)
        return value

    def _alias(self, event: AliasEvent) -> Any:
        if event.anchor not in self._anchors:
            raise _RefusedError(self._line(event), f"the alias *{event.anchor} refers to no anchor before it")
        value, size = self._anchors[event.anchor]
        self._count += size
        if self._count > MAX_VALUES:
            raise _RefusedError(self._line(event), f"the document has more than {MAX_VALUES} values once its aliases are followed")
        return value

    def _sequence(self, path: str, depth: int) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            place = item(path, len(values))
            self._lines[place] = self._line(event)
            values.append(self._node(event, place, depth))
        return values

    def _mapping(self, path: str, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[Any] = []
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._key(event, path)
            place = member(path, key)
            if key == "<<" and event.implicit[0]:
                merged.append(self._node(self._next(), place, depth))
                continue
            if key in values:
                self._fault(event, place, f"given twice; the first is in line {self._lines[place]}")
            else:
                self._lines[place] = self._line(event)
            value = self._node(self._next(), place, depth)
            values.setdefault(key, value)
        for source in merged:
            self._merge(values, source, path)
        return values

    def _merge(self, values: dict[str, Any], source: Any, path: str) -> None:
        """YAML 1.1's merge key: what stands in the mapping itself wins, then the earlier source."""
        for part in source if isinstance(source, list) else [source]:
            if not isinstance(part, dict):
                self._faults.append(Fault(line=self._lines.get(path, self._offset + 1), message="<< takes mappings only", field=path))
                continue
            for key, value in part.items():
                values.setdefault(key, value)

    def _key(self, event: NodeEvent, path: str) -> str:
        self._count += 1
        if isinstance(event, AliasEvent):
            value = self._alias(event)
            if isinstance(value, str):
                return value
        elif isinstance(event, ScalarEvent):
            self._note_plain(event)
            return str(event.value)
        raise _RefusedError(self._line(event), f"a key{f' of {path}' if path else ''} is no plain text")

    def _note_plain(self, event: ScalarEvent) -> None:
        if event.implicit[0]:
            self._plain_lines.update(range(_row(event.start_mark), _row(event.end_mark) + 1))

    def _scalar(self, event: ScalarEvent, path: str) -> Any:
        text = str(event.value)
        if event.implicit[0]:
            self._note_plain(event)
            return resolve(text)
        tag = event.tag
        if tag is None or tag in _TEXT_TAGS:
            return text
        if tag not in _PLAIN_TAGS:
            self._fault(event, path, f"the tag {tag} is not supported")
        return resolve(text)

    def _fault(self, event: Event, path: str, message: str) -> None:
        if len(self._faults) <= MAX_FAULTS:
            more = len(self._faults) == MAX_FAULTS
            said = "more is wrong from here on, which is not told" if more else message
            self._faults.append(Fault(line=self._line(event), message=said, field="" if more else path))


def resolve(text: str) -> Any:
    """The value of a plain scalar in YAML 1.2's core schema."""
    if text and text[0] not in _MAY_BE_MORE_THAN_TEXT:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text[2:], 8 if text[1] == "o" else 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return _INFINITE.get(text.lower(), text)


class _Writer(CSafeDumper):
    """Writes so that `load` reads the same: PyYAML's own idea of plain texts is that of YAML 1.1."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def text(self, data: str) -> ScalarNode:
        plain = isinstance(resolve(data), str) and not data.startswith(tuple(DASHES))
        return self.represent_scalar(_TEXT_TAGS[1], data, style=None if plain else "'")


_Writer.add_representer(str, _Writer.text)


def write(value: Any) -> str:
    """One document, in block style, that `load` reads as the same value. Keys keep their order."""
    return str(dump(value, Dumper=_Writer, allow_unicode=True, sort_keys=False, default_flow_style=False, width=120))
