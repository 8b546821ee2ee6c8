"""JSON Web Tokens: Envoy's jwt_authn filter."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from tulle.model.tokens import Issuer, Tokens
from tulle.protos import any_, pb
from tulle.translate import look_alikes, queries, sparing
from tulle.translate.claims import JWT, PAYLOAD
from tulle.translate.values import Fields, string_matcher

_USUAL: Any = {"headers": (("Authorization", "Bearer "),), "parameters": ("access_token",)}
_P = 2**256 - 2**224 + 2**192 + 2**96 - 1
_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
"""Of the curve P-256 (FIPS 186-5): y^2 = x^3 - 3x + b."""


@functools.cache
def nobodys_keys() -> str:
    """A set of keys with which no token is good: a point of a curve, found by its first coordinate, whose secret nobody knows."""
    x = int.from_bytes(hashlib.sha256(b"keys of nobody").digest()) % _P
    while pow(y := pow((x**3 - 3 * x + _B) % _P, (_P + 1) // 4, _P), 2, _P) != (x**3 - 3 * x + _B) % _P:
        x += 1
    point = {name: base64.urlsafe_b64encode(n.to_bytes(32)).rstrip(b"=").decode() for name, n in (("x", x), ("y", y))}
    return json.dumps({"keys": [{"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "nobody", **point}]})


def http_filters(asked: Iterable[Tokens], *, edge: bool) -> list[Fields]:
    """Where claims may lead to other routes, at the edge, the route is chosen anew once they are known."""
    every = tuple(map(_in_places, asked))
    issuers = {issuer.name: issuer for tokens in every for issuer in tokens.issuers}
    if not issuers:
        return []
    kept = frozenset(name for issuer in issuers.values() if issuer.forward for name in issuer.parameters)
    told = {header for issuer in issuers.values() for header in (issuer.payload_header, *(name for name, _ in issuer.claim_headers))}
    made = pb.JwtAuthentication(
        providers={name: _provider(issuer, kept, edge=edge) for name, issuer in issuers.items()},
        rules=[rule for tokens in every for rule in _rules(tokens)],
        bypass_cors_preflight=True,
    )
    mutations = look_alikes.removals(told)
    filter_: Fields = {"name": "tulle.look_alikes", "typed_config": any_(pb.HeaderMutation(mutations={"request_mutations": mutations}))}
    return [*([filter_] if mutations else []), *_moving(every, kept), {"name": JWT, "typed_config": any_(made)}]


def _in_places(of: Tokens) -> Tokens:
    """The usual places stand for none."""
    return replace(of, issuers=tuple(i if i.headers or i.parameters or i.cookies else replace(i, **_USUAL) for i in of.issuers))


def _moving(every: Iterable[Tokens], kept: frozenset[str]) -> Iterator[Fields]:
    """What takes tokens out of queries that are not to be sent on with them."""
    for number, tokens in enumerate(every):
        if moved := frozenset(name for issuer in tokens.issuers for name in issuer.parameters) - kept:
            others = [sparing.others(tokens.hosts)] if tokens.hosts else []
            yield sparing.sparing(queries.moving(moved), f"tulle.query.{number}", others) if others else queries.moving(moved)


def _provider(of: Issuer, kept: frozenset[str], *, edge: bool) -> Fields:
    """`kept`: parameters that stay in queries."""
    moved = [queries.header(name) for name in of.parameters if name not in kept]
    fields: Fields = {
        "issuer": of.issuer,
        "audiences": list(of.audiences),
        "local_jwks": {"inline_string": nobodys_keys() if of.keys is None else of.keys},
        "forward": of.forward,
        "forward_payload_header": of.payload_header,
        "payload_in_metadata": PAYLOAD,
        "from_headers": [{"name": name, "value_prefix": prefix} for name, prefix in (*of.headers, *((name, "") for name in moved))],
        "from_params": [name for name in of.parameters if name in kept],
        "from_cookies": list(of.cookies),
        "claim_to_headers": [{"header_name": header, "claim_name": claim} for header, claim in of.claim_headers],
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope", "permission", *of.split_claims]},
        "clear_route_cache": edge,
    }
    return fields


def _rules(of: Tokens) -> list[Fields]:
    """One for each host, as the first that fits decides."""
    headers = [[{"name": ":authority", "string_match": string_matcher(host)}] for host in of.hosts] or [[]]
    return [{"match": {"prefix": "/", "headers": header}, "requires": requirement(of.issuers)} for header in headers]


def requirement(issuers: tuple[Issuer, ...]) -> Fields:
    """A token of any issuer, or none at all, is fine; one that is bad never is, whatever other tokens stand beside it."""
    each = [_one(issuer) for issuer in issuers]
    if len(each) == 1:
        return each[0]
    every: Fields = {"requires_all": {"requirements": each}}
    if any(issuer.required for issuer in issuers):
        return every
    one_of = [{"provider_name": issuer.name} for issuer in issuers]
    return {"requires_any": {"requirements": [*one_of, every]}}


def _one(of: Issuer) -> Fields:
    named: Fields = {"provider_name": of.name}
    return named if of.required else {"requires_any": {"requirements": [named, {"allow_missing": {}}]}}
