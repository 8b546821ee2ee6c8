"""The types of single values and of references in the Gateway API's documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from enum import Enum
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, PlainValidator

from tulle.resources.names import LabelMap, dns_label, dns_name, header_value, is_ip, label_key, label_value
from tulle.resources.scalars import NO_TEXTS, Port, choice, parse_duration, text_that, whole
from tulle.resources.spec import Problem, Spec, shown

GROUP = "gateway.networking.k8s.io"

T = TypeVar("T")
Check = Callable[[str], str | None]

_KIND = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_\x60|~]+")
_DURATION = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_PROTOCOL = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?|[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]+")
_DOMAIN_PATH = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9/\-._~!$&'()*+,;=:%]+")


def shaped(pattern: re.Pattern[str], form: str, longest: int = 253) -> Check:
    """Asks for the whole text to have a form."""

    def check(value: str) -> str | None:
        if not value:
            return "must not be empty"
        if len(value) > longest:
            return f"must be at most {longest} characters long"
        return None if pattern.fullmatch(value) else f"must be {form}, not {shown(value)}"

    return check


def _group(value: str) -> str | None:
    return None if not value or dns_name(value) is None else f'must be an API group such as "{GROUP}", or "" for core, not {shown(value)}'


def _object_name(value: str) -> str | None:
    return None if 0 < len(value) <= 253 else "must be from 1 to 253 characters long"


def hostname(value: str) -> str | None:
    """A name in lower case, perhaps with `*.` before it. No address."""
    if is_ip(value):
        return f"must be a host name and no address, not {shown(value)}"
    if not value or dns_name(value.removeprefix("*.")) is not None or len(value) > 253:
        return f'must be a host name in lower case, or "*." and one, not {shown(value)}'
    return None


def precise_hostname(value: str) -> str | None:
    return "must be a host name without wildcard" if value.startswith("*") else hostname(value)


def _bounded_value(value: str) -> str | None:
    if not 0 < len(value) <= 4096:
        return "must be from 1 to 4096 characters long"
    return header_value(value.replace("%", ""))


Group = Annotated[str, text_that(_group)]
KindName = Annotated[str, text_that(shaped(_KIND, "the name of a kind", 63))]
ObjectName = Annotated[str, text_that(_object_name)]
NamespaceName = Annotated[str, text_that(dns_label)]
SectionName = Annotated[str, text_that(dns_name)]
Hostname = Annotated[str, text_that(hostname)]
PreciseHostname = Annotated[str, text_that(precise_hostname)]
HeaderName = Annotated[str, text_that(shaped(_HEADER, "a header name", 256))]
HeaderValue = Annotated[str, text_that(_bounded_value)]
ProtocolName = Annotated[str, text_that(shaped(_PROTOCOL, "a protocol such as HTTP or TCP", 255))]
DomainPath = Annotated[str, text_that(shaped(_DOMAIN_PATH, 'a domain and a path such as "example.com/name"'))]


def _duration(value: object) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise ValueError(f'must be a duration of whole h, m, s and ms, such as "1m30s" or "500ms", not {shown(value)}')
    return parse_duration(value)


GatewayDuration = Annotated[timedelta, PlainValidator(_duration, json_schema_input_type=str)]
"""The Gateway API's own way of writing durations (GEP-2257); zero is allowed."""


def items(most: int, least: int = 0) -> AfterValidator:
    """Bounds the length of a list."""

    def check(values: tuple[T, ...]) -> tuple[T, ...]:
        if len(values) < least:
            raise ValueError("must have at least one item" if least == 1 else f"must have at least {least} items")
        if len(values) > most:
            raise ValueError(f"must have at most {most} items")
        return values

    return AfterValidator(check)


def short_text(longest: int) -> Any:
    return text_that(lambda value: None if len(value) <= longest else f"must be at most {longest} characters long")


class SelectorOperator(Enum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class LabelRequirement(Spec):
    key: Annotated[str, text_that(label_key)]
    operator: Annotated[SelectorOperator, choice(SelectorOperator)]
    values: tuple[Annotated[str, text_that(label_value)], ...] = ()

    def check(self) -> Iterable[Problem]:
        listed = self.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN)
        if listed and not self.values:
            yield ("values",), f"required where operator is {self.operator.value}"
        if not listed and self.values:
            yield ("values",), f"must not be set where operator is {self.operator.value}"


class LabelSelector(Spec):
    """All requirements must hold. Without any, everything is selected."""

    match_labels: LabelMap = NO_TEXTS
    match_expressions: tuple[LabelRequirement, ...] = ()


class LocalReference(Spec):
    """Something in the namespace of the document."""

    group: Group
    kind: KindName
    name: ObjectName


class ObjectReference(LocalReference):
    """Something in any namespace; without one, in that of the document."""

    namespace: NamespaceName | None = None


class SecretReference(Spec):
    group: Group = ""
    kind: KindName = "Secret"
    name: ObjectName
    namespace: NamespaceName | None = None


class ParentReference(Spec):
    """What a route is attached to: a Gateway, a ListenerSet, or a Service for the mesh."""

    group: Group = GROUP
    kind: KindName = "Gateway"
    namespace: NamespaceName | None = None
    name: ObjectName
    section_name: SectionName | None = None
    port: Port | None = None


def parent_problems(parents: Sequence[ParentReference]) -> Iterator[Problem]:
    """References to one parent must each name another section or port of it."""
    first: dict[tuple[object, ...], ParentReference] = {}
    seen: set[tuple[object, ...]] = set()
    for index, parent in enumerate(parents):
        whole_parent = (parent.group, parent.kind, parent.namespace, parent.name)
        known = first.setdefault(whole_parent, parent)
        part = (*whole_parent, parent.section_name, parent.port)
        if (known.section_name is None, known.port is None) != (parent.section_name is None, parent.port is None):
            yield ("parent_refs", index), "must set the same of sectionName and port as the other references to this parent"
        elif part in seen:
            yield ("parent_refs", index), "names the same as an earlier one; give each its own sectionName or port"
        seen.add(part)


class BackendReference(Spec):
    """Where requests or connections go. Short for a Service of the document's own namespace."""

    group: Group = ""
    kind: KindName = "Service"
    name: ObjectName
    namespace: NamespaceName | None = None
    port: Port | None = None

    def check(self) -> Iterable[Problem]:
        if not self.group and self.kind == "Service" and self.port is None:
            yield ("port",), "required for a Service"


class WeightedBackend(BackendReference):
    weight: Annotated[int, whole(0, 1_000_000)] = 1


ParentReferences = Annotated[tuple[ParentReference, ...], items(32)]
Backends = Annotated[tuple[WeightedBackend, ...], items(16, 1)]
