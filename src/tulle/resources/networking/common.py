"""Parts that several kinds share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Self

from pydantic import AfterValidator

from tulle.resources.names import DestinationHost, Label, LabelMap
from tulle.resources.scalars import NO_TEXTS, Port, Regex, Text, UInt, check_regex, text_that
from tulle.resources.spec import Problem, Spec, shown

_MATCHES = ("exact", "prefix", "regex")


class StringMatch(Spec):
    """Exactly one of the three is set; `regex` is RE2 and matches the whole text."""

    one_of = (_MATCHES,)

    exact: Text | None = None
    prefix: Text | None = None
    regex: Regex | None = None

    def check(self) -> Iterable[Problem]:
        for name in ("prefix", "regex"):
            if getattr(self, name) == "":
                yield (name,), "must not be empty"


def _regex_or_star(value: str) -> str:
    return value if value == "*" else check_regex(value)


class PresenceMatch(Spec):
    """As StringMatch, but none of the three asks for mere presence. An empty value and the regex `*` are read as none."""

    at_most_one_of = (_MATCHES,)

    exact: Text | None = None
    prefix: Text | None = None
    regex: Annotated[Text, AfterValidator(_regex_or_star)] | None = None

    @property
    def is_presence(self) -> bool:
        return self.exact is None and self.prefix is None and self.regex is None

    def settled(self) -> Self:
        if "" in (self.exact, self.prefix) or self.regex == "*":
            return self.model_copy(update=dict.fromkeys(_MATCHES))
        return self


class PortSelector(Spec):
    number: Port


class Destination(Spec):
    """A service as a rule names it. Short names resolve in the rule's namespace."""

    host: DestinationHost
    subset: Label | None = None
    port: PortSelector | None = None


class WorkloadSelector(Spec):
    """The workloads of the namespace whose labels include all of these."""

    labels: LabelMap = NO_TEXTS

    def check(self) -> Iterable[Problem]:
        return no_wildcards("labels", self.labels)


def no_wildcards(field: str, labels: Mapping[str, str]) -> Iterable[Problem]:
    return [((field, key), "wildcards are not supported in a selector") for key, value in labels.items() if "*" in key + value]


HTTP_PROTOCOLS = ("HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB")
PROTOCOLS = frozenset({"HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "UDP", "MONGO", "REDIS", "MYSQL"})
"""What Istio knows, in capitals; case does not matter."""


def _check_protocol(value: str) -> str | None:
    return None if value.upper() in PROTOCOLS else f"must be one of {', '.join(sorted(PROTOCOLS))}, not {shown(value)}"


Protocol = Annotated[str, text_that(_check_protocol)]


def repeated(field: str, values: Iterable[str]) -> Iterator[Problem]:
    """Complains of every value that stands earlier in the same list."""
    seen: set[str] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield (field, index), f"{shown(value)} is given twice"
        seen.add(value)


def taken(field: str, attribute: str, values: Iterable[object]) -> Iterator[Problem]:
    """Complains of every item of a list whose name or number an earlier item has."""
    seen: set[object] = set()
    for index, value in enumerate(values):
        if value in seen:
            yield (field, index, attribute), f"{shown(value)} is taken by an earlier item"
        if value is not None:
            seen.add(value)


def export_problems(targets: Sequence[str], *, hidden_allowed: bool = False) -> Iterator[Problem]:
    """`~` (no one) is for services only, and nothing stands beside `*` or `~`."""
    yield from repeated("export_to", targets)
    for index, target in enumerate(targets):
        if target == "~" and not hidden_allowed:
            yield ("export_to", index), '"~" is for ServiceEntry only'
        elif target in ("*", "~") and len(set(targets)) > 1:
            yield ("export_to", index), f'"{target}" must stand alone'


class ServerPort(Spec):
    """A port that something listens on (Istio's `Port` of Gateway and Sidecar)."""

    number: Port
    protocol: Protocol
    name: Text
    target_port: UInt | None = None
    """Without effect in Istio, too."""
