"""RateLimit: what is read, and what is said of mistakes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from support.reading import spec_of, warned, wrong
from tulle.resources.security.rate_limit import FailureMode, Scope, Unit

V1 = "tulle.dev/v1"


def test_all_fields() -> None:
    spec = spec_of(
        "RateLimit",
        """
targetRefs: [{kind: Service, name: shop}]
scope: global
failureMode: closed
timeout: 1.5s
headers: false
limits:
- requests: 10
  per: month
  burst: 20
  by: [remote.ip, source.principal, request.method, request.path, "request.headers[X-Key]", "request.auth.claims[a][b]"]
  match: {methods: [GET], notMethods: [PUT*], paths: [/a*], notPaths: ["*.css"], hosts: ["*"], not_hosts: [b]}
- {requests: 1, per: second}
""",
        api_version=V1,
    )
    assert (spec.scope, spec.failure_mode, spec.timeout, spec.headers) == (Scope.GLOBAL, FailureMode.CLOSED, timedelta(seconds=1.5), False)
    first, second = spec.limits
    assert (first.requests, first.per, first.burst, len(first.by), first.match.not_hosts) == (10, Unit.MONTH, 20, 6, ("b",))
    assert (second.per, second.burst, second.by, second.match) == (Unit.SECOND, None, (), None)


LIMIT = "limits: [{{requests: 1, per: day, {}}}]"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("limits: []", "spec.limits: must have at least one item"),
        ("scope: local", "spec.limits: required"),
        ("timeout: 0s\nlimits: [{requests: 1, per: day}]", "spec.timeout: must be at least 1ms, not '0s'"),
        ("limits: [{requests: 0, per: day}]", "spec.limits[0].requests: must be between 1 and 4294967295, not 0"),
        ("limits: [{requests: 1, per: week}]", "spec.limits[0].per: must be one of second, minute, hour, day, month, not 'week'"),
        (LIMIT.format("burst: 0"), "spec.limits[0].burst: must be between 1 and 4294967295, not 0"),
        (LIMIT.format("by: [remote.ip, remote.ip]"), "spec.limits[0].by[1]: 'remote.ip' is given twice"),
        (LIMIT.format("by: [source.ip]"), "spec.limits[0].by[0]: must be one of remote.ip, source.principal"),
        (LIMIT.format("by: ['request.headers[a b]']"), "spec.limits[0].by[0]: must be a header name, not 'a b'"),
        (LIMIT.format("by: ['request.headers[a%b]']"), "spec.limits[0].by[0]: must name a header without %"),
        (LIMIT.format("match: {}"), "spec.limits[0].match: must say something; leave it out for all requests"),
        (LIMIT.format("match: {paths: [/a*b]}"), "spec.limits[0].match.paths[0]: must be text with * at one end at most, not '/a*b'"),
        (LIMIT.format("match: {paths: ['*a*']}"), "spec.limits[0].match.paths[0]: must be text with * at one end at most, not '*a*'"),
        (LIMIT.format("match: {path: [/a]}"), 'spec.limits[0].match.path: unknown field "path"; did you mean "paths"?'),
        ("scope: everywhere\nlimits: [{requests: 1, per: day}]", "spec.scope: must be one of local, global, not 'everywhere'"),
    ],
)
def test_mistakes(written: str, said: str) -> None:
    assert any(said in line for line in map(str, wrong("RateLimit", written, api_version=V1))), wrong("RateLimit", written, api_version=V1)


def test_nobody_is_asked_by_a_local_limit() -> None:
    local = "failureMode: closed\nlimits: [{requests: 1, per: day}]"
    assert "has no effect where the scope is local" in str(warned("RateLimit", local, api_version=V1))
    assert not warned("RateLimit", f"scope: global\n{local}", api_version=V1)
