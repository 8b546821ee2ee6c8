"""Firewall: the OWASP Core Rule Set for requests, and for their answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any

from tulle.model.firewall import LONGEST
from tulle.resources.attachment import Attached, TargetRef
from tulle.resources.names import header_name
from tulle.resources.scalars import Flag, Text, choice, text_that, whole
from tulle.resources.spec import Problem, Spec, shown


class Mode(Enum):
    DETECT = "DETECT"
    """What is found is told, and goes on."""
    BLOCK = "BLOCK"


class LongBodies(Enum):
    REFUSE = "REFUSE"
    PASS = "PASS"  # noqa: S105 - it is none
    """They go on without a look."""


_PARAMETER = re.compile(r"[A-Za-z0-9_.\[\]-]{1,128}")
_TAG = re.compile(r"[A-Za-z0-9_./-]{1,128}")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
_EXCLUDED_PATH = re.compile(r"(?:/[^*\s\"'\\]*|\*[^*\s\"'\\]+)\*?")
_MOST_OWN = 65_536
_OWN_DIRECTIVES = ("SecRule", "SecAction", "SecMarker")
_CONTINUED = re.compile(r"\\[ \t]*\n[ \t]*")
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"', re.DOTALL)
_DIRECTIVE = re.compile(r"^\s*(\w+)|\b(Sec[A-Z]\w*|Include\w*)", re.MULTILINE | re.IGNORECASE)
_NUMBER = re.compile(r"\bid:\s*'?(\d{1,18})")
_TAKEN = 90_000
"""Numbers of rules from here on."""
_REACHING_OUT = re.compile(
    r"@(?:inspectFile|fuzzyHash|validateSchema|validateDTD|rbl|gsbLookup|geoLookup|pmf|pmFromFile|ipMatchF|ipMatchFromFile)\b"
    r"|\b(?:exec|setenv|xmlns|proxy|redirect)\s*:|\bctl\s*:\s*audit",
    re.IGNORECASE,
)
"""Of the engine's language: what reads files, starts programs or asks others."""


def _matching(pattern: re.Pattern[str], what: str) -> Any:
    return text_that(lambda value: None if pattern.fullmatch(value) else f"must be {what}, not {shown(value)}")


Rule = Annotated[int, whole(1, 999_999)]
Parameter = Annotated[str, _matching(_PARAMETER, "the name of a parameter")]
Tag = Annotated[str, _matching(_TAG, "a tag of rules such as attack-sqli")]
MediaType = Annotated[str, _matching(_MEDIA_TYPE, "a media type such as text/plain, in small letters")]
ExcludedPath = Annotated[str, _matching(_EXCLUDED_PATH, "a path with * at one end at most, without quotes, blanks and backslashes")]
HeaderName = Annotated[str, text_that(header_name)]


class Exclusion(Spec):
    """What is not looked at. Without rules and tags, by no rule; without parameters, headers and cookies, nothing of the request."""

    some_of = ("paths", "rules", "tags", "parameters", "headers", "cookies")

    paths: tuple[ExcludedPath, ...] = ()
    """`/a`, `/a/*`, `*.css`. Without any, all."""
    rules: tuple[Rule, ...] = ()
    tags: tuple[Tag, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    """Of queries, forms and JSON documents."""
    headers: tuple[HeaderName, ...] = ()
    cookies: tuple[Parameter, ...] = ()


class Thresholds(Spec):
    some_of = ("requests", "answers")

    requests: Annotated[int, whole(1, 10_000)] = 5
    answers: Annotated[int, whole(1, 10_000)] = 4


class Answers(Spec):
    """What callers are told is looked at, too, where it is text."""

    max_body_bytes: Annotated[int, whole(1, 2**23)] = 2**19
    long_bodies: Annotated[LongBodies, choice(LongBodies)] = LongBodies.PASS


class RouteRef(TargetRef):
    section_name: Text | None = None
    """Of a route: its rule of this name."""

    @property
    def section(self) -> str:
        return self.section_name or ""


class Firewall(Attached):
    target_ref: RouteRef | None = None
    target_refs: tuple[RouteRef, ...] = ()
    mode: Annotated[Mode, choice(Mode)] = Mode.BLOCK
    paranoia_level: Annotated[int, whole(1, 4)] = 1
    """Of the Core Rule Set: higher ones find more, and more that is none."""
    detection_level: Annotated[int, whole(1, 4)] | None = None
    """The same for what is told, but does not count. None: as `paranoia_level`."""
    anomaly_thresholds: Thresholds | None = None
    excluded_rules: tuple[Rule, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    content_types: tuple[MediaType, ...] = ()
    """Of bodies that are let in, beside those that the set knows."""
    rules: Text = ""
    """Own ones, in the engine's language (SecRule, SecAction, SecMarker); they come before those of the set."""
    max_body_bytes: Annotated[int, whole(1, 2**23)] = LONGEST
    long_bodies: Annotated[LongBodies, choice(LongBodies)] = LongBodies.REFUSE
    """What becomes of longer ones."""
    answers: Answers | None = None
    required: Flag = False
    """Requests that cannot be looked at are refused with 503; else they go on unchecked."""

    def check(self) -> Iterable[Problem]:
        if self.detection_level is not None and self.detection_level < self.paranoia_level:
            yield ("detectionLevel",), f"must not be below paranoiaLevel, which is {self.paranoia_level}"
        if len(self.rules.encode()) > _MOST_OWN:
            yield ("rules",), f"must not be longer than {_MOST_OWN} bytes"
        yield from ((("rules",), what) for what in _own(self.rules))


def _own(rules: str) -> Iterable[str]:
    """What is wrong with somebody's own rules, as far as can be told without the engine."""
    text = "\n".join(line for line in _CONTINUED.sub("", rules).splitlines() if not line.lstrip().startswith("#"))
    for found in _DIRECTIVE.finditer(_QUOTED.sub(lambda quoted: '"' + " " * quoted[0].count("\n") + '"', text)):
        if found[0].strip() not in _OWN_DIRECTIVES:
            yield f"{shown(found[0].strip())} is not allowed here: only {', '.join(_OWN_DIRECTIVES)}"
    for found in _NUMBER.finditer(text):
        if int(found[1]) >= _TAKEN:
            yield f"id {found[1]} must be below {_TAKEN}: the others are for the set and for Tulle"
    for found in _REACHING_OUT.finditer(text):
        yield f"{shown(found[0])} is not allowed here: rules must not reach out of the request"
