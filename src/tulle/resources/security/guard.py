"""Guard: cheap checks of requests, which proxies make before all others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from tulle.model.screen import PathLevel, Underscores
from tulle.resources.attachment import Attached
from tulle.resources.names import Subnet
from tulle.resources.scalars import choice, text_that, whole
from tulle.resources.security.authorization_policy import Paths
from tulle.resources.spec import Problem, Spec, shown

_METHOD_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ-")


def _method(value: str) -> str | None:
    return None if value and _METHOD_CHARACTERS.issuperset(value) else f"must be a method such as GET, in capitals, not {shown(value)}"


Subnets = tuple[Subnet, ...]


class GuardedAddresses(Spec):
    """Of callers, as proxies before this one say where these are trusted."""

    some_of = ("allow", "deny")

    allow: Subnets = ()
    """Without any, all."""
    deny: Subnets = ()


class GuardedHeaders(Spec):
    some_of = ("max_count", "max_kilobytes", "underscores")

    max_count: Annotated[int, whole(1, 10_000)] | None = None
    max_kilobytes: Annotated[int, whole(1, 8192)] | None = None
    """Of all of a request's headers, in 1,024 bytes. The data plane takes no more than 8,192."""
    underscores: Annotated[Underscores, choice(Underscores)] | None = None


class Guard(Attached):
    some_of = ("methods", "paths", "addresses", "max_body_bytes", "headers", "path_normalization")

    methods: tuple[Annotated[str, text_that(_method)], ...] = ()
    """Those that are let in. Without any, all."""
    paths: Paths = ()
    """Those that are let in, as in an AuthorizationPolicy: `/a`, `/a/*`, `*.css`, `/a/{*}/b`. Without any, all."""
    addresses: GuardedAddresses | None = None
    max_body_bytes: Annotated[int, whole(1, 2**31 - 1)] | None = None
    headers: GuardedHeaders | None = None
    path_normalization: Annotated[PathLevel, choice(PathLevel)] | None = None

    def check(self) -> Iterable[Problem]:
        wrong = (i for i, path in enumerate(self.paths) if not path.startswith(("/", "*")))
        return ((("paths", i), f"must begin with / or *, not {shown(self.paths[i])}: no path could ever fit") for i in wrong)
