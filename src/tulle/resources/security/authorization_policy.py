"""AuthorizationPolicy: who may call what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Annotated, Any

from tulle.resources.attachment import Attached
from tulle.resources.names import Subnet, cidr_or_ip
from tulle.resources.scalars import Text, choice, text_that
from tulle.resources.spec import Problem, Spec, shown

_MOST_RULES = 512


class Action(Enum):
    ALLOW = "ALLOW"
    DENY = "DENY"
    AUDIT = "AUDIT"
    CUSTOM = "CUSTOM"


def _filled(value: str) -> str | None:
    return None if value else "must not be empty"


def _port(value: str) -> str | None:
    known = value.isascii() and value.isdecimal() and 0 < int(value) <= 65535
    return None if known else f"must be the number of a port, from 1 to 65535, as text, not {shown(value)}"


def _account(value: str) -> str | None:
    """`account`, of the policy's namespace, or `namespace/account`."""
    parts = value.split("/")
    if len(parts) <= 2 and all(parts) and "*" not in value and len(value) <= 320:
        return None
    return f'must be "account" or "namespace/account" without wildcard, not {shown(value)}'


_TEMPLATE = re.compile(r"\{\*{1,2}\}")


def _path(value: str) -> str | None:
    """Plain, with `*` at one end, or a template: `/a/{*}/b`, `/a/{**}`."""
    if not value:
        return "must not be empty"
    if not _TEMPLATE.search(value):
        return None
    bare = _TEMPLATE.sub("", value)
    if any(char in bare for char in "*{}") or value.count("{**}") > 1:
        return f"must have no other * or brackets beside {{*}}, and {{**}} at most once, not {shown(value)}"
    wrong = [part for part in value.split("/") if _TEMPLATE.search(part) and not _TEMPLATE.fullmatch(part)]
    return f"must have {{*}} and {{**}} alone between slashes, not {shown(value)}" if wrong or not value.startswith("/") else None


Pattern = Annotated[str, text_that(_filled)]
"""Text, or `prefix*`, `*suffix`, or `*` for whatever is there."""
Paths = tuple[Annotated[str, text_that(_path)], ...]
Ports = tuple[Annotated[str, text_that(_port)], ...]
Accounts = tuple[Annotated[str, text_that(_account)], ...]


class Origin(Spec):
    """`source`: who calls. All fields that are set must hold; of each one's values, any."""

    principals: tuple[Pattern, ...] = ()
    not_principals: tuple[Pattern, ...] = ()
    request_principals: tuple[Pattern, ...] = ()
    not_request_principals: tuple[Pattern, ...] = ()
    namespaces: tuple[Pattern, ...] = ()
    not_namespaces: tuple[Pattern, ...] = ()
    service_accounts: Accounts = ()
    not_service_accounts: Accounts = ()
    trust_domains: tuple[Pattern, ...] = ()
    not_trust_domains: tuple[Pattern, ...] = ()
    ip_blocks: tuple[Subnet, ...] = ()
    not_ip_blocks: tuple[Subnet, ...] = ()
    remote_ip_blocks: tuple[Subnet, ...] = ()
    not_remote_ip_blocks: tuple[Subnet, ...] = ()

    def check(self) -> Iterable[Problem]:
        if not any(self.model_dump().values()):
            yield (), "must say something"
        if self.service_accounts or self.not_service_accounts:
            for name in ("principals", "not_principals", "namespaces", "not_namespaces"):
                if getattr(self, name):
                    yield (name,), "must not stand beside serviceAccounts and notServiceAccounts"
        for name in ("service_accounts", "not_service_accounts"):
            if len(getattr(self, name)) > 16:
                yield (name,), "must have at most 16 items"


class Operation(Spec):
    """What is called. All fields that are set must hold; of each one's values, any."""

    hosts: tuple[Pattern, ...] = ()
    not_hosts: tuple[Pattern, ...] = ()
    ports: Ports = ()
    not_ports: Ports = ()
    methods: tuple[Pattern, ...] = ()
    not_methods: tuple[Pattern, ...] = ()
    paths: Paths = ()
    not_paths: Paths = ()

    def check(self) -> Iterable[Problem]:
        if not any(self.model_dump().values()):
            yield (), "must say something"


class From(Spec):
    source: Origin


class To(Spec):
    operation: Operation


_PLAIN_KEYS = (
    "source.ip",
    "remote.ip",
    "source.namespace",
    "source.principal",
    "source.serviceAccount",
    "source.trustDomain",
    "request.auth.principal",
    "request.auth.audiences",
    "request.auth.presenter",
    "destination.ip",
    "destination.port",
    "connection.sni",
)
_NESTED_KEY = re.compile(r"request\.headers\[[^\[\]]+\]|request\.auth\.claims(\[[^\[\]]+\])+|experimental\.envoy\.filters\..+")
_ADDRESS_KEYS = ("source.ip", "remote.ip", "destination.ip")


def _key(value: str) -> str | None:
    if value in _PLAIN_KEYS or _NESTED_KEY.fullmatch(value):
        return None
    known = ", ".join((*_PLAIN_KEYS, "request.headers[NAME]", "request.auth.claims[NAME]"))
    return f"must be one of {known}, not {shown(value)}"


class Condition(Spec):
    """One attribute has any of `values` and none of `not_values`."""

    some_of = ("values", "not_values")

    key: Annotated[str, text_that(_key)]
    values: tuple[Text, ...] = ()
    not_values: tuple[Text, ...] = ()

    def check(self) -> Iterable[Problem]:
        checked = cidr_or_ip if self.key in _ADDRESS_KEYS else _port if self.key == "destination.port" else None
        for name in ("values", "not_values") if checked else ():
            for index, value in enumerate(getattr(self, name)):
                if checked and (complaint := checked(value)):
                    yield (name, index), complaint


class Rule(Spec):
    """Holds where one of `from_`, one of `to` and all of `when` do; what is absent holds always."""

    from_: tuple[From, ...] = ()
    to: tuple[To, ...] = ()
    when: tuple[Condition, ...] = ()

    @classmethod
    def shape(cls, given: Any) -> Iterator[Problem]:
        yield from super().shape(given)
        for name in ("from_", "to"):
            if given.get(name) == []:
                yield (name,), "must have at least one item; leave it out for all"

    def check(self) -> Iterable[Problem]:
        if len(self.from_) > _MOST_RULES:
            yield ("from_",), f"must have at most {_MOST_RULES} items"


class Provider(Spec):
    name: Annotated[str, text_that(_filled)]


class AuthorizationPolicy(Attached):
    action: Annotated[Action, choice(Action)] = Action.ALLOW
    rules: tuple[Rule, ...] = ()
    provider: Provider | None = None

    def check(self) -> Iterable[Problem]:
        if self.action in (Action.DENY, Action.CUSTOM) and not self.rules:
            yield ("rules",), f"required where the action is {self.action.value}; write [{{}}] for every request"
        if self.action is Action.CUSTOM and not self.provider:
            yield ("provider",), "required where the action is CUSTOM"
        if self.action is not Action.CUSTOM and self.provider:
            yield ("provider",), "needs the action CUSTOM"
        if len(self.rules) > _MOST_RULES:
            yield ("rules",), f"must have at most {_MOST_RULES} items"
