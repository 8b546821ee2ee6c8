"""The types of single values in documents: what is accepted, and what is said of the rest."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar

import re2
from pydantic import AfterValidator, Field, PlainValidator, Strict

from tulle.model.frozen import FrozenMap
from tulle.model.limits import MAX_REGEX_PROGRAM
from tulle.resources.spec import problem_error, shown

E = TypeVar("E", bound=Enum)
V = TypeVar("V")

Text = Annotated[str, Strict()]
Whole = Annotated[int, Strict()]
Flag = Annotated[bool, Strict()]
Map = Annotated[Mapping[str, V], AfterValidator(FrozenMap)]
TextMap = Annotated[Mapping[Text, Text], AfterValidator(FrozenMap)]
NO_TEXTS: Mapping[str, str] = FrozenMap()

_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)")
_PART = re.compile(r"([\d.]+)(\D+)")
_MICROSECONDS = {
    "ns": Decimal("0.001"),
    "us": Decimal(1),
    "µs": Decimal(1),
    "μs": Decimal(1),
    "ms": Decimal(1000),
    "s": Decimal(1_000_000),
    "m": Decimal(60_000_000),
    "h": Decimal(3_600_000_000),
}
_LONGEST = timedelta(days=106_751)
"""What fits Go's 64 bits of nanoseconds, rounded down."""


def parse_duration(value: object) -> timedelta:
    """Reads Go's way of writing durations, such as `1h3m2.5s` or `100ms`; never negative, to the microsecond."""
    if isinstance(value, timedelta):
        return value
    if value == "0":
        return timedelta()
    if not isinstance(value, str) or not re.fullmatch(rf"\+?(?:{_DURATION.pattern})+", value):
        hint = f'; write "{value}s" for seconds' if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else ""
        raise ValueError(f'must be a duration such as "1.5s", "100ms" or "1h30m", not {shown(value)}{hint}')
    parts = (_PART.fullmatch(part) for part in _DURATION.findall(value))
    micros = sum((Decimal(part[1]) * _MICROSECONDS[part[2]] for part in parts if part), Decimal())
    if micros > _LONGEST / timedelta(microseconds=1):
        raise ValueError(f"must be a shorter duration than {shown(value)}")
    return timedelta(microseconds=round(micros))


def _at_least_a_millisecond(value: object) -> timedelta:
    duration = parse_duration(value)
    if duration < timedelta(milliseconds=1):
        raise ValueError(f"must be at least 1ms, not {shown(value)}")
    return duration


def _nothing_or_a_millisecond(value: object) -> timedelta:
    """What is shorter than a millisecond would be cut down to nothing, which is to wait for ever."""
    if isinstance(value, str) and parse_duration(value) < timedelta(milliseconds=1) and re.search("[1-9]", value):
        raise ValueError(f"must be 0s or at least 1ms, not {shown(value)}")
    return parse_duration(value)


AnyDuration = Annotated[timedelta, PlainValidator(_nothing_or_a_millisecond, json_schema_input_type=str)]
"""Zero is allowed."""
Duration = Annotated[timedelta, PlainValidator(_at_least_a_millisecond, json_schema_input_type=str)]


def whole(low: int, high: int) -> PlainValidator:
    """Takes whole numbers from `low` to `high`."""

    def check(value: object) -> int:
        if type(value) is not int:
            raise ValueError(f"must be a whole number, not {shown(value)}")
        if not low <= value <= high:
            raise ValueError(f"must be between {low} and {high}, not {value}")
        return value

    return PlainValidator(check, json_schema_input_type=Annotated[int, Field(ge=low, le=high)])


Port = Annotated[int, whole(1, 65535)]
Status = Annotated[int, whole(200, 599)]
UInt = Annotated[int, whole(0, 2**32 - 1)]
Int32 = Annotated[int, whole(0, 2**31 - 1)]
"""A signed number of which Istio takes no negative values."""
Percent = Annotated[int, whole(0, 100)]


def number(value: object) -> float:
    if type(value) is not int and type(value) is not float:
        raise ValueError(f"must be a number, not {shown(value)}")
    return float(value)


def _percent(value: object) -> float:
    percent = number(value)
    if not 0 <= percent <= 100:
        raise ValueError(f"must be between 0 and 100, not {value}")
    return percent


def _percentage(value: object) -> float:
    """`{value: 12.5}`, or the bare number."""
    if not isinstance(value, dict):
        return _percent(value)
    unknown: list[tuple[tuple[str | int, ...], str]] = [
        ((key,), f'unknown field "{key}"; did you mean "value"?') for key in value if key != "value"
    ]
    try:
        percent = _percent(0 if value.get("value") is None else value["value"])
    except ValueError as error:
        raise problem_error([*unknown, (("value",), str(error))]) from None
    if unknown:
        raise problem_error(unknown)
    return percent


FloatPercent = Annotated[float, PlainValidator(_percent)]
Percentage = Annotated[float, PlainValidator(_percentage)]
"""`{value: 12.5}` or the bare `12.5`; `{}` is 0."""


def choice(kind: type[E]) -> PlainValidator:
    """Takes an enum's value by name, or by its number in Istio's messages, which number them in the order of declaration."""
    by_name: dict[object, E] = {str(member.value): member for member in kind}
    members = list(kind)
    names = ", ".join(str(name) for name in by_name)

    def check(value: object) -> E:
        if isinstance(value, str) and value in by_name:
            return by_name[value]
        if isinstance(value, kind):
            return value
        if type(value) is int and 0 <= value < len(members):
            return members[value]
        raise ValueError(f"must be one of {names}, not {shown(value)}")

    return PlainValidator(check, json_schema_input_type=Literal[tuple(by_name)])


MAX_REGEX = 1024
"""Istio's limit, which keeps programs small enough for the data plane."""
_QUIET = re2.Options()
_QUIET.log_errors = False


def check_regex(pattern: str) -> str:
    """Refuses what RE2, the data plane's engine for regular expressions, cannot read."""
    if len(pattern) > MAX_REGEX:
        raise ValueError(f"must be at most {MAX_REGEX} characters long")
    try:
        size = re2.compile(pattern, options=_QUIET).programsize
    except re2.error as error:
        why = error.args[0] if error.args else ""
        why = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise ValueError(f"must be a regular expression in RE2 syntax: {why}") from None
    except UnicodeError:
        raise ValueError("must be text without lone surrogates") from None
    if size > MAX_REGEX_PROGRAM:
        raise ValueError(f"must be simpler: its program has {size} steps, and the data plane takes {MAX_REGEX_PROGRAM}")
    return pattern


def count_groups(pattern: str) -> int:
    """How many groups a valid pattern has."""
    return int(re2.compile(pattern, options=_QUIET).groups)


Regex = Annotated[Text, AfterValidator(check_regex)]


def text_that(check: Callable[[str], str | None]) -> Any:
    """Takes text for which `check` has no complaint."""

    def validate(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"must be text, not {shown(value)}")  # noqa: TRY004 - only a ValueError is a violation
        if complaint := check(value):
            raise ValueError(complaint)
        return value

    return PlainValidator(validate, json_schema_input_type=str)
