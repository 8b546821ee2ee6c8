"""service-router: where the requests for a service go, by path, header, parameter and method."""

from __future__ import annotations

from collections.abc import Iterable

from tulle.resources.consul.common import Entry, HttpHeaderModifiers, HttpParts, Only, ServiceName
from tulle.resources.names import Label
from tulle.resources.networking.http_actions import RETRY_POLICIES
from tulle.resources.scalars import AnyDuration, Flag, Regex, Status, Text, UInt
from tulle.resources.spec import Problem, Spec, shown


class QueryMatch(Spec):
    one_of = (("present", "exact", "regex"),)

    name: Text
    present: Flag | None = None
    exact: Text | None = None
    regex: Regex | None = None


class HttpMatch(HttpParts):
    case_insensitive: Flag = False
    query_param: tuple[QueryMatch, ...] = ()


class Match(Spec):
    http: HttpMatch | None = None


class Destination(Spec):
    """Where the requests go, and what is done to them."""

    service: ServiceName | None = None
    """The router's own, where none is named."""
    service_subset: Label | None = None
    namespace: Only | None = None
    partition: Only | None = None
    prefix_rewrite: Text | None = None
    request_timeout: AnyDuration | None = None
    idle_timeout: AnyDuration | None = None
    num_retries: UInt | None = None
    retry_on_connect_failure: Flag = False
    retry_on: tuple[Text, ...] = ()
    retry_on_status_codes: tuple[Status, ...] = ()
    request_headers: HttpHeaderModifiers | None = None
    response_headers: HttpHeaderModifiers | None = None

    def check(self) -> Iterable[Problem]:
        for index, word in enumerate(self.retry_on):
            if word not in RETRY_POLICIES:
                yield ("retry_on", index), f"must be one of {', '.join(sorted(RETRY_POLICIES))}, not {shown(word)}"


class Route(Spec):
    match: Match | None = None
    destination: Destination | None = None

    def check(self) -> Iterable[Problem]:
        http = self.match.http if self.match else None
        if self.destination and self.destination.prefix_rewrite and not (http and (http.path_prefix or http.path_exact)):
            yield ("destination", "prefix_rewrite"), "needs a match on pathPrefix or pathExact"


class ServiceRouter(Entry):
    """Requests that no route is for go to the service itself."""

    routes: tuple[Route, ...] = ()
