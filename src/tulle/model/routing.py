"""Where a request goes: virtual hosts, routes, and what is done to the request on the way.

A route table is tried from the top: the most specific virtual host for the request's authority, then its routes in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

from tulle.model.firewall import Firewall
from tulle.model.resource import Source
from tulle.model.traffic import HashPolicy


class Compare(Enum):
    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    CONTAINS = "contains"
    REGEX = "regex"
    """RE2, full match."""
    PATH_PREFIX = "path-prefix"
    """A prefix of whole path segments: `/a` matches `/a` and `/a/b`, not `/ab`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StringMatch:
    compare: Compare
    value: str
    ignore_case: bool = False
    """Only for EXACT, PREFIX and SUFFIX, and for paths."""
    said: str = ""
    """What stands for a pattern in what people read, where it was made of something shorter."""

    def __str__(self) -> str:
        return self.said or f"{self.compare.value} {self.value!r}" + (" (any case)" if self.ignore_case else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderMatch:
    """`match` None asks for presence. `:method`, `:authority` and `:scheme` name the request's pseudo headers.

    An inverted match on a value also holds when the header is missing (BEHAVIOURS.md, 4).
    """

    name: str
    match: StringMatch | None = None
    invert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryMatch:
    name: str
    match: StringMatch | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimMatch:
    """Of the caller's token, once it is found good: a text, or a list with such a text in it. `match` None asks for presence."""

    path: tuple[str, ...]
    match: StringMatch | None = None
    invert: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteMatch:
    """All parts must hold. `path` None matches every path."""

    path: StringMatch | None = None
    headers: tuple[HeaderMatch, ...] = ()
    query: tuple[QueryMatch, ...] = ()
    claims: tuple[ClaimMatch, ...] = ()

    @property
    def catches_all(self) -> bool:
        path = self.path is None or (self.path.compare is Compare.PREFIX and self.path.value == "/")
        return path and not (self.headers or self.query or self.claims)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderOps:
    """Envoy's order: remove, then set, then add; each sorted by name (BEHAVIOURS.md, 11)."""

    remove: tuple[str, ...] = ()
    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.remove or self.set or self.add)


NO_OPS = HeaderOps()


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightedCluster:
    cluster: str
    weight: int = 1
    request_headers: HeaderOps = NO_OPS
    response_headers: HeaderOps = NO_OPS
    host_rewrite: str | None = None
    """Used when the route itself rewrites no host."""
    dial: int = 0
    """Where the endpoint is the very host that is asked for, by name: its port. 0 elsewhere."""
    told: bool = False
    """Its endpoints take bytes of any kind: inside of mutual TLS they are to be told that these are requests."""


INVALID_BACKEND = "InvalidBackend"
"""A name that no cluster has: the share of requests that is sent there is answered at once, with `Forward.unknown_status`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    cluster: str
    percent: float = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    attempts: int
    retry_on: tuple[str, ...]
    retriable_status_codes: tuple[int, ...] = ()
    per_try_timeout: timedelta | None = None
    other_hosts: bool = True
    """Avoid the hosts already tried (Istio's previous_hosts predicate); off with consistent hashing."""
    retry_remote_localities: bool = False
    backoff: timedelta | None = None
    """Base interval; the data plane's default is 25 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """Send the request to one of the clusters, by weight. No cluster at all answers 503."""

    clusters: tuple[WeightedCluster, ...]
    timeout: timedelta | None = None
    """None: no limit (Istio's default)."""
    retry: RetryPolicy | None = None
    prefix_rewrite: str | None = None
    regex_rewrite: tuple[str, str] | None = None
    """RE2 pattern and substitution, applied to the path."""
    host_rewrite: str | None = None
    auto_host_rewrite: bool = False
    """Set the host to the name of the endpoint chosen, where it was found by name."""
    mirrors: tuple[Mirror, ...] = ()
    hash_policies: tuple[HashPolicy, ...] = ()
    connect: bool = False
    """Terminate CONNECT: the bytes inside go to the cluster."""
    unknown_status: int = 503
    """The answer where a cluster does not exist: 503 or 500."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """What is None stays as in the request."""

    status: int = 301
    host: str | None = None
    path: str | None = None
    prefix_rewrite: str | None = None
    regex_rewrite: tuple[str, str] | None = None
    """RE2 pattern and substitution, applied to the path."""
    scheme: str | None = None
    port: int | None = None
    strip_query: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectResponse:
    status: int
    body: bytes = b""


Action = Forward | Redirect | DirectResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    duration: timedelta
    percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    percent: float
    http_status: int | None = None
    grpc_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    delay: Delay | None = None
    abort: Abort | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    allow_origins: tuple[StringMatch, ...] = ()
    allow_methods: tuple[str, ...] = ()
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    max_age: timedelta | None = None
    allow_credentials: bool | None = None
    forward_unmatched_preflights: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What tells the requests of one session: the proxy gives it to the caller, who sends it again."""

    name: str
    """Of the cookie, or of the header."""
    header: bool = False
    path: str = "/"
    """Of the cookie."""
    ttl: timedelta | None = None
    """Of the cookie; None: as long as the caller's program runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A rule, or a part of one, that is not in force, and why: kept so that explanations can name it."""

    source: Source
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    name: str
    match: RouteMatch
    action: Action
    request_headers: HeaderOps = NO_OPS
    response_headers: HeaderOps = NO_OPS
    fault: Fault | None = None
    cors: Cors | None = None
    session: Session | None = None
    """Keeps the requests of a session at one endpoint. For routes with one destination."""
    firewalls: tuple[Firewall, ...] = ()
    """Those of this route alone."""
    stat_prefix: str = ""
    unguarded: tuple[str, ...] | None = None
    """Its requests pass by all policies, and by the logins of these names. None: they are asked."""
    source: Source | None = None
    """The rule that this route came from; None for what Tulle adds by itself."""
    via: Source | None = None
    """The rule that delegates to it."""
    lost: tuple[Skipped, ...] = ()
    """Parts of the rule for which requests are answered with an error: destinations that are not there, filters that cannot act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualHost:
    """`domains` as Envoy has them: exact, `*.suffix`, or `*`; each with and without a port as wanted."""

    name: str
    domains: tuple[str, ...]
    routes: tuple[Route, ...]
    skipped: tuple[Skipped, ...] = ()
    require_tls: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """One RouteConfiguration."""

    name: str
    virtual_hosts: tuple[VirtualHost, ...]
    ignore_port_in_host: bool = False

    def sources(self) -> tuple[Source, ...]:
        """The rules in this table, and those that delegate to them, each once, in order."""
        return tuple(dict.fromkeys(s for v in self.virtual_hosts for r in v.routes for s in (r.source, r.via) if s))
