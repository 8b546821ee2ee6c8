"""Resolves the host of requests that leave the mesh. Requests for clusters of other kinds pass through."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route
from tulle.protos import any_, pb
from tulle.translate import dns
from tulle.translate.values import Fields

NAME = "envoy.filters.http.dynamic_forward_proxy"


def applies(serve: HttpConnections, listener: Listener) -> bool:  # noqa: ARG001
    return serve.forward_proxy or serve.internal


def http_filter(listener: Listener) -> Fields:  # noqa: ARG001
    return {"typed_config": any_(pb.DynamicForwardProxy(dns_cache_config=dns.CACHE))}


def per_route(route: Route) -> Any | None:  # noqa: ARG001
    return None
