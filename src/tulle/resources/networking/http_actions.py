"""What a rule of a VirtualService does to a request, apart from choosing its destination."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, PlainValidator

from tulle.model.frozen import FrozenMap
from tulle.resources.names import HeaderName, Label, Plain, header_name, header_value
from tulle.resources.networking.common import Destination, StringMatch
from tulle.resources.scalars import (
    NO_TEXTS,
    Duration,
    Flag,
    FloatPercent,
    Percentage,
    Port,
    Regex,
    Status,
    Text,
    choice,
    count_groups,
    text_that,
    whole,
)
from tulle.resources.spec import Problem, Spec, problem_error, shown

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")
_BIGGEST_BODY = 1024 * 1024

_HOST = ("host", ":authority")

_REFERENCE = re.compile(r"\\(.|\Z)", re.DOTALL)

GRPC_STATUS = (
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
)
"""The name of each gRPC status code, at the place of its number."""

RETRY_POLICIES = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)


def _check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    problems: list[Problem] = []
    for name, value in headers.items():
        complaints = (None if name == ":authority" else header_name(name), header_value(value))
        problems.extend(((name,), complaint) for complaint in complaints if complaint)
    if problems:
        raise problem_error(problems)
    return FrozenMap(headers)


def _check_plain_name(name: str) -> str | None:
    return "must not be the host" if name.lower() == "host" else header_name(name)


HeaderValues = Annotated[Mapping[Text, Text], AfterValidator(_check_headers)]
"""`Host` and `:authority` rewrite the host of the request."""


class HeaderOperations(Spec):
    """Envoy's order: remove, set, add."""

    set: HeaderValues = NO_TEXTS
    add: HeaderValues = NO_TEXTS
    remove: tuple[Annotated[str, text_that(_check_plain_name)], ...] = ()


class Headers(Spec):
    request: HeaderOperations | None = None
    response: HeaderOperations | None = None

    def check(self) -> Iterable[Problem]:
        response = self.response or HeaderOperations()
        for operation, headers in (("set", response.set), ("add", response.add)):
            yield from ((("response", operation, name), "a response has no host") for name in headers if name.lower() in _HOST)


class WithHeaders(Spec):
    """What may carry header operations, in today's spelling or in those of Istio before 1.1."""

    headers: Headers | None = None
    append_headers: HeaderValues = NO_TEXTS
    append_request_headers: HeaderValues = NO_TEXTS
    remove_request_headers: tuple[HeaderName, ...] = ()
    append_response_headers: HeaderValues = NO_TEXTS
    remove_response_headers: tuple[HeaderName, ...] = ()

    def settled(self) -> Self:
        today = self.headers or Headers()
        request = _with_old(today.request, {**self.append_headers, **self.append_request_headers}, self.remove_request_headers)
        response = _with_old(today.response, self.append_response_headers, self.remove_response_headers)
        if request is today.request and response is today.response:
            return self
        cleared = {name: field.default for name, field in WithHeaders.model_fields.items()}
        return self.model_copy(update=cleared | {"headers": Headers(request=request, response=response)})


def _with_old(today: HeaderOperations | None, add: Mapping[str, str], remove: tuple[str, ...]) -> HeaderOperations | None:
    """Old spellings give way to today's for the same header."""
    if not add and not remove:
        return today
    now = today or HeaderOperations()
    removed = tuple(dict.fromkeys((*now.remove, *remove)))
    return HeaderOperations(set=dict(now.set), add={**add, **now.add}, remove=removed)


class Delay(Spec):
    """`percentage` unset means that no request is delayed."""

    at_most_one_of = (("fixed_delay", "exponential_delay"),)

    fixed_delay: Duration | None = None
    exponential_delay: Duration | None = None
    percentage: Percentage | None = None
    percent: FloatPercent | None = None
    """The old spelling; folded into `percentage`."""

    def settled(self) -> Self:
        if self.percent is None:
            return self
        percentage = self.percent if self.percentage is None else self.percentage
        return self.model_copy(update={"percentage": percentage, "percent": None})


def _check_grpc_status(name: str) -> str | None:
    return None if name in GRPC_STATUS else f"must be the name of a gRPC status such as UNAVAILABLE, not {shown(name)}"


class Abort(Spec):
    """`percentage` unset means that no request is aborted."""

    at_most_one_of = (("http_status", "grpc_status", "http2_error"),)

    http_status: Status | None = None
    grpc_status: Annotated[str, text_that(_check_grpc_status)] | None = None
    """A name out of GRPC_STATUS."""
    http2_error: Text | None = None
    percentage: Percentage | None = None
    percent: FloatPercent | None = None
    """The old spelling; folded into `percentage`."""

    def settled(self) -> Self:
        if self.percent is None:
            return self
        percentage = self.percent if self.percentage is None else self.percentage
        return self.model_copy(update={"percentage": percentage, "percent": None})


class Fault(Spec):
    some_of = ("delay", "abort")

    delay: Delay | None = None
    abort: Abort | None = None


class RegexRewrite(Spec):
    match: Regex
    rewrite: Text

    def check(self) -> Iterable[Problem]:
        if not self.match:
            yield ("match",), "must not be empty"
        groups = count_groups(self.match)
        for reference in _REFERENCE.findall(self.rewrite):
            if not reference.isdecimal() and reference != "\\":
                yield ("rewrite",), f"uses \\{reference}; write \\\\ for a backslash, \\1 for the first group"
            elif reference.isdecimal() and int(reference) > groups:
                yield ("rewrite",), f"refers to group {reference}, but match has {groups}"


class Rewrite(Spec):
    some_of = ("uri", "authority", "uri_regex_rewrite")
    at_most_one_of = (("uri", "uri_regex_rewrite"),)

    uri: Plain | None = None
    authority: Plain | None = None
    uri_regex_rewrite: RegexRewrite | None = None

    def check(self) -> Iterable[Problem]:
        if self.uri and self.uri.isspace():
            yield ("uri",), 'must not be blank: to take a prefix away, match "/prefix/" and rewrite it to "/"'


class DerivePort(Enum):
    FROM_PROTOCOL_DEFAULT = "FROM_PROTOCOL_DEFAULT"
    FROM_REQUEST_PORT = "FROM_REQUEST_PORT"


def _check_scheme(value: str) -> str | None:
    return None if value in ("http", "https") else f"must be http or https, not {shown(value)}"


REDIRECT_CODES = (301, 302, 303, 307, 308)
"""Those that the data plane knows."""


def _redirect_code(value: object) -> int:
    if type(value) is not int or value not in REDIRECT_CODES:
        raise ValueError(f"must be one of {', '.join(map(str, REDIRECT_CODES))}, not {shown(value)}")
    return value


class Redirect(Spec):
    """What is not set stays as in the request."""

    some_of = ("uri", "prefix_rewrite", "authority", "scheme", "port", "derive_port")
    at_most_one_of = (("port", "derive_port"), ("uri", "prefix_rewrite"))

    uri: Plain | None = None
    prefix_rewrite: Plain | None = None
    authority: Plain | None = None
    port: Port | None = None
    derive_port: Annotated[DerivePort, choice(DerivePort)] | None = None
    scheme: Annotated[str, text_that(_check_scheme)] | None = None
    redirect_code: Annotated[int, PlainValidator(_redirect_code, json_schema_input_type=Literal[REDIRECT_CODES])] | None = None


def _decoded(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value if isinstance(value, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"must be text in base64, not {shown(value)}") from None


class Body(Spec):
    one_of = (("string", "bytes"),)

    string: Text | None = None
    bytes: Annotated[Any, PlainValidator(_decoded, json_schema_input_type=str)] = None
    """Decoded."""

    def content(self) -> Any:
        """The body as `bytes`."""
        return self.bytes if self.string is None else self.string.encode("utf-8", "surrogatepass")


class DirectResponse(Spec):
    status: Status
    body: Body | None = None

    def check(self) -> Iterable[Problem]:
        if self.body and len(self.body.content()) > _BIGGEST_BODY:
            yield ("body",), f"must be at most {_BIGGEST_BODY} bytes long"


class Delegate(Spec):
    """Another VirtualService, which routes what this rule matches."""

    name: Label | None = None
    namespace: Label | None = None


def _check_retry_on(value: str) -> str | None:
    for part in (part.strip() for part in value.split(",")):
        is_status = part.isascii() and part.isdigit() and 100 <= int(part[:4]) <= 599
        if part and part not in RETRY_POLICIES and not is_status:
            return f"{shown(part)} is no condition to retry on"
    return None


class Retry(Spec):
    attempts: Annotated[int, whole(0, 2**31 - 1)] = 0
    """How often to try again; 0 turns retries off."""
    per_try_timeout: Duration | None = None
    retry_on: Annotated[str, text_that(_check_retry_on)] | None = None
    retry_remote_localities: Flag | None = None
    retry_ignore_previous_hosts: Flag | None = None
    backoff: Duration | None = None

    def check(self) -> Iterable[Problem]:
        extra = ("per_try_timeout", "retry_on", "retry_remote_localities", "backoff")
        if self.attempts == 0 and any(getattr(self, name) not in (None, "", False) for name in extra):
            yield ("attempts",), "must be at least 1 where other fields of the retry policy are set; 0 turns retries off"


class UnmatchedPreflights(Enum):
    UNSPECIFIED = "UNSPECIFIED"
    FORWARD = "FORWARD"
    IGNORE = "IGNORE"


def _check_method(value: str) -> str | None:
    return None if value in (*_METHODS, "*") else f"must be an HTTP method in capitals, or *, not {shown(value)}"


class CorsPolicy(Spec):
    allow_origins: tuple[StringMatch, ...] = ()
    allow_origin: tuple[Text, ...] = ()
    """The old spelling: exact origins; folded into `allow_origins` unless that is set too."""
    allow_methods: tuple[Annotated[str, text_that(_check_method)], ...] = ()
    allow_headers: tuple[HeaderName, ...] = ()
    expose_headers: tuple[HeaderName, ...] = ()
    max_age: Duration | None = None
    allow_credentials: Flag | None = None
    unmatched_preflights: Annotated[UnmatchedPreflights, choice(UnmatchedPreflights)] = UnmatchedPreflights.UNSPECIFIED

    def check(self) -> Iterable[Problem]:
        if self.max_age and self.max_age % timedelta(seconds=1):
            yield ("max_age",), "must be whole seconds"

    def settled(self) -> Self:
        if not self.allow_origin:
            return self
        origins = self.allow_origins or tuple(_origin(text) for text in self.allow_origin)
        return self.model_copy(update={"allow_origins": origins, "allow_origin": ()})


def _origin(text: str) -> StringMatch:
    return StringMatch(regex=".*") if text == "*" else StringMatch(exact=text)


class Mirror(Spec):
    """`percentage` unset means that all requests are mirrored."""

    destination: Destination
    percentage: Percentage | None = None
