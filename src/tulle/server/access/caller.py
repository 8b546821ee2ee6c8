"""Roles, and what a request needs of whoever sends it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import Request

from tulle.server.forms import problem

PREFIX = "/api/v1/"
STATE = "caller"
"""Under this name the door leaves the caller in a request's state."""
PEER = "peer"
"""Under this name a connection leaves there who has shown a client certificate."""


class Role(StrEnum):
    VIEWER = "viewer"
    """Sees everything, changes nothing."""
    OPERATOR = "operator"
    """Changes documents and registrations, too."""
    ADMIN = "admin"
    """Hands out tokens and replaces roots, too."""
    WORKLOAD = "workload"
    """One that has joined: registers itself, under the one identity that it has."""


_ORDER = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)
_LOOKING = frozenset({"diff", "validate", "explain", "can"})
"""Asked with a POST, but change nothing."""
_OPERATED = frozenset({"apply", "delete", "registrations", "agents", "identity", "renew"})
_BY_WORKLOADS = frozenset({"registrations", "agents", "identity", "proxy-config", "version"})
_SEEN = frozenset({"resources", "services", "endpoints", "proxies", "certificates"})
_OF_NAMESPACES = frozenset({"apply", "delete", "diff", "validate", "tokens", "renew"}) | _SEEN | _BY_WORKLOADS
"""What those whose token is for some namespaces may ask for: it is cut down to these namespaces there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Who has shown a certificate of the mesh's authority, at the other end of a connection."""

    holder: str
    """Id of a token; empty in certificates that are not for the control plane."""
    until: float
    """When it ends, in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sends a request."""

    id: str
    """Of the token."""
    role: Role
    namespaces: tuple[str, ...] = ()
    """Those that the role is for; empty for all."""
    service_account: str = ""
    """Of one that has joined."""

    def sees(self, namespace: str) -> bool:
        return not self.namespaces or namespace in self.namespaces

    def check(self, namespaces: Iterable[str]) -> None:
        """Raises 403 where one of them is none of the caller's."""
        if outside := sorted({namespace for namespace in namespaces if not self.sees(namespace)}):
            shown = ", ".join(outside) if all(outside) else "things of the whole mesh"
            raise problem(403, f"this token is for {', '.join(self.namespaces)}, not for {shown}")

    def check_account(self, service_account: str) -> None:
        """Raises 403 where a workload speaks for another one of its namespace."""
        if self.role is Role.WORKLOAD and service_account != self.service_account:
            raise problem(403, f"this workload has joined as {self.service_account!r}, not as {service_account!r}")

    def refusal(self, method: str, path: str) -> str:
        """Why a request may not be made; empty where it may. What it says about namespaces in its body is looked at later."""
        noun = path.removeprefix(PREFIX).split("/")[0]
        if self.role is Role.WORKLOAD:
            return "" if noun in _BY_WORKLOADS else f"a workload that has joined may not ask for {path}"
        wanted = needed(method, path)
        if _ORDER.index(self.role) < _ORDER.index(wanted):
            return f"{method} {path} needs the role {wanted}, and this token has {self.role}"
        if self.namespaces and noun not in _OF_NAMESPACES:
            return f"{path} is about the whole mesh, and this token is for {', '.join(self.namespaces)} only"
        return ""


EVERYBODY = Caller(id="", role=Role.ADMIN)
"""Where nobody is asked who they are."""


def needed(method: str, path: str) -> Role:
    """The least role for a request; what is not known here is for admins."""
    noun = path.removeprefix(PREFIX).split("/")[0]
    if noun == "tokens":
        return Role.ADMIN
    if method in ("GET", "HEAD") or (noun in _LOOKING and method == "POST"):
        return Role.VIEWER
    return Role.OPERATOR if noun in _OPERATED else Role.ADMIN


def caller_of(request: Request) -> Caller:
    """Whom the door let in."""
    found = request.scope.get("state", {}).get(STATE, EVERYBODY)
    assert isinstance(found, Caller)  # noqa: S101 - the door alone puts it there
    return found
