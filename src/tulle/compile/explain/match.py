"""Whether a route takes a request, in words: each condition of a match, what it wanted and what it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from tulle.compile.explain.paths import split_query
from tulle.compile.explain.request import Seen
from tulle.compile.explain.trace import quote
from tulle.model.routing import ClaimMatch, Compare, Forward, HeaderMatch, QueryMatch, Route, StringMatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One condition: whether it holds, in a phrase that says why."""

    holds: bool
    why: str


_NEVER: Any = None


@lru_cache(maxsize=4096)
def pattern(text: str) -> Any:
    """The compiled RE2 pattern; None for a text that is no pattern, which matches nothing."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error:
        return _NEVER


def compare(match: StringMatch, value: str) -> bool:
    """Whether a value is what `match` asks for. Case is ignored for ASCII letters only, as the data plane does."""
    if match.compare is Compare.REGEX:
        compiled = pattern(match.value)
        return compiled is not None and compiled.fullmatch(value) is not None
    wanted, value = (_lower(match.value), _lower(value)) if match.ignore_case else (match.value, value)
    if match.compare is Compare.EXACT:
        return value == wanted
    if match.compare is Compare.SUFFIX:
        return value.endswith(wanted)
    if match.compare is Compare.PREFIX:
        return value.startswith(wanted)
    if match.compare is Compare.CONTAINS:
        return wanted in value
    wanted = wanted.rstrip("/")
    return value.startswith(wanted) and value[len(wanted) : len(wanted) + 1] in ("", "/")


def _lower(text: str) -> str:
    return "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)


def parameters(query: str) -> dict[str, str]:
    """Query parameters as matchers see them: the first value of each name, nothing decoded."""
    found: dict[str, str] = {}
    for part in query.removeprefix("?").split("&") if query else ():
        name, _, value = part.partition("=")
        found.setdefault(name, value)
    return found


def verdicts(route: Route, seen: Seen) -> Iterator[Verdict]:
    """Every condition of a route, in the order path, headers, query. A route without conditions has one verdict: it takes every request."""
    tunnel = isinstance(route.action, Forward) and route.action.connect
    if tunnel or seen.method == "CONNECT":
        yield _tunnel(tunnel, seen)
    elif route.match.path:
        yield _path(route.match.path, split_query(seen.path)[0])
    for header in route.match.headers:
        verdict = _header(header, seen)
        said_already = tunnel and header.name == ":method" and verdict.holds == (seen.method == "CONNECT")
        if not said_already:
            yield verdict
    given = parameters(split_query(seen.path)[1])
    for query in route.match.query:
        yield _parameter(query, given)
    for claim in route.match.claims:
        yield _claim(claim, seen)
    if route.match.catches_all and not tunnel and seen.method != "CONNECT":
        yield Verdict(holds=True, why="it takes every request")


def _tunnel(tunnel: bool, seen: Seen) -> Verdict:
    if tunnel:
        return Verdict(holds=seen.method == "CONNECT", why=f"method is {quote(seen.method)}, CONNECT wanted")
    return Verdict(holds=False, why="it is not for CONNECT, which has no path")


def _path(match: StringMatch, path: str) -> Verdict:
    holds = compare(match, path)
    return Verdict(holds=holds, why=f"path {quote(path)} {_relation(match, holds)}")


_RELATIONS = {
    Compare.EXACT: ("is", "is not"),
    Compare.PREFIX: ("starts with", "does not start with"),
    Compare.SUFFIX: ("ends with", "does not end with"),
    Compare.REGEX: ("matches", "does not match"),
    Compare.PATH_PREFIX: ("lies under", "does not lie under"),
}


def _relation(match: StringMatch, holds: bool) -> str:
    return f"{_RELATIONS[match.compare][not holds]} {quote(match.value)}" + (" in any case of letters" if match.ignore_case else "")


def _wanted(match: StringMatch) -> str:
    return f"{match.compare.value} {quote(match.value)}" + (" in any case of letters" if match.ignore_case else "")


def _name(name: str) -> str:
    return {":method": "method", ":authority": "host", ":scheme": "scheme", ":path": "path and query"}.get(name, f"header {name}")


def _header(match: HeaderMatch, seen: Seen) -> Verdict:
    """A header given several times fits when one of its values does. Inverted, a missing header counts as an empty one."""
    name = match.name.lower()
    values = seen.values(name)
    if match.match is None:
        there = bool(values)
        return Verdict(holds=there != match.invert, why=f"{_name(name)} is {'present' if there else 'absent'}{_ask(there, match.invert)}")
    if not values and not match.invert:
        return Verdict(holds=False, why=f"{_name(name)} is absent, {_wanted(match.match)} wanted")
    fits = any(compare(match.match, value) for value in values or ("",))
    found = " and ".join(map(quote, values)) if values else "absent"
    holds = fits != match.invert
    says = "not wanted" if match.invert and not holds else "excluded" if match.invert else "wanted"
    return Verdict(holds=holds, why=f"{_name(name)} is {found}, {_wanted(match.match)} {says}")


def _ask(there: bool, invert: bool) -> str:
    if there != invert:
        return ""
    return ", it must be absent" if invert else ", any value wanted"


def texts(claims: Any, path: Sequence[str]) -> Iterator[str]:
    """The text at a path of a token's claims, or the texts of the list there."""
    for key in path:
        claims = claims.get(key) if isinstance(claims, Mapping) else None
    for value in claims if isinstance(claims, list | tuple) else (claims,):
        if isinstance(value, str):
            yield value


def _claim(match: ClaimMatch, seen: Seen) -> Verdict:
    values = tuple(texts(seen.claims, match.path))
    fits = any(match.match is None or compare(match.match, value) for value in values)
    found = " and ".join(map(quote, values)) if values else "absent"
    wanted = _wanted(match.match) if match.match else "any value"
    says = "excluded" if match.invert else "wanted"
    return Verdict(holds=fits != match.invert, why=f"claim {'.'.join(match.path)} is {found}, {wanted} {says}")


def _parameter(match: QueryMatch, given: dict[str, str]) -> Verdict:
    value = given.get(match.name)
    if value is None:
        wanted = _wanted(match.match) if match.match else "any value"
        return Verdict(holds=False, why=f"query parameter {match.name} is absent, {wanted} wanted")
    if match.match is None:
        return Verdict(holds=True, why=f"query parameter {match.name} is present")
    return Verdict(holds=compare(match.match, value), why=f"query parameter {match.name} is {quote(value)}, {_wanted(match.match)} wanted")
