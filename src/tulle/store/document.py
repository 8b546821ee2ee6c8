"""A document as the store knows it: its newest valid version, what is wrong with a later one, and which version is in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tulle.model.resource import Condition, Key, Origin, Resource, Violation
from tulle.store.records import Applied, Refused, Rejected


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    key: Key
    applied: Applied | None = None
    """None for a document that was rejected and never valid."""
    rejected: Rejected | None = None
    unreadable: Rejected | None = None
    """Why this version of Tulle cannot read the stored version, which then is not in force."""
    refused: Refused | None = None
    revision: int = 0
    """Of the store's entry of the applied version; 0 for none."""

    @property
    def resource(self) -> Resource[Any] | None:
        """What the user applied last, as far as it was valid."""
        return self.applied.resource if self.applied else None

    @property
    def is_refused(self) -> bool:
        """Whether the proxies refuse the applied version."""
        return bool(self.applied and self.refused and self.refused.generation == self.applied.generation)

    @property
    def in_force(self) -> Resource[Any] | None:
        """The version that the mesh is to be made from."""
        return self.refused.last_good if self.refused and self.is_refused else self.resource

    @property
    def exists(self) -> bool:
        return bool(self.applied or self.rejected or self.unreadable)

    def accepted(self) -> Condition:
        """Whether what was applied last is valid."""
        wrong = self.rejected or self.unreadable
        if not wrong:
            return Condition(type="Accepted", status=True, reason="Accepted")
        held = "; the version before stays in force" if self.applied else ""
        message = "; ".join(str(violation) for violation in wrong.violations) + held
        return Condition(type="Accepted", status=False, reason="Invalid", message=message)

    def refusal(self) -> Condition | None:
        """The condition that says that the proxies refuse what was applied, if they do."""
        if not self.refused or not self.is_refused:
            return None
        held = "its last good version stays in force" if self.refused.last_good else "it is not in force"
        return Condition(type="Programmed", status=False, reason="Refused", message=f"{self.refused.message}; {held}")


class Outcome(Enum):
    """What an apply or a delete did to one document."""

    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    REJECTED = "rejected"
    DELETED = "deleted"
    NOT_FOUND = "not found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    key: Key
    outcome: Outcome
    origin: Origin = Origin()
    revision: int = 0
    """The store's revision of the version that is now the applied one; 0 for none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of all documents of one request, in the order they were written in."""

    results: tuple[Result, ...] = ()
    violations: tuple[Violation, ...] = ()
    """Of rejected documents, and of text that is no document at all."""
    warnings: tuple[Violation, ...] = ()
    revision: int = 0
    """The store's revision that includes all of this."""
    change: Mapping[Key, Resource[Any] | None] = field(default_factory=dict, compare=False)
    """What is in force otherwise by it, or would be: documents that say something new, and None for those that were taken out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """Text with documents; `path` is what messages call it."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """The documents in force at a revision of the store."""

    revision: int
    in_force: Mapping[Key, Resource[Any]]
    changed: frozenset[Key]
    """Whose version in force is another than in the update before. All of them in the first update."""
