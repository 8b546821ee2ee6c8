"""Sessions that stay where they began: at one backend of several, and at one of its instances.

The data plane keeps a session at an instance by what it gives to the caller, a cookie or a header. Which of several backends that instance
belongs to is told by a second cookie: requests that bring it are for that backend alone, and all others are shared by weight.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256

from tulle.model.routing import INVALID_BACKEND, Compare, Forward, HeaderMatch, Route, Session, StringMatch, WeightedCluster
from tulle.resources.gatewayapi.session import Lifetime, SessionPersistence, SessionType

_COOKIE, _HEADER = "tulle-session", "x-tulle-session"
"""Names for sessions that are given none."""
_BACKEND = "-backend"
"""Behind the name of a session's cookie: the cookie that tells its backend."""


def session(spec: SessionPersistence) -> Session:
    cookie = spec.cookie or spec.cookie_config
    header = spec.type is SessionType.HEADER
    lasting = cookie is not None and cookie.lifetime_type is Lifetime.PERMANENT
    return Session(
        name=spec.name or (_HEADER if header else _COOKIE),
        header=header,
        path=cookie.path if cookie else "/",
        ttl=spec.absolute_timeout or None if lasting else None,
    )


def kept(route: Route, spec: SessionPersistence) -> Iterator[Route]:
    """A route with sessions: before it those for requests that belong to a session already."""
    own, action = session(spec), route.action
    if not isinstance(action, Forward) or (own.header and len(action.clusters) > 1):
        yield route
        return
    base = replace(route, session=own)
    if len(action.clusters) == 1:
        yield base
        return
    for cluster in action.clusters:
        if cluster.cluster != INVALID_BACKEND:
            yield _for_session(base, action, cluster, own)
    yield replace(base, action=replace(action, clusters=tuple(_telling(cluster, own) for cluster in action.clusters)))


def _for_session(route: Route, action: Forward, cluster: WeightedCluster, own: Session) -> Route:
    pattern = f"(?:.*;\\s*)?{re.escape(own.name)}{_BACKEND}={_token(cluster)}(?:;.*)?"
    wanted = HeaderMatch(name="cookie", match=StringMatch(compare=Compare.REGEX, value=pattern))
    return replace(
        route,
        match=replace(route.match, headers=(*route.match.headers, wanted)),
        action=replace(action, clusters=(replace(cluster, weight=1),)),
    )


def _telling(cluster: WeightedCluster, own: Session) -> WeightedCluster:
    """Tells the caller which backend a new session has, in a cookie (RFC 6265) beside that of the instance."""
    if cluster.cluster == INVALID_BACKEND:
        return cluster
    age = f"; Max-Age={int(own.ttl.total_seconds())}" if own.ttl else ""
    given = f"{own.name}{_BACKEND}={_token(cluster)}; Path={own.path}{age}; HttpOnly".replace("%", "%%")
    headers = cluster.response_headers
    return replace(cluster, response_headers=replace(headers, add=(*headers.add, ("set-cookie", given))))


def _token(cluster: WeightedCluster) -> str:
    """Names a backend without telling its name; stays the same when other backends come and go."""
    return sha256(cluster.cluster.encode()).hexdigest()[:12]
