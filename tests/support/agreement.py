"""Whether what a real proxy did with a request is what was explained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from support.raw_http import Response
from tulle.compile.explain.request import joined
from tulle.compile.explain.trace import Rewritten, Share, Trace

UNSTABLE = ("host", "x-request-id", "x-envoy-", "x-forwarded-for", "x-forwarded-proto", "connection", "upgrade", "te", "expect")
"""Headers that the proxy writes by itself."""
ABORTED = "fault filter abort"


@dataclass
class Sent:
    """A request as it goes over the wire."""

    method: str
    target: str
    headers: list[tuple[str, str]]


def difference(response: Response, sent: Sent, trace: Trace, ports: Mapping[str, int]) -> str | None:
    """What differs between the answer of the real proxy and the explanation; None where they agree. `ports` are the upstreams'."""
    return _outcome(response, sent, trace, ports) or _answer_headers(response, trace)


def kind(trace: Trace) -> str:
    if trace.direct_response:
        return f"answer {trace.direct_response.status}"
    return "redirect" if trace.redirect else "weighted" if trace.weighted_clusters else "cluster"


def _outcome(response: Response, sent: Sent, trace: Trace, ports: Mapping[str, int]) -> str | None:
    if trace.redirect:
        seen, wanted = (response.status, response.get("location") or ""), (trace.redirect.status, trace.redirect.location)
        return None if seen == wanted else f"redirect {seen}, explained as {wanted}"
    if trace.direct_response:
        return _answered(response, sent, trace)
    if (name := response.get("x-cluster")) is None:
        return _unanswered(response, trace)
    address = f"127.0.0.1:{ports[name]}"
    shares = [share for share in _shares(trace) if address in {target.address for target in share.endpoints}]
    if not shares:
        return f"answered by {name} ({address}), explained as {[s.name for s in _shares(trace)]}"
    if (saw := response.get("x-saw")) is None or sent.method == "CONNECT":
        return None
    found = [_rewritten(json.loads(saw), sent, share.rewritten or Rewritten()) for share in shares]
    return None if None in found else found[0]


def _shares(trace: Trace) -> tuple[Share, ...]:
    alone = Share(name=trace.cluster or "", weight=1, endpoints=trace.endpoints, rewritten=trace.rewritten)
    return trace.weighted_clusters or (alone,)


def _unanswered(response: Response, trace: Trace) -> str | None:
    """No endpoint: 503, for gRPC callers the code UNAVAILABLE."""
    unavailable = response.status == 503 or response.get("grpc-status") == "14"
    if unavailable and not all(share.endpoints for share in _shares(trace)):
        return None
    return f"answered {response.status} by the proxy, explained as {[s.name for s in _shares(trace)]}"


def _answered(response: Response, sent: Sent, trace: Trace) -> str | None:
    wanted = trace.direct_response
    assert wanted
    code = None if wanted.grpc_status is None else str(wanted.grpc_status)
    body = response.body.decode() if code is None else response.get("grpc-message") or ""
    seen = (response.status, response.get("grpc-status"), body, response.get("x-cluster"))
    expected = (wanted.status, code, "" if sent.method == "HEAD" else wanted.body, None)
    return None if seen == expected else f"answered {seen}, explained as {expected}"


def _rewritten(upstream: dict, sent: Sent, change: Rewritten) -> str | None:
    if change.host is not None and upstream["host"] != change.host:
        return f"host {upstream['host']}, explained as {change.host}"
    if change.path is not None and upstream["path"] != change.path:
        return f"path {upstream['path']}, explained as {change.path}"
    found = joined(tuple((name, value) for name, value in upstream["headers"]))
    expected: dict[str, str | None] = {**joined(tuple((name.lower(), value) for name, value in sent.headers)), **change.headers}
    for name, value in expected.items():
        if not name.startswith(UNSTABLE) and found.get(name) != value:
            return f"header {name} is {found.get(name)!r}, explained as {value!r}"
    return None


def _answer_headers(response: Response, trace: Trace) -> str | None:
    """What the headers of the answer lack of what the route sets and adds. Aborts, preflights and tunnels have none of it."""
    aborted = response.body == ABORTED.encode() or response.get("grpc-message") == ABORTED or trace.policies.get("fault", {}).get("abort")
    preflight = trace.direct_response and "cors" in trace.policies
    if not trace.route or response.status == 101 or aborted or preflight:
        return None
    ops = trace.policies.get("response_headers", {})
    for name, value in (*ops.get("set", {}).items(), *ops.get("add", ())):
        if value.replace("%%", "%") not in (response.get(name) or ""):
            return f"answer header {name} is {response.get(name)!r}, explained with {value!r}"
    return None
