"""What an explanation says: where the request goes, what is done to it, and every rule that was tried on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from tulle.model.frozen import FrozenMap
from tulle.model.resource import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rule that was looked at, and why it won or lost."""

    rule: str
    source: str = ""
    """`file:line` of the rule; empty for what the mesh adds by itself."""
    matched: bool
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An endpoint that may answer."""

    address: str
    workload: str = ""
    health: str = ""
    locality: str = ""
    """`region/zone/subzone`, where places make a difference."""
    priority: int | None = None
    """Those of the next priority are used as those before become too few; None where all are alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The proxy answers by itself. A gRPC caller gets HTTP 200 and the status in a header."""

    status: int
    body: str = ""
    grpc_status: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The proxy sends the caller elsewhere."""

    status: int
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What the endpoint sees where it differs from what was sent. A header with the value None is taken away."""

    host: str | None = None
    path: str | None = None
    headers: FrozenMap[str, str | None] = FrozenMap()

    def __bool__(self) -> bool:
        return self.host is not None or self.path is not None or bool(self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One of several clusters, and its part of the requests."""

    name: str
    weight: int
    endpoints: tuple[Target, ...] = ()
    rewritten: Rewritten | None = None
    response_headers: Mapping[str, Any] = FrozenMap()
    """What is done to the headers of its answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsEnded:
    """How TLS is ended."""

    certificates: tuple[str, ...]
    """Names of those that may be shown."""
    server_name: str = ""
    """Asked for by the caller."""
    client_certificate: str = ""
    """`required` or `optional`; empty where none is asked for."""
    protocol: str = ""
    """What ALPN agrees on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether the call is let in, and who says so."""

    by: str
    decision: str
    """`allow`, `deny`, or `ask`: an authorisation service decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What the proxies beside endpoints make of the request. Those that say the same stand together."""

    proxies: tuple[str, ...]
    allowed: Decision | None = None
    """None where no policy speaks of it: all may call."""
    closed: str | None = None
    """Why the connection is closed."""
    direct_response: Answer | None = None
    """What is answered instead of the workload."""
    unknown: str = ""
    """Why it cannot be told."""
    steps: tuple[Step, ...] = ()
    """As of the first proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The answer to "where does this request go, and why". What does not apply is None or empty, and absent in the JSON."""

    listener: str | None = None
    filter_chain: str | None = None
    tls: TlsEnded | None = None
    closed: str | None = None
    """Why the proxy closes the connection."""
    route_config: str | None = None
    virtual_host: str | None = None
    route: str | None = None
    cluster: str | None = None
    weighted_clusters: tuple[Share, ...] = ()
    endpoints: tuple[Target, ...] = ()
    direct_response: Answer | None = None
    redirect: Moved | None = None
    rewritten: Rewritten | None = None
    policies: Mapping[str, Any] = FrozenMap()
    allowed: Decision | None = None
    """None where no policy speaks of it: all may call."""
    arrivals: tuple[Arrival, ...] = ()
    """At the proxies beside the endpoints, as far as they were asked."""
    steps: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The stable JSON of `tulle explain -o json`."""
        return {name: plain(value) for name, value in _fields(self) if value not in (None, (), FrozenMap())}


_ALWAYS = frozenset({"by", "decision", "matched", "why", "rule", "status", "location", "body", "weight"})


def plain(value: Any) -> Any:
    """Values of this module as JSON has them, without what does not apply."""
    if is_dataclass(value):
        kept = ((k, v) for k, v in _fields(value) if k in _ALWAYS or v not in (None, (), "", FrozenMap()))
        return {k: plain(v) for k, v in kept}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


def _fields(value: Any) -> list[tuple[str, Any]]:
    return [(f.name, getattr(value, f.name)) for f in fields(value)]


def quote(text: str) -> str:
    return '"' + text + '"'


def place(source: Source | None) -> str:
    """`file:line` of a rule."""
    return str(source.origin) if source else ""


def rule(source: Source | None, name: str) -> str:
    """A rule's name for people: the document and field, else the name the mesh gave it."""
    return str(source) if source else name
