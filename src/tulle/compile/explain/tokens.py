"""What a request's tokens say, and whether they would be taken. Signatures and times are not looked at: those are taken to be good."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tulle.compile.explain.match import compare, parameters
from tulle.compile.explain.paths import split_query
from tulle.compile.explain.request import Seen
from tulle.compile.explain.trace import Answer, Step, place, quote
from tulle.model.frozen import FrozenMap
from tulle.model.tokens import Issuer, Tokens

_WORDS = ("scope", "permission")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the tokens of a request say together; `refused` where the proxy answers instead."""

    claims: FrozenMap[str, Any] = FrozenMap()
    steps: tuple[Step, ...] = ()
    refused: Answer | None = None


NOTHING = Shown()


def shown(asked: tuple[Tokens, ...], seen: Seen) -> Shown:
    """The claims of the tokens that a request shows."""
    issuers = next((t.issuers for t in asked if not t.hosts or any(compare(h, seen.authority) for h in t.hosts)), ())
    claims: dict[str, Any] = {}
    steps: list[Step] = []
    good = set[str]()
    bad: Answer | None = None
    for issuer in issuers:
        for token in _tokens(issuer, seen):
            said = _payload(token)
            why, status = _objection(issuer, said)
            if why:
                steps.append(_step(issuer, False, why))
                bad = Answer(status=status, body=why)
            else:
                claims = {**claims, **_split(said or {}, issuer)}
                good.add(issuer.name)
                steps.append(_step(issuer, True, "it takes the token, if its signature and times are good"))
        if issuer.required and issuer.name not in good and bad is None:
            bad = Answer(status=401, body="Jwt is missing")
            steps.append(_step(issuer, False, "it wants a token, and none is shown"))
    refused = bad if bad and (not good or any(i.required and i.name not in good for i in issuers)) else None
    return Shown(claims=FrozenMap(claims), steps=tuple(steps), refused=refused)


def _step(issuer: Issuer, matched: bool, why: str) -> Step:
    name = f"{issuer.source.key.kind}/{issuer.source.key.name}" if issuer.source else issuer.name
    return Step(rule=f"{name} {quote(issuer.issuer)}", source=place(issuer.source), matched=matched, why=why)


def _tokens(issuer: Issuer, seen: Seen) -> Iterator[str]:
    """In the places that the issuer names, else in the usual ones."""
    usual = not (issuer.headers or issuer.parameters or issuer.cookies)
    for name, prefix in (("authorization", "Bearer "),) if usual else issuer.headers:
        for value in seen.values(name.lower()):
            if prefix in value:
                yield value.partition(prefix)[2].strip()
    given = parameters(split_query(seen.path)[1])
    yield from (given[name] for name in (("access_token",) if usual else issuer.parameters) if name in given)
    cookies = [part.strip().partition("=") for value in seen.values("cookie") for part in value.split(";")]
    yield from (value for name, _, value in cookies if name in issuer.cookies)


def _payload(token: str) -> Mapping[str, Any] | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return said if isinstance(said, Mapping) else None


def _objection(issuer: Issuer, said: Mapping[str, Any] | None) -> tuple[str, int]:
    if said is None:
        return "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections", 401
    if said.get("iss") != issuer.issuer:
        return "Jwt issuer is not configured", 401
    if issuer.keys is None:
        return "Jwks doesn't have key to match kid or alg from Jwt", 401
    audience = said.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if issuer.audiences and not set(issuer.audiences) & {a for a in named if isinstance(a, str)}:
        return "Audiences in Jwt are not allowed", 403
    return "", 0


def _split(said: Mapping[str, Any], issuer: Issuer) -> dict[str, Any]:
    """Claims of several words count by word."""
    words = {*_WORDS, *issuer.split_claims}
    return {name: value.split(" ") if name in words and isinstance(value, str) else value for name, value in said.items()}
