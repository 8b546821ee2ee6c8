"""Sends the request on. Last in every list."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "envoy.filters.http.router"


def applies(serve: HttpConnections, listener: Listener) -> bool:  # noqa: ARG001
    return True


def http_filter(listener: Listener) -> Fields:  # noqa: ARG001
    return {"typed_config": any_(pb.Router())}


def per_route(route: Route) -> Any | None:  # noqa: ARG001
    return None
