"""Says by ALPN that requests are carried, to those who take bytes of any kind inside of mutual TLS.

Envoy's filter state can stand in for the protocols of a cluster's TLS ("Well known filter state objects").
"""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import Direction, HttpConnections, Listener
from tulle.model.routing import Forward, Route, WeightedCluster
from tulle.model.tls import MESH_REQUESTS
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "tulle.requests_told"
"""Envoy goes by the type of the configuration."""


def applies(serve: HttpConnections, listener: Listener) -> bool:  # noqa: ARG001
    return listener.direction is Direction.OUTBOUND


def http_filter(listener: Listener) -> Fields:  # noqa: ARG001
    return {"typed_config": any_(pb.SetFilterState()), "disabled": True}


def per_route(route: Route) -> Any | None:
    only = route.action.clusters if isinstance(route.action, Forward) else ()
    return told(only[0]) if len(only) == 1 else None


def told(to: WeightedCluster) -> Any | None:
    """Where requests go to several clusters, each has its own."""
    if not to.told:
        return None
    protocols = {"text_format_source": {"inline_string": ",".join(MESH_REQUESTS)}}
    return pb.SetFilterState(on_request_headers=[{"object_key": "envoy.network.application_protocols", "format_string": protocols}])
