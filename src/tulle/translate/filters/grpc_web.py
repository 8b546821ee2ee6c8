"""Turns gRPC-Web, which browsers can speak, into gRPC at the edge. Requests of any other content type pass untouched."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "envoy.filters.http.grpc_web"


def applies(serve: HttpConnections, listener: Listener) -> bool:  # noqa: ARG001
    return serve.edge


def http_filter(listener: Listener) -> Fields:  # noqa: ARG001
    return {"typed_config": any_(pb.GrpcWeb())}


def per_route(route: Route) -> Any | None:  # noqa: ARG001
    return None
