"""service-intentions: who may call a service."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Annotated

from tulle.resources.consul.common import Entry, Free, HttpParts, Only
from tulle.resources.names import dns_label
from tulle.resources.scalars import Text, TextMap, choice, text_that, whole
from tulle.resources.spec import Problem, Spec, shown


def _name(value: str) -> str | None:
    return None if value == "*" else dns_label(value)


Name = Annotated[str, text_that(_name)]
"""Of a service, or `*` for all."""


class Action(Enum):
    ALLOW = "allow"
    DENY = "deny"


class Permission(Spec):
    action: Annotated[Action, choice(Action)]
    http: HttpParts | None = None
    jwt: Free = None


class Source(Spec):
    """Who calls. Either one answer for all its requests, or answers by request, of which the first that fits holds."""

    one_of = (("action", "permissions"),)

    name: Name
    namespace: Only | None = None
    partition: Only | None = None
    peer: Text | None = None
    sameness_group: Text | None = None
    action: Annotated[Action, choice(Action)] | None = None
    permissions: tuple[Permission, ...] = ()
    type: Text | None = None
    description: Text | None = None
    precedence: Annotated[int, whole(0, 9)] | None = None
    """Told by the server; what is given here has no effect."""
    legacy_id: Text | None = None
    legacy_meta: TextMap | None = None
    legacy_create_time: Text | None = None
    legacy_update_time: Text | None = None

    def check(self) -> Iterable[Problem]:
        if self.type not in (None, "consul"):
            yield ("type",), f'must be "consul", not {shown(self.type)}'


class Target(Spec):
    name: Name


class ServiceIntentions(Entry):
    """`destination` names the service; without it, the entry's own name does."""

    destination: Target | None = None
    sources: tuple[Source, ...] = ()
    jwt: Free = None

    def check(self) -> Iterable[Problem]:
        seen: set[str] = set()
        for index, source in enumerate(self.sources):
            if source.name in seen:
                yield ("sources", index, "name"), f"{source.name!r} has an earlier source already"
            seen.add(source.name)
