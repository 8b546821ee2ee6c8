"""Firewall: the OWASP Core Rule Set for requests, and for their answers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any

from tulle.model.firewall import LONGEST
from tulle.resources.attachment import Attached, TargetRef
from tulle.resources.names import HeaderName
from tulle.resources.scalars import Flag, Text, choice, text_that, whole
from tulle.resources.security import own_rules
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
_EXCLUDED_PATH = re.compile(r"/[^*\s\"'\\]*\*?|\*[^*\s\"'\\]+")


def _matching(pattern: re.Pattern[str], what: str) -> Any:
    return text_that(lambda value: None if pattern.fullmatch(value) else f"must be {what}, not {shown(value)}")


Rule = Annotated[int, whole(1, 999_999)]
Parameter = Annotated[str, _matching(_PARAMETER, "the name of a parameter")]
Tag = Annotated[str, _matching(_TAG, "a tag of rules such as attack-sqli")]
MediaType = Annotated[str, _matching(_MEDIA_TYPE, "a media type such as text/plain, in small letters")]
ExcludedPath = Annotated[str, _matching(_EXCLUDED_PATH, "a path with * at one end at most, without quotes, blanks and backslashes")]


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
            yield ("detection_level",), f"must not be below paranoiaLevel, which is {self.paranoia_level}"
        yield from ((("rules",), what) for what in own_rules.problems(self.rules))
