"""A document that a user wrote, where it stands, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from tulle.model.frozen import FrozenMap
from tulle.model.identity import NO_LABELS, Labels

SpecT = TypeVar("SpecT", covariant=True)


class Key(NamedTuple):
    """Names one resource. `kind` is the plain kind (`VirtualService`), the same for all served API versions."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Origin:
    """Where a document, or a part of it, was written. Line 0 means that no line is known."""

    path: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[SpecT]):
    """A document that was read and found valid."""

    key: Key
    api_version: str
    spec: SpecT
    labels: Labels = NO_LABELS
    annotations: Labels = NO_LABELS
    origin: Origin = Origin()
    lines: FrozenMap[str, int] = FrozenMap()
    """Field path (`spec.http[0].match[1]`) to line in `origin.path`, for the rules that explanations point at."""
    document: str = ""
    """What was written, as JSON: `apiVersion`, `kind`, `metadata` and `spec`."""
    created: int = 0
    """Place in the order of creation: stands in for Istio's creationTimestamp, which breaks ties between resources."""
    revision: int = 0
    """The store's revision of this version of the document."""

    def at(self, field: str) -> Source:
        """The place of a field of this document, or of the nearest field around it whose line is known."""
        probe = field
        while probe:
            if line := self.lines.get(probe):
                return Source(key=self.key, origin=Origin(path=self.origin.path, line=line), field=field)
            probe = probe[: max(probe.rfind("."), probe.rfind("["), 0)]
        return Source(key=self.key, origin=self.origin, field=field)


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Source:
    """What made the mesh act so: a field of a document. It travels down to the data plane's messages and back with its errors."""

    key: Key
    origin: Origin = Origin()
    field: str = ""

    def __str__(self) -> str:
        return f"{self.key.kind}/{self.key.name}" + (f" {self.field}" if self.field else "")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Violation:
    """One thing wrong, or not in force, in one place. `resource` is `Kind/name`; what is not known is empty."""

    origin: Origin
    resource: str = ""
    field: str = ""
    message: str
    namespace: str = ""
    """Of `resource`, so that a rejection can be remembered with the document that it is about. Not printed."""

    def __str__(self) -> str:
        return ": ".join(part for part in (str(self.origin), self.resource, self.field, self.message) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One aspect of a resource's state, in the words of Kubernetes: type, status, reason, message."""

    type: str
    status: bool | None
    """True, False, or None for Unknown."""
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What became of a resource."""

    conditions: tuple[Condition, ...] = ()
    warnings: tuple[Violation, ...] = ()
    details: Mapping[str, object] = FrozenMap()
    """What else the API of the kind has in a status (`listeners`, `parents`, ...), as JSON has it."""

    def condition(self, type_: str) -> Condition | None:
        return next((c for c in self.conditions if c.type == type_), None)
