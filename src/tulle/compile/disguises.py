"""In how many ways a caller can write one and the same thing, as the programs behind proxies understand it.

The data plane resolves dot segments, takes `\\` for `/` and decodes what need not be encoded (RFC 3986, 6.2.2). It keeps repeated and
encoded slashes, parameters of segments, and the case of letters, and forwards them; many programs make nothing of those. So a rule that
refuses means every way of writing, and one that lets in means only the plain one.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator

from tulle.model.access import Attribute, Condition, Is
from tulle.model.routing import Compare, StringMatch

LONGEST = 2000
"""Characters. The pattern for anything longer might be bigger than the data plane takes."""
_ROOM, _OF_SLASH, _OF_PATH = 5000, 6, 10
"""How much goes into one pattern: a character counts as one, a slash and a path as so many more."""
MOST_DASHES = 4
"""Of a header with more only two ways of writing are known: all dashes, or all underscores."""

_PARAMETERS = r"(?:(?:;|%3b)[^/]*)?"
_SLASH = rf"(?:(?:/|\\|%2f|%5c){_PARAMETERS})"
_TEMPLATE = re.compile(r"(\{\*\*?\})")
_PIECES = {"{*}": "[^/]+", "{**}": ".*"}
_ESCAPE = re.compile("%[0-9A-Fa-f]{2}")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

_CLIMBS = StringMatch(
    compare=Compare.REGEX,
    value=rf"(?i).*(?:/|\\|%2f|%5c)(?:\.|%2e){{1,2}}{_PARAMETERS}(?:(?:/|\\|%2f|%5c).*)?",
    said="a path with an encoded /../",
)
CLIMBING: Condition = Is(attribute=Attribute.PATH, match=_CLIMBS)
"""A dot segment that is still there once the path was normalised: one behind slashes that were encoded."""


def refused_paths(values: Iterable[str]) -> Iterator[Condition]:
    """All that may be one of some paths of an AuthorizationPolicy, and every path that climbs out of where it seems to lie."""
    yield from map(_spelt, values)
    yield CLIMBING


def refused_targets(values: Iterable[str]) -> Iterator[StringMatch]:
    """The same, where the query comes with the path; beyond what fits into one pattern, as they stand."""
    room = _ROOM
    for value in values:
        room -= len(value) + _OF_SLASH * value.count("/") + _OF_PATH
        spelt = _spelt(value).match if room >= 0 else text(value)
        yield _with_query(spelt) if spelt else _regex(".*", "any path")
    yield CLIMBING_TARGET


def usual_paths(values: Iterable[str]) -> Iterator[Condition]:
    """Those of them that are not UNUSUAL, at least."""
    return (Is(attribute=Attribute.PATH, match=_plain_in_any_case(value)) for value in values)


def _plain_in_any_case(value: str) -> StringMatch | None:
    match = plain_path(value)
    if match is not None and match.compare is Compare.REGEX:
        return _regex(f"(?i){match.value}", match.said)
    return any_case(match)


def _spelt(value: str) -> Is:
    if value == "*" or len(value) > LONGEST:
        return Is(attribute=Attribute.PATH, match=plain_path(value))
    before, after = value.startswith("*"), value.endswith("*") and not value.startswith("*")
    body = value.removeprefix("*") if before else value.removesuffix("*") if after else value
    pattern = "".join(_PIECES.get(part) or _spelled(part) for part in _TEMPLATE.split(body))
    # Behind a prefix comes anything; else what counts for nothing at the end of a path.
    end = ".*" if after else f"{_PARAMETERS}{_SLASH}*"
    return Is(attribute=Attribute.PATH, match=_regex(f"(?i){'.*' if before else ''}{pattern}{end}", f"{value!r} in any spelling"))


def _with_query(path: StringMatch) -> StringMatch:
    """What a pattern leaves open ends where the query begins."""
    if path.compare is not Compare.REGEX:
        return path
    pattern = path.value.replace(".*", "[^?]*").replace("[^/]*", "[^/?]*")
    return _regex(rf"{pattern}(?:\?.*)?", path.said)


def plain_path(value: str) -> StringMatch | None:
    """A path of an AuthorizationPolicy as it stands."""
    if not _TEMPLATE.search(value):
        return text(value)
    return _regex("".join(_PIECES.get(part) or re.escape(part) for part in _TEMPLATE.split(value)), f"like {value!r}")


def leaves_room(value: str) -> bool:
    """Whether a path takes others that begin or end alike, in which something may hide; `/*` is every path, and meant to be."""
    return value not in ("*", "/*", "/{**}") and ("*" in value)


def _spelled(text_: str) -> str:
    """A part of a path: each slash may be several or encoded, and have parameters before it; what need not be encoded may be."""
    found, at = [], 0
    while at < len(text_):
        if escape := _ESCAPE.match(text_, at):
            found.append(escape[0])
            at = escape.end()
            continue
        found.append(_letter(text_[at], last=text_[at - 1 : at]))
        at += 1
    return "".join(found)


def _letter(char: str, *, last: str) -> str:
    if char == "/":
        return "" if last == "/" else f"{_PARAMETERS if last else ''}{_SLASH}+"
    if char in _UNRESERVED:
        return re.escape(char)
    encoded = "".join(f"%{byte:02x}" for byte in char.encode())
    return f"(?:{re.escape(char)}|{encoded})" if char.isascii() else encoded


def refused_host(value: str) -> StringMatch | None:
    """A host whatever stands around it: a port, a final dot, somebody's name, or a second Host header, which the data plane joins."""
    match = text(value)
    if match is None:
        return None
    name, colon, port = match.value.partition(":") if not match.value.startswith("[") else (match.value, "", "")
    start = ".*" if match.compare is Compare.SUFFIX else "(?:.*[,@])?"
    end = ".*" if match.compare is Compare.PREFIX else rf"\.?{colon + port if colon else '(?::[0-9]*)?'}(?:,.*)?"
    return _regex(f"(?i){start}{re.escape(name)}{end}", f"{value!r} in any spelling")


def allowed_host(value: str) -> StringMatch | None:
    """A host with any port and with or without a final dot, which reach the same server; a port in the rule is the only one meant."""
    match = text(value)
    if match is None or match.compare is Compare.PREFIX or re.search(r":\d+$", value):
        return match and StringMatch(compare=match.compare, value=match.value, ignore_case=True)
    start = ".*" if match.compare is Compare.SUFFIX else ""
    return _regex(rf"(?i){start}{re.escape(match.value)}\.?(:[0-9]+)?", f"{value!r} with any port")


def alike(header: str) -> tuple[str, ...]:
    """The names that programs take for a header's, as CGI and its heirs write `-` and `_` the same; its own comes first."""
    parts = header.split("-")
    if len(parts) - 1 > MOST_DASHES:
        return header, "_".join(parts)
    between = itertools.product("-_", repeat=len(parts) - 1)
    return tuple("".join(itertools.chain.from_iterable(zip(parts, (*marks, ""), strict=True))) for marks in between)


def any_case(match: StringMatch | None) -> StringMatch | None:
    return match and StringMatch(compare=match.compare, value=match.value, ignore_case=True)


def text(value: str) -> StringMatch | None:
    """`*` for whatever is there, `prefix*`, `*suffix`, or the text itself."""
    if value == "*":
        return None
    if value.startswith("*"):
        return StringMatch(compare=Compare.SUFFIX, value=value[1:])
    if value.endswith("*"):
        return StringMatch(compare=Compare.PREFIX, value=value[:-1])
    return StringMatch(compare=Compare.EXACT, value=value)


def _regex(pattern: str, said: str) -> StringMatch:
    return StringMatch(compare=Compare.REGEX, value=pattern, said=said)


CLIMBING_TARGET = _with_query(_CLIMBS)
"""CLIMBING, where the query comes with the path."""
