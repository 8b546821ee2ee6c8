"""Conditions of a VirtualService's HTTP rule, in the words of routes (BEHAVIOURS 4)."""

from __future__ import annotations

from collections.abc import Mapping

from tulle.model.routing import ClaimMatch, Compare, HeaderMatch, QueryMatch, RouteMatch, StringMatch
from tulle.resources.networking import common
from tulle.resources.networking.virtual_service import HttpMatch

ANY = RouteMatch()
CLAIMS = "@request.auth.claims"
_ALL_PATHS = frozenset({".*", "/.*", "*"})


def route_match(spec: HttpMatch) -> RouteMatch:
    """What of the request must hold. Conditions on the proxy (gateways, source labels, port) are not part of it."""
    pseudo = ((":authority", spec.authority), (":method", spec.method), (":scheme", spec.scheme))
    return RouteMatch(
        path=_path(spec.uri, spec.ignore_uri_case),
        headers=(
            *(HeaderMatch(name=name, match=text(wanted)) for name, wanted in pseudo if wanted is not None),
            *_headers(spec.headers, invert=False),
            *_headers(spec.without_headers, invert=True),
        ),
        claims=(*_claims(spec.headers, invert=False), *_claims(spec.without_headers, invert=True)),
        query=tuple(QueryMatch(name=name, match=text(wanted)) for name, wanted in sorted(spec.query_params.items())),
    )


def claim_in(spec: HttpMatch) -> str:
    """The first claim of a token that a match looks at; empty where it looks at none."""
    return next((name for name in (*spec.headers, *spec.without_headers) if name.startswith(CLAIMS)), "")


def text(spec: common.StringMatch | common.PresenceMatch) -> StringMatch | None:
    """None asks for presence only."""
    if spec.exact:
        return StringMatch(compare=Compare.EXACT, value=spec.exact)
    if spec.prefix:
        return StringMatch(compare=Compare.PREFIX, value=spec.prefix)
    if spec.regex and spec.regex != "*":
        return StringMatch(compare=Compare.REGEX, value=spec.regex)
    return None


def _headers(wanted: Mapping[str, common.PresenceMatch], *, invert: bool) -> tuple[HeaderMatch, ...]:
    found = [(name, spec) for name, spec in sorted(wanted.items()) if not name.startswith(CLAIMS)]
    return tuple(HeaderMatch(name=name.lower(), match=text(spec), invert=invert) for name, spec in found)


def _claims(wanted: Mapping[str, common.PresenceMatch], *, invert: bool) -> tuple[ClaimMatch, ...]:
    """`@request.auth.claims.a.b`, or with brackets where the name of a claim has dots: `@request.auth.claims[a][b]`."""
    found = [(name.removeprefix(CLAIMS), spec) for name, spec in sorted(wanted.items()) if name.startswith(CLAIMS)]
    return tuple(ClaimMatch(path=_claim_path(name), match=text(spec), invert=invert) for name, spec in found)


def _claim_path(written: str) -> tuple[str, ...]:
    if written.startswith("["):
        return tuple(written.removeprefix("[").removesuffix("]").split("]["))
    return tuple(written.removeprefix(".").split("."))


def _path(spec: common.StringMatch | None, ignore_case: bool) -> StringMatch | None:
    """None takes every path, and so do the prefix `/` and the regexes that match all."""
    if spec is None or spec.prefix == "/" or spec.regex in _ALL_PATHS:
        return None
    if spec.exact is not None:
        return StringMatch(compare=Compare.EXACT, value=spec.exact, ignore_case=ignore_case)
    if spec.prefix is not None:
        return StringMatch(compare=Compare.PREFIX, value=spec.prefix, ignore_case=ignore_case) if spec.prefix else None
    return StringMatch(compare=Compare.REGEX, value=spec.regex or "")
