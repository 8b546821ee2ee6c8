"""The base of all models of documents.

A model accepts each field in camelCase and in snake_case, treats null as absent, and reports everything that is wrong with it
at once: unknown fields, wrong values, and broken rules between fields, even where other parts of the same object are wrong too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from tulle.resources.paths import camel

Place = tuple[str | int, ...]
Problem = tuple[Place, str]
"""Where, from the object that reports it, and what is wrong."""


def listed(names: Iterable[str]) -> str:
    return ", ".join(camel(name) for name in names)


def is_set(given: Mapping[str, Any], name: str) -> bool:
    """Whether a field stands there with something in it; an empty list says nothing."""
    return name in given and given[name] != []


def problem_error(problems: Iterable[Problem]) -> ValidationError:
    """The exception that a validator raises to report several problems at once."""
    lines = [InitErrorDetails(type=PydanticCustomError("tulle", "{what}", {"what": what}), loc=loc, input=None) for loc, what in problems]
    return ValidationError.from_exception_data("document", lines)


_WORDS = {
    "missing": "required",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "mapping_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}
_HINTED = {"string_type", "int_type", "float_type", "bool_type"}


def shown(value: object) -> str:
    """A wrong value, short enough for a message."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, str) and "-----BEGIN" in value:
        return "PEM text"
    text = "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def sentence(error: ErrorDetails) -> str:
    """What is wrong, for people."""
    kind = error["type"]
    if kind in _WORDS:
        return _WORDS[kind] + (f", not {shown(error['input'])}" if kind in _HINTED else "")
    return error["msg"].removeprefix("Value error, ").replace("Input should be", "must be", 1)


def problems_of(error: ValidationError) -> Iterator[Problem]:
    for line in error.errors(include_url=False):
        yield line["loc"], sentence(line)


class Spec(BaseModel):
    """A part of a document."""

    # There are hundreds of models, of which a mesh uses a few: each is built when it is first needed.
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=camel, populate_by_name=True, ser_json_timedelta="float", defer_build=True
    )

    one_of: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """Groups of fields of which exactly one must be given."""
    at_most_one_of: ClassVar[tuple[tuple[str, ...], ...]] = ()
    some_of: ClassVar[tuple[str, ...]] = ()
    """Fields of which at least one must be given."""
    tolerated: ClassVar[frozenset[str]] = frozenset()
    """Names that are accepted and dropped."""
    synonyms: ClassVar[Mapping[str, str]] = {}
    """Names beside the documented one, and the field that each is."""
    _spellings: ClassVar[dict[str, str]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        fields = cls.model_fields
        own = {name.strip("_"): name for name in fields} | {field.alias or name: name for name, field in fields.items()}
        cls._spellings = own | dict(cls.synonyms)

    @classmethod
    def unsaid(cls) -> Self:
        """What holds where a document says nothing. Made without looking, so that the model need not be built for it."""
        return cast("Self", cls.model_construct())

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if type(data) is not dict:
            return handler(data)
        given, misnamed = cls._fold(data)
        problems = list(cls.shape(given))
        try:
            value = handler(given)
        except ValidationError as error:
            problems.extend(problems_of(error))
            raise problem_error([*misnamed, *cls._as_written(data, problems)]) from None
        problems.extend(value.check())
        if misnamed or problems:
            raise problem_error([*misnamed, *cls._as_written(data, problems)])
        return value.settled()

    @classmethod
    def _as_written(cls, data: dict[str, Any], problems: Iterable[Problem]) -> Iterator[Problem]:
        """Problems under the names that the document uses."""
        written: dict[str | int, str] = {name: key for key in reversed(data) if (name := cls._spellings.get(key))}
        return (((*(written.get(part, part) for part in place[:1]), *place[1:]), what) for place, what in problems)

    @classmethod
    def _fold(cls, data: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
        """The fields that are set, by their Python names, and what is wrong with the names."""
        given: dict[str, Any] = {}
        problems: list[Problem] = []
        for key, value in data.items():
            name = cls._spellings.get(key)
            if name is None:
                if key not in cls.tolerated:
                    problems.append(((key,), cls._unknown(key)))
            elif name in given:
                problems.append(((key,), "given twice, in two spellings"))
            elif value is not None:
                given[name] = value
        return given, problems

    @classmethod
    def _unknown(cls, key: str) -> str:
        documented = [field.alias or name for name, field in cls.model_fields.items()]
        near = difflib.get_close_matches(key, documented, n=1) or difflib.get_close_matches(camel(key).lower(), documented, n=1)
        return f'unknown field "{key}"' + (f'; did you mean "{near[0]}"?' if near else "")

    @classmethod
    def shape(cls, given: Mapping[str, Any]) -> Iterator[Problem]:
        """Rules on which fields are set together. `given` is as it was read: its values may be of any type."""
        for group in (*cls.one_of, *cls.at_most_one_of):
            present = [name for name in group if is_set(given, name)]
            if len(present) > 1:
                yield (), f"set only one of {listed(present)}"
            elif not present and group in cls.one_of:
                yield (), f"set one of {listed(group)}"
        if cls.some_of and not any(is_set(given, name) for name in cls.some_of):
            yield (), f"set at least one of {listed(cls.some_of)}"

    def check(self) -> Iterable[Problem]:
        """Rules between fields, asked when each field by itself is right."""
        return ()

    def settled(self) -> Self:
        """The same with old spellings folded into today's fields."""
        return self
