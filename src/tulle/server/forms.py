"""What requests say, checked, and what answers say, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tulle.model.resource import Condition, Key, Violation
from tulle.resources.kinds import KINDS, Kind, find_kind, find_kinds
from tulle.resources.scalars import parse_duration
from tulle.store.document import File, Report, Result
from tulle.store.records import violations_json

BODY_LIMIT = 32 * 1024 * 1024
"""Bytes. Ten thousand documents are about a tenth of it."""
WAIT_LIMIT = 600.0
"""Seconds that a request may ask to wait."""


Namespace = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, alias_generator=to_camel, populate_by_name=True)


class FileForm(_Form):
    path: Annotated[str, Field(min_length=1, max_length=4096)]
    text: str

    def file(self) -> File:
        return File(path=self.path, text=self.text)


class FilesForm(_Form):
    """The body of `diff` and `validate`."""

    files: Annotated[tuple[FileForm, ...], Field(min_length=1, max_length=20_000)]
    namespace: Namespace = "default"
    """Of documents that name none."""

    def read(self) -> tuple[File, ...]:
        return tuple(form.file() for form in self.files)


class ApplyForm(FilesForm):
    """The body of `apply`."""

    dry_run: bool = False
    force: bool = False
    """Write again what has not changed, so that what the proxies refused is tried again."""
    expect: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    """`Kind/namespace/name` to the revision that it must have."""
    wait: str = ""
    """How long to wait until all proxies have acknowledged, such as `30s`."""

    def expected(self) -> Mapping[Key, int]:
        return {key_of(text): revision for text, revision in self.expect.items()}


class KeyForm(_Form):
    kind: str
    namespace: str = "default"
    name: Annotated[str, Field(min_length=1)]

    def key(self) -> Key:
        return the_kind(self.kind).key(self.namespace, self.name)


class DeleteForm(_Form):
    """The body of `delete`: files, or names."""

    files: Annotated[tuple[FileForm, ...], Field(max_length=20_000)] = ()
    resources: Annotated[tuple[KeyForm, ...], Field(max_length=20_000)] = ()
    namespace: Namespace = "default"
    dry_run: bool = False
    wait: str = ""


FormT = TypeVar("FormT", bound=BaseModel)


def problem(status: int, error: str, violations: Iterable[Violation] = ()) -> HTTPException:
    """An answer that says what is wrong, to be raised."""
    return HTTPException(status, {"error": error, "violations": violations_json(violations)})  # type: ignore[arg-type]


async def body_of(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """The whole body. Raises 413 when it is larger than `limit` bytes."""
    length = request.headers.get("content-length", "")
    chunks, size = [], int(length) if length.isdigit() else 0
    if size <= limit:
        size = 0
        async for chunk in request.stream():
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                break
    if size > limit:
        raise problem(413, f"the body is larger than {limit} bytes")
    return b"".join(chunks)


async def form_of(request: Request, form: type[FormT], limit: int = BODY_LIMIT) -> FormT:
    """The body, read as `form`. Raises 400 with everything that is wrong but none of what was sent, 413."""
    try:
        return form.model_validate_json(await body_of(request, limit) or b"{}")
    except ValidationError as error:
        items = error.errors(include_url=False, include_input=False)
        message = "; ".join(f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in items[:20])
        raise problem(400, f"the body cannot be used: {message}") from None


async def object_of(request: Request) -> dict[str, Any]:
    """The body, which must be a JSON object."""
    try:
        value = json.loads(await body_of(request))
    except (ValueError, RecursionError):
        raise problem(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise problem(400, "the body must be a JSON object")
    return value


def the_kind(word: str) -> Kind:
    """Raises 400 for a kind that there is not."""
    if kind := find_kind(word):
        return kind
    raise problem(400, f"there is no kind {word!r}; kinds are {', '.join(kind.name for kind in KINDS)}")


def the_kinds(word: str) -> tuple[str, ...]:
    """The names of all kinds that are meant: a plain name may be that of several groups. Raises 404."""
    return tuple(kind.name for kind in find_kinds(word)) or (the_kind(word).name,)


def key_of(text: str) -> Key:
    """Reads `Kind/namespace/name`."""
    parts = text.split("/")
    if len(parts) != 3:
        raise problem(400, f"{text!r} does not name a document: write Kind/namespace/name")
    return the_kind(parts[0]).key(parts[1], parts[2])


def seconds(text: str, name: str, least: float = 0.0, most: float = WAIT_LIMIT) -> float:
    """Reads a duration. Raises 400."""
    try:
        found = parse_duration(text).total_seconds()
    except ValueError as error:
        raise problem(400, f"{name}: {error}") from None
    if not least <= found <= most:
        raise problem(400, f"{name}: must be from {least:g}s to {most:g}s, not {text}")
    return found


def answer(value: Any, status: int = 200) -> Response:
    return JSONResponse(value, status)


def report_json(report: Report) -> dict[str, Any]:
    return {
        "revision": report.revision,
        "results": [_result_json(result) for result in report.results],
        "violations": violations_json(report.violations),
        "warnings": violations_json(report.warnings),
    }


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "kind": result.key.kind,
        "namespace": result.key.namespace,
        "name": result.key.name,
        "outcome": result.outcome.value,
        "revision": result.revision,
        "path": result.origin.path,
        "line": result.origin.line,
    }


def condition_json(condition: Condition) -> dict[str, str]:
    """In Kubernetes' way, where a status is `True`, `False` or `Unknown`."""
    status = "Unknown" if condition.status is None else str(condition.status)
    return {"type": condition.type, "status": status, "reason": condition.reason, "message": condition.message}
