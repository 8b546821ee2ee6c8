"""An explanation as text: every rule tried, then where the request goes and what is done to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

INDENT = "      "
_PLACES = ("listener", "filter_chain", "route_config", "virtual_host", "route")


def text(request: str, trace: Mapping[str, Any]) -> str:
    """`trace` is the JSON of an explanation. `+` marks rules that matched, `-` those that lost."""
    return "\n".join([request, "", "Tried:", *_steps(trace.get("steps", ())), "", "Result:", *_result(trace)])


def _steps(steps: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for step in steps:
        source = f"  ({step['source']})" if step.get("source") else ""
        yield f"  {'+' if step['matched'] else '-'} {step['rule']}{source}"
        yield f"{INDENT}{step['why']}"


def _result(trace: Mapping[str, Any]) -> Iterator[str]:
    for name in _PLACES:
        if name in trace:
            yield _line(name, trace[name])
    yield from _tls(trace.get("tls", {}))
    yield from _end(trace)
    yield from _rewritten(trace.get("rewritten", {}))
    for name, value in trace.get("policies", {}).items():
        yield _line(name, _plain(value))
    yield from _patches(trace)
    for arrival in trace.get("arrivals", ()):
        yield from _arrival(arrival)


def _arrival(arrival: Mapping[str, Any]) -> Iterator[str]:
    """What the proxies beside the endpoints say, and by whose word: the rule, with its place."""
    yield _line("arrives at", ", ".join(arrival["proxies"]))
    steps = arrival.get("steps", ())
    if why := arrival.get("unknown"):
        yield _line("", why)
    elif why := arrival.get("closed"):
        yield _line("", f"closed: {why}")
    elif decision := arrival.get("allowed"):
        word = {"allow": "let in", "deny": "refused"}.get(decision["decision"], "a service decides")
        by = decision["by"]
        source = next((s["source"] for s in steps if s["matched"] and s.get("source") and by.startswith(s["rule"])), "")
        yield _line("", f"{word}: {by}" + (f" ({source})" if source else ""))
    elif answer := arrival.get("direct_response"):
        yield _line("", f"answered {answer['status']} {answer.get('body', '')}".rstrip())
    else:
        yield _line("", "let in: no policy speaks of it")
    yield from _patches(arrival)


def _patches(holder: Mapping[str, Any]) -> Iterator[str]:
    """What users changed in the proxy's own words on the way of the request."""
    found = (s for s in holder.get("steps", ()) if s["matched"] and s["rule"].startswith("EnvoyFilter/"))
    return (_line("not counted", f"{s['rule']} ({s.get('source', '')}): {s['why']}") for s in found)


def _tls(ended: Mapping[str, Any]) -> Iterator[str]:
    if not ended:
        return
    yield _line("certificate", " or ".join(ended["certificates"]))
    if wanted := ended.get("client_certificate"):
        yield _line("caller's", f"certificate {wanted}")


def _end(trace: Mapping[str, Any]) -> Iterator[str]:
    """Where the request ends up: one of the clusters, or an answer of the proxy's own."""
    if why := trace.get("closed"):
        yield _line("closed", why)
    if answer := trace.get("direct_response"):
        code = f" (grpc-status {answer['grpc_status']})" if "grpc_status" in answer else ""
        yield _line("answered", f"{answer['status']}{code} {answer.get('body', '')}".rstrip())
    if redirect := trace.get("redirect"):
        yield _line("redirected", f"{redirect['status']} to {redirect['location']}")
    if "cluster" in trace:
        yield _line("cluster", trace["cluster"])
        yield _line("endpoints", _endpoints(trace))
    yield from _shares(trace.get("weighted_clusters", ()))


def _shares(shares: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    shares = list(shares)
    total = sum(share["weight"] for share in shares) or 1
    for share in shares:
        yield _line("cluster", f"{share['name']}: {100 * share['weight'] / total:.3g} %")
        yield _line("", _endpoints(share))
        yield from _rewritten(share.get("rewritten", {}))
        if answers := share.get("response_headers"):
            yield _line("response headers", _plain(answers))


def _endpoints(holder: Mapping[str, Any]) -> str:
    found = holder.get("endpoints", ())
    names = [" ".join(part for part in (e["address"], e.get("workload", ""), _place(e)) if part) for e in found]
    return ", ".join(names) or "none known here"


def _place(endpoint: Mapping[str, Any]) -> str:
    if "priority" not in endpoint:
        return ""
    return f"({', '.join(part for part in (endpoint.get('locality', ''), 'priority ' + str(endpoint['priority'])) if part)})"


def _rewritten(change: Mapping[str, Any]) -> Iterator[str]:
    for name in ("host", "path"):
        if name in change:
            yield _line(f"new {name}", change[name])
    for name, value in change.get("headers", {}).items():
        yield _line("header", f"{name} is taken away" if value is None else f"{name}: {value}")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)


def _line(name: str, value: object) -> str:
    return f"  {name.replace('_', ' '):<17} {value}"
