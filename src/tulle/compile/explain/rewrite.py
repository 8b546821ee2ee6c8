"""What is done to a request on its way: headers, host and path, and where a redirect points.

A single destination's headers follow the route's; one of several destinations has its own first, then come the route's.
"""

from __future__ import annotations

from typing import Any

from tulle.compile.explain.match import pattern
from tulle.compile.explain.paths import split_query
from tulle.compile.explain.request import Headers, Seen, joined
from tulle.compile.explain.trace import Rewritten
from tulle.model.frozen import FrozenMap
from tulle.model.routing import NO_OPS, Compare, Forward, HeaderOps, Redirect, Route, RouteMatch, WeightedCluster


def rewritten(seen: Seen, route: Route, action: Forward, cluster: WeightedCluster | None) -> Rewritten:
    """How what the endpoint sees differs from what was sent."""
    host = action.host_rewrite or (cluster.host_rewrite if cluster else None)
    path = new_path(seen.path, route.match, prefix=action.prefix_rewrite, regex=action.regex_rewrite)
    headers = apply_ops(seen.headers, *_operations(route, action, cluster))
    return Rewritten(
        host=host if host and host != seen.authority else None,
        path=path if path != seen.path and not action.connect else None,
        headers=_changes(seen.headers, headers),
    )


def _operations(route: Route, action: Forward, cluster: WeightedCluster | None) -> tuple[HeaderOps, ...]:
    own = cluster.request_headers if cluster else NO_OPS
    return (own, route.request_headers) if len(action.clusters) > 1 else (join(route.request_headers, own),)


def join(first: HeaderOps, then: HeaderOps) -> HeaderOps:
    """Both sets of operations in one."""
    return HeaderOps(remove=first.remove + then.remove, set=first.set + then.set, add=first.add + then.add)


def apply_ops(headers: Headers, *each: HeaderOps) -> Headers:
    """Headers after each set of operations: remove, then set, then add."""
    now = list(headers)
    for ops in each:
        gone = {name.lower() for name in ops.remove}
        now = [h for h in now if h[0] not in gone]
        for name, value in ops.set:
            now = [*(h for h in now if h[0] != name.lower()), (name.lower(), _literal(value))]
        now += [(name.lower(), _literal(value)) for name, value in ops.add]
    return tuple(now)


def _literal(value: str) -> str:
    """Two percent signs stand for one. Commands (`%REQ(x)%`) are shown as they are: what they yield is known when the request is there."""
    return value.replace("%%", "%")


def _changes(before: Headers, after: Headers) -> FrozenMap[str, str | None]:
    old, new = joined(before), joined(after)
    names = [*new, *(name for name in old if name not in new)]
    return FrozenMap({name: new.get(name) for name in names if old.get(name) != new.get(name)})


def new_path(path: str, match: RouteMatch, *, prefix: str | None, regex: tuple[str, str] | None) -> str:
    """The path after the rewrite of a route. A prefix rewrite replaces what matched: the whole path for exact and regex matches."""
    bare, query = split_query(path)
    if regex:
        return (substitute(regex[0], regex[1], bare) or bare) + query
    if prefix:
        return prefix + bare[_matched(match, bare) :] + query
    return path


def _matched(match: RouteMatch, path: str) -> int:
    if match.path is None:
        return 1
    if match.path.compare is Compare.PATH_PREFIX:
        return len(match.path.value.rstrip("/")) or 1
    return len(match.path.value) if match.path.compare is Compare.PREFIX else len(path)


def substitute(regex: str, replacement: str, text: str) -> str:
    """RE2's global replacement: every match from left to right, an empty one not directly after another match."""
    compiled = pattern(regex)
    if compiled is None:
        return text
    out, at, last = [], 0, -1
    while at <= len(text):
        found = compiled.search(text, at)
        if not found:
            break
        start, end = found.span()
        out.append(text[at:start])
        if start == end == last:
            out.append(text[start : start + 1])
            at = start + 1
            continue
        out.append(_expand(replacement, found))
        at = last = end
    return "".join(out) + text[at:]


def _expand(replacement: str, found: Any) -> str:
    out, escaped = [], False
    for char in replacement:
        if escaped:
            number = int(char) if char in "0123456789" else -1
            out.append(char if number < 0 else found.group(number) or "" if number <= len(found.groups()) else "")
        elif char != "\\":
            out.append(char)
        escaped = char == "\\" and not escaped
    return "".join(out)


def location(seen: Seen, match: RouteMatch, redirect: Redirect) -> str:
    """Where a redirect points."""
    scheme = redirect.scheme or seen.scheme
    port = f":{redirect.port}" if redirect.port else ""
    host = redirect.host or _kept_host(seen, scheme, port)
    path = new_path(seen.path, match, prefix=redirect.prefix_rewrite, regex=redirect.regex_rewrite)
    if redirect.path:
        path = redirect.path if "?" in redirect.path else redirect.path + split_query(seen.path)[1]
    if redirect.strip_query and "?" not in (redirect.path or ""):
        path = split_query(path)[0]
    return f"{scheme}://{host}{port}{path if path.startswith('/') else '/' + path}"


def _kept_host(seen: Seen, scheme: str, port: str) -> str:
    """The request's host; its port goes when the redirect names one, or when it is the old scheme's own and the scheme changes."""
    colon = seen.authority.rfind("]:" if seen.authority.startswith("[") else ":")
    if colon < 0:
        return seen.authority
    colon += seen.authority.startswith("[")
    default = {"http": ":80", "https": ":443"}.get(seen.forwarded_proto)
    drop = bool(port) or (scheme != seen.forwarded_proto and seen.authority[colon:] == default)
    return seen.authority[:colon] if drop else seen.authority


def tls_location(seen: Seen) -> str:
    """Where a virtual host that wants TLS sends plain requests. CONNECT has no path to be sent to."""
    return "" if seen.method == "CONNECT" else f"https://{seen.authority}{seen.path}"
