"""Keeps the requests of a session at one endpoint: a cookie or a header says which, for as long as the endpoint is there."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route, Session
from tulle.protos import any_, pb
from tulle.translate.values import Fields, duration

NAME = "envoy.filters.http.stateful_session"


def applies(serve: HttpConnections, listener: Listener) -> bool:  # noqa: ARG001
    return True


def http_filter(listener: Listener) -> Fields:  # noqa: ARG001
    return {"typed_config": any_(pb.StatefulSession()), "disabled": True}


def per_route(route: Route) -> Any | None:
    if route.session is None:
        return None
    return pb.StatefulSessionPerRoute(stateful_session={"session_state": _state(route.session)})


def _state(of: Session) -> Fields:
    if of.header:
        return {"name": "envoy.http.stateful_session.header", "typed_config": any_(pb.HeaderBasedSessionState(name=of.name))}
    cookie: Fields = {"name": of.name, "path": of.path} | ({"ttl": duration(of.ttl)} if of.ttl else {})
    return {"name": "envoy.http.stateful_session.cookie", "typed_config": any_(pb.CookieBasedSessionState(cookie=cookie))}
