"""Who may call what: conditions on a caller and on what it asks for, and the policies made of them (BEHAVIOURS.md, 19)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from tulle.model.resource import Source
from tulle.model.routing import Compare, StringMatch


class Attribute(Enum):
    """What a condition looks at."""

    METHOD = "method"
    PATH = "path"
    """Without the query."""
    HOST = "host"
    HEADER = "header"
    PRINCIPAL = "principal"
    """The SPIFFE id in the caller's certificate."""
    CLAIM = "claim"
    """Of the caller's JWT, once it is found good."""
    SNI = "server name"
    SOURCE_IP = "source address"
    """Of the direct peer."""
    REMOTE_IP = "remote address"
    """Of the caller, as proxies before this one say."""
    DESTINATION_IP = "destination address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Is:
    """A text fits; `match` None asks that it is there at all."""

    attribute: Attribute
    name: tuple[str, ...] = ()
    """Of the header; the path to a claim (`("realm_access", "roles")`)."""
    match: StringMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """An address lies in a network (CIDR)."""

    attribute: Attribute
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """A filter of the data plane wrote such a text into a request's metadata, alone or in a list."""

    filter: str
    path: tuple[str, ...]
    match: StringMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AllOf:
    """Without parts it always holds."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyOf:
    """Without parts it never holds."""

    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Not:
    part: Condition


Condition = Is | Within | Noted | AllOf | AnyOf | Not
ALWAYS = AllOf()
NEVER = AnyOf()

UNUSUAL = AnyOf(
    parts=(
        *(Is(attribute=Attribute.PATH, match=StringMatch(compare=Compare.CONTAINS, value=v)) for v in ("%", "//", ";", "/.", "\\")),
        Is(attribute=Attribute.PATH, match=StringMatch(compare=Compare.SUFFIX, value="/")),
    )
)
"""A path that programs may take for another; all others mean what they say, but for the case of letters."""


class Effect(Enum):
    """What becomes of calls that a policy's rules take. They are asked in this order."""

    CUSTOM = "CUSTOM"
    """An authorisation service is asked."""
    AUDIT = "AUDIT"
    """They are marked in the log; nothing else happens."""
    DENY = "DENY"
    ALLOW = "ALLOW"
    """Where any policy allows, what none of them takes is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessRule:
    """Callers, and what they ask for. Both must hold."""

    name: str
    callers: Condition = ALWAYS
    operations: Condition = ALWAYS
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorizer:
    """A service that decides on calls."""

    name: str
    host: str
    cluster: str
    grpc: bool = False
    """Asked by Envoy's gRPC Authorization service; else by an HTTP request."""
    authority: str = ""
    path_prefix: str = ""
    timeout: timedelta = timedelta(seconds=600)
    fail_open: bool = False
    clear_route_cache: bool = False
    status_on_error: int = 403
    request_headers: tuple[StringMatch, ...] = ()
    """Of the call, which the service sees too. HTTP only; gRPC has them all."""
    added_headers: tuple[tuple[str, str], ...] = ()
    upstream_headers: tuple[StringMatch, ...] = ()
    """Of its answer, which the endpoint gets."""
    downstream_headers: tuple[StringMatch, ...] = ()
    """Of its answer, which the caller gets when it is refused."""
    downstream_headers_on_allow: tuple[StringMatch, ...] = ()
    body_bytes: int = 0
    """How much of the body the service sees."""
    partial_body: bool = False
    """Longer bodies are cut; else they are answered 413."""
    raw_body: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessPolicy:
    """One document's say about one proxy."""

    name: str
    effect: Effect
    rules: tuple[AccessRule, ...] = ()
    disguised: tuple[AccessRule, ...] = ()
    """Those of its rules that are about paths, once more for every spelling of them. They hold only for paths that are UNUSUAL."""
    dry_run: bool = False
    """It decides nothing: what it would have done is logged."""
    authorizer: Authorizer | None = None
    """For CUSTOM. None there: the service is not known, and what the rules take is refused."""
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """All policies for one kind of connection, in the order in which they are asked: from the oldest within each effect."""

    policies: tuple[AccessPolicy, ...] = ()

    def of(self, effect: Effect, *, dry_run: bool = False) -> tuple[AccessPolicy, ...]:
        return tuple(p for p in self.policies if p.effect is effect and p.dry_run == dry_run)

    def asks_for(self, attribute: Attribute) -> bool:
        """Whether some condition looks at such a thing."""
        return any(_looks_at(c, attribute) for p in self.policies for r in p.rules for c in (r.callers, r.operations))

    def __bool__(self) -> bool:
        return bool(self.policies)


def _looks_at(of: Condition, attribute: Attribute) -> bool:
    if isinstance(of, AllOf | AnyOf):
        return any(_looks_at(part, attribute) for part in of.parts)
    if isinstance(of, Not):
        return _looks_at(of.part, attribute)
    return not isinstance(of, Noted) and of.attribute is attribute


OPEN = Access()
