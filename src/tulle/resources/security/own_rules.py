"""Somebody's own rules for a Firewall, in the language of libmodsecurity: what is wrong with them, as far as can be told without it.

The engine passes over whatever it does not understand, and takes up again behind it: `xInclude /etc/passwd` includes. Whoever looked for
what is forbidden would always miss a spelling. So rules are let in that are written in the one plain way, and nothing else: directives
that begin a line, with their texts in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from tulle.resources.spec import shown

_MOST = 65_536
_TAKEN = 90_000
"""Numbers of rules from here on."""
_DIRECTIVES = ("SecRule", "SecAction", "SecMarker")

_GAP = r"(?:[ \t]|\\[ \t]*\n)+"
_TEXT = r'"(?:[^"\\\n]|\\[^\n]|\\[ \t]*\n)*"'
_VARIABLE = r"[!&]?[A-Za-z_]+(?::(?:/(?:[^/\s\"'\\]|\\\S)+/|[^|/\s\"'\\]+))?"
_LINE = re.compile(
    r"[ \t]*(?:#(?:[^\n]*[^\\\s])?|(?P<directive>"
    rf"SecRule{_GAP}(?P<variables>{_VARIABLE}(?:\|{_VARIABLE})*){_GAP}{_TEXT}(?:{_GAP}{_TEXT})?"
    rf"|SecAction{_GAP}{_TEXT}"
    rf"|SecMarker{_GAP}(?:\"[\w .-]+\"|[\w.-]+)"
    r"))?[ \t]*(?:\n|(?P<more>\S+))",
    re.ASCII,
)
"""Nothing, a comment, or a directive; and what stands behind it, where nothing may."""
_CONTINUED = re.compile(r"\\[ \t]*\n[ \t]*")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_NUMBER = re.compile(r"\bid:\s*'?(\d{1,18})")
_REACHING_OUT = re.compile(
    r"@(?:inspectFile|fuzzyHash|validateSchema|validateDTD|rbl|gsbLookup|geoLookup|pmf|pmFromFile|ipMatchF|ipMatchFromFile)\b"
    r"|\b(?:exec|setenv|xmlns|proxy|redirect)\s*:|\bctl\s*:\s*audit|%\{\s*env\b",
    re.IGNORECASE,
)
"""What reads files, starts programs, asks others, or tells what the engine's own process knows."""
_OUTSIDE = "is not allowed here: rules must not reach out of the request"
_ENVIRONMENT = re.compile(r"(?<![:\w])env\b", re.IGNORECASE)


def problems(rules: str) -> Iterator[str]:
    """What is wrong with them. Behind something that is not written plainly nothing more can be told."""
    if len(rules.encode()) > _MOST:
        yield f"must not be longer than {_MOST} bytes"
    elif _CONTROL.search(rules):
        yield "must not contain control characters"
    else:
        for line in _lines(f"{rules}\n"):
            yield from _of_line(line)


def _lines(text: str) -> Iterator[re.Match[str]]:
    at = 0
    while at < len(text) and (line := _LINE.match(text, at)):
        yield line
        at = line.end() if line["more"] is None else len(text)


def _of_line(line: re.Match[str]) -> Iterator[str]:
    directive = _CONTINUED.sub("", line["directive"] or "")
    for found in _NUMBER.finditer(directive):
        if int(found[1]) >= _TAKEN:
            yield f"id {found[1]} must be below {_TAKEN}: the others are for the set and for Tulle"
    for found in _REACHING_OUT.finditer(directive):
        yield f"{shown(found[0])} {_OUTSIDE}"
    if _ENVIRONMENT.search(line["variables"] or ""):
        yield f"'ENV' {_OUTSIDE}"
    if line["more"] is not None:
        yield _stray(line["more"], line.string.count("\n", 0, line.start("more")) + 1)


def _stray(word: str, number: int) -> str:
    if word in _DIRECTIVES:
        return f"line {number}: {word} must have a line of its own, and each text in double quotes; a line goes on behind a backslash"
    if word.startswith("\\"):
        return f"line {number}: nothing goes on behind this backslash"
    return f"{shown(word)} is not allowed here: only {', '.join(_DIRECTIVES)}"
