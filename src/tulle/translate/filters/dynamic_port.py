"""Says on which port a host is dialled that is found by the name in the request, for routes to such hosts."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Forward, Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "tulle.dynamic_port"
"""Envoy goes by the type of the configuration; the name only has to differ from that of other filters of the type."""
_KEY = "envoy.upstream.dynamic_port"
"""Where Envoy's cluster of a dynamic forward proxy looks for the port, if the host bears none."""


def applies(serve: HttpConnections, listener: Listener) -> bool:  # noqa: ARG001
    return serve.edge or serve.forward_proxy or serve.internal


def http_filter(listener: Listener) -> Fields:  # noqa: ARG001
    return {"typed_config": any_(pb.SetFilterState()), "disabled": True}


def per_route(route: Route) -> Any | None:
    does = route.action
    return dialled(does.clusters[0].dial) if isinstance(does, Forward) and len(does.clusters) == 1 else None


def dialled(port: int) -> Any | None:
    """What a route, or one of a route's clusters, says to the filter."""
    if not port:
        return None
    value = {"object_key": _KEY, "format_string": {"text_format_source": {"inline_string": str(port)}}}
    return pb.SetFilterState(on_request_headers=[value])
