"""Sends the request on. Last in every list."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections
from tulle.model.routing import Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "envoy.filters.http.router"


def applies(serve: HttpConnections) -> bool:  # noqa: ARG001
    return True


def http_filter() -> Fields:
    return {"typed_config": any_(pb.Router())}


def per_route(route: Route) -> Any | None:  # noqa: ARG001
    return None
