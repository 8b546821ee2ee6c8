"""Keys of clients, passwords of users, and people who sign in: Envoy's filters. The keys and passwords in them are never to be shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tulle.model.logins import ApiKeys, Login, Passwords, SignIn
from tulle.protos import any_, pb
from tulle.translate import look_alikes, queries, sign_in, sparing
from tulle.translate.snapshot import Reference
from tulle.translate.values import Fields

API_KEY = "envoy.filters.http.api_key_auth"
BASIC = "envoy.filters.http.basic_auth"
MUTATION = "envoy.filters.http.header_mutation"
NOBODY = "nobody:{SHA}" + "nobody".ljust(28, ".")
"""Stands where there are no users, as Envoy wants one: no password has such a hash."""


PLAIN = (API_KEY, BASIC, MUTATION, queries.LUA, sign_in.NAME)
"""The names of the filters of logins that are for all requests."""


def names(login: str) -> tuple[str, ...]:
    """Those of the filters of a login that is not."""
    return tuple(_named(part, login) for part in _PARTS)


_PARTS = _TOLD, _QUERY, _LOGIN, _SHOWN = "told", "query", "login", "shown"


def _named(part: str, login: str) -> str:
    return f"tulle.{part}.{login}"


def http_filters(asked: Iterable[Login]) -> list[Fields]:
    """First of all what only the proxy may say is taken out of requests; then each caller shows who it is."""
    every = tuple(asked)
    told = [_where(_without(login.told_by), _TOLD, login, excluding=False) for login in every if login.told_by]
    return [*told, *(made for login in every for made in _asking(login))]


def _asking(of: Login) -> list[Fields]:
    if isinstance(of.by, ApiKeys):
        moved = _moved(of, of.by)
        first = [_where(queries.moving(moved), _QUERY, of)] if moved else []
        return [*first, _where(_filter(API_KEY, _api_keys(of, of.by)), _LOGIN, of)]
    if isinstance(of.by, SignIn):
        return [_where(_filter(sign_in.NAME, sign_in.oauth2(of.by)), _LOGIN, of)]
    asking = _where(_filter(BASIC, _passwords(of, of.by)), _LOGIN, of)
    return [asking] if of.forward else [asking, _where(_without("authorization"), _SHOWN, of)]


def references(asked: Iterable[Login]) -> Iterator[Reference]:
    """What the filters cannot do without."""
    for login in asked:
        if isinstance(login.by, SignIn):
            yield from sign_in.references(login.by)


def _filter(name: str, message: Any) -> Fields:
    return {"name": name, "typed_config": any_(message)}


def _without(header: str) -> Fields:
    return _filter(MUTATION, pb.HeaderMutation(mutations={"request_mutations": [{"remove": header}, *look_alikes.removals([header])]}))


def _moved(of: Login, by: ApiKeys) -> tuple[str, ...]:
    """The parameters of queries that are taken out of the request."""
    return () if of.forward else tuple(place.query for place in by.places if place.query)


def _api_keys(of: Login, by: ApiKeys) -> Any:
    moved = _moved(of, by)
    sources = [
        {"header": queries.header(p.query) if p.query in moved else p.header}
        if p.header or p.query in moved
        else {"query": p.query}
        if p.query
        else {"cookie": p.cookie}
        for p in by.places
    ]
    return pb.ApiKeyAuth(
        credentials=[{"key": key.reveal().decode(), "client": name} for name, key in by.clients],
        key_sources=sources,
        forwarding={"header": of.told_by, "hide_credentials": not of.forward},
    )


def _passwords(of: Login, by: Passwords) -> Any:
    lines = [f"{name}:{{SHA}}{hashed.reveal().decode()}" for name, hashed in by.users] or [NOBODY]
    return pb.BasicAuth(users={"inline_string": "\n".join(lines)}, forward_username_header=of.told_by, realm=by.realm)


def _where(filter_: Fields, part: str, of: Login, *, excluding: bool = True) -> Fields:
    """The filter, left out for other hosts and for paths that are excluded."""
    skipped = [sparing.others(of.hosts)] if of.hosts else []
    if excluding and of.excluded:
        skipped.append(_excluded(of))
    return sparing.sparing(filter_, _named(part, of.name), skipped) if skipped else filter_


def _excluded(of: Login) -> Fields:
    found = sparing.any_of(":path", of.excluded)
    if not of.never_excluded:
        return found
    return {"and_matcher": {"predicate": [found, {"not_matcher": sparing.any_of(":path", of.never_excluded)}]}}
