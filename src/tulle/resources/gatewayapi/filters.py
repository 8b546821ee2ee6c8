"""What is done to a request or to its answer, beyond choosing a backend."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Annotated

from tulle.resources.gatewayapi.types import (
    BackendReference,
    HeaderName,
    HeaderValue,
    LocalReference,
    PreciseHostname,
    items,
    short_text,
)
from tulle.resources.names import header_name
from tulle.resources.networking.common import repeated, taken
from tulle.resources.scalars import Flag, Port, choice, text_that, whole
from tulle.resources.spec import Problem, Spec, shown

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
_ORIGIN = re.compile(r"\*|https?://(?:(?:\*\.)?(?:[a-zA-Z0-9-]+\.)*[a-zA-Z0-9-]+|\*)(?::[0-9]{1,5})?")


class Header(Spec):
    name: HeaderName
    value: HeaderValue


class HeaderModifier(Spec):
    set: Annotated[tuple[Header, ...], items(16)] = ()
    add: Annotated[tuple[Header, ...], items(16)] = ()
    remove: Annotated[tuple[Annotated[str, text_that(header_name)], ...], items(16)] = ()

    def check(self) -> Iterable[Problem]:
        yield from taken("set", "name", (header.name for header in self.set))
        yield from taken("add", "name", (header.name for header in self.add))
        yield from repeated("remove", self.remove)


class PathModifierType(Enum):
    REPLACE_FULL_PATH = "ReplaceFullPath"
    REPLACE_PREFIX_MATCH = "ReplacePrefixMatch"


class PathModifier(Spec):
    type: Annotated[PathModifierType, choice(PathModifierType)]
    replace_full_path: Annotated[str, short_text(1024)] | None = None
    replace_prefix_match: Annotated[str, short_text(1024)] | None = None

    def check(self) -> Iterable[Problem]:
        values = {PathModifierType.REPLACE_FULL_PATH: "replace_full_path", PathModifierType.REPLACE_PREFIX_MATCH: "replace_prefix_match"}
        for kind, name in values.items():
            if (getattr(self, name) is not None) != (self.type is kind):
                yield (
                    (name,),
                    f"required where type is {kind.value}" if self.type is kind else f"must not be set where type is {self.type.value}",
                )


class RedirectScheme(Enum):
    HTTP = "http"
    HTTPS = "https"


def _redirect_status(value: object) -> int:
    if type(value) is int and value in (301, 302, 303, 307, 308):
        return value
    raise ValueError(f"must be one of 301, 302, 303, 307, 308, not {shown(value)}")


class RequestRedirect(Spec):
    scheme: Annotated[RedirectScheme, choice(RedirectScheme)] | None = None
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None
    port: Port | None = None
    status_code: Annotated[int, whole(301, 308)] = 302

    def check(self) -> Iterable[Problem]:
        try:
            _redirect_status(self.status_code)
        except ValueError as error:
            yield ("status_code",), str(error)


class UrlRewrite(Spec):
    hostname: PreciseHostname | None = None
    path: PathModifier | None = None


class Fraction(Spec):
    numerator: Annotated[int, whole(0, 2**31 - 1)]
    denominator: Annotated[int, whole(1, 2**31 - 1)] = 100

    def check(self) -> Iterable[Problem]:
        if self.numerator > self.denominator:
            yield ("numerator",), f"must not be greater than the denominator, {self.denominator}"


class RequestMirror(Spec):
    """Without a share all requests are mirrored."""

    at_most_one_of = (("percent", "fraction"),)

    backend_ref: BackendReference
    percent: Annotated[int, whole(0, 100)] | None = None
    fraction: Fraction | None = None

    @property
    def share(self) -> float:
        """In percent."""
        if self.fraction is not None:
            return 100.0 * self.fraction.numerator / self.fraction.denominator
        return 100.0 if self.percent is None else float(self.percent)


def _check_origin(value: str) -> str | None:
    if _ORIGIN.fullmatch(value) and len(value) <= 253:
        return None
    return f'must be "*" or an origin such as "https://*.example.com", not {shown(value)}'


def _check_method(value: str) -> str | None:
    return None if value in (*METHODS, "*") else f"must be an HTTP method in capitals, or *, not {shown(value)}"


class Cors(Spec):
    allow_origins: Annotated[tuple[Annotated[str, text_that(_check_origin)], ...], items(64)] = ()
    allow_credentials: Flag = False
    allow_methods: Annotated[tuple[Annotated[str, text_that(_check_method)], ...], items(9)] = ()
    allow_headers: Annotated[tuple[HeaderName, ...], items(64)] = ()
    expose_headers: Annotated[tuple[HeaderName, ...], items(64)] = ()
    max_age: Annotated[int, whole(1, 2**31 - 1)] = 5
    """Seconds."""

    def check(self) -> Iterable[Problem]:
        for name in ("allow_origins", "allow_methods", "allow_headers", "expose_headers"):
            values: Sequence[str] = getattr(self, name)
            yield from repeated(name, values)
            if "*" in values and len(set(values)) > 1 and name != "expose_headers":
                yield (name,), "must hold nothing beside *"


class FilterType(Enum):
    REQUEST_HEADER_MODIFIER = "RequestHeaderModifier"
    RESPONSE_HEADER_MODIFIER = "ResponseHeaderModifier"
    REQUEST_MIRROR = "RequestMirror"
    REQUEST_REDIRECT = "RequestRedirect"
    URL_REWRITE = "URLRewrite"
    EXTENSION_REF = "ExtensionRef"
    CORS = "CORS"


class GrpcFilterType(Enum):
    RESPONSE_HEADER_MODIFIER = "ResponseHeaderModifier"
    REQUEST_HEADER_MODIFIER = "RequestHeaderModifier"
    REQUEST_MIRROR = "RequestMirror"
    EXTENSION_REF = "ExtensionRef"


_FIELDS = {
    "RequestHeaderModifier": "request_header_modifier",
    "ResponseHeaderModifier": "response_header_modifier",
    "RequestMirror": "request_mirror",
    "RequestRedirect": "request_redirect",
    "URLRewrite": "url_rewrite",
    "ExtensionRef": "extension_ref",
    "CORS": "cors",
}


class GrpcFilter(Spec):
    """`type` names the one field that is set."""

    type: Annotated[GrpcFilterType, choice(GrpcFilterType)]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    extension_ref: LocalReference | None = None

    def check(self) -> Iterable[Problem]:
        return one_field(self, self.type.value)


def one_field(spec: Spec, wanted: str) -> Iterator[Problem]:
    for kind, name in _FIELDS.items():
        is_set = getattr(spec, name, None) is not None
        if kind == wanted and not is_set:
            yield (name,), f"required where type is {kind}"
        if kind != wanted and is_set:
            yield (name,), f"must not be set where type is {wanted}"


class HttpFilter(Spec):
    """`type` names the one field that is set."""

    type: Annotated[FilterType, choice(FilterType)]
    request_header_modifier: HeaderModifier | None = None
    response_header_modifier: HeaderModifier | None = None
    request_mirror: RequestMirror | None = None
    request_redirect: RequestRedirect | None = None
    url_rewrite: UrlRewrite | None = None
    cors: Cors | None = None
    extension_ref: LocalReference | None = None

    def check(self) -> Iterable[Problem]:
        return one_field(self, self.type.value)


_REPEATABLE = ("RequestMirror", "ExtensionRef")


def filter_problems(filters: Sequence[GrpcFilter | HttpFilter]) -> Iterator[Problem]:
    """Most filters stand once, and a request is redirected or rewritten, not both."""
    seen: set[str] = set()
    for index, one in enumerate(filters):
        kind = one.type.value
        if kind in seen and kind not in _REPEATABLE:
            yield ("filters", index), f"a second {kind} filter; there may be one"
        elif {"RequestRedirect": "URLRewrite", "URLRewrite": "RequestRedirect"}.get(kind) in seen:
            yield ("filters", index), "RequestRedirect and URLRewrite exclude each other"
        seen.add(kind)
