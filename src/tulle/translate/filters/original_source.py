"""Lets endpoints see the caller's own address, as the connection of a request comes from it: what trusted proxies say of it counts."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "envoy.filters.http.original_src"


def by_request(listener: Listener) -> bool:
    """Whether each request is looked at. Not where whole connections come in, too: then each connection is, once for all in it."""
    return all(isinstance(chain.serve, HttpConnections) for chain in listener.chains)


def applies(serve: HttpConnections, listener: Listener) -> bool:  # noqa: ARG001
    return listener.original_source is not None and by_request(listener)


def http_filter(listener: Listener) -> Fields:
    return {"typed_config": any_(pb.HttpOriginalSource(mark=listener.original_source or 0))}


def per_route(route: Route) -> Any | None:  # noqa: ARG001
    return None
