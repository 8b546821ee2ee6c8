"""Answers browsers that ask whether a page of another origin may call (cross-origin resource sharing)."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields, string_matcher

NAME = "envoy.filters.http.cors"


def applies(serve: HttpConnections, listener: Listener) -> bool:  # noqa: ARG001
    return True


def http_filter(listener: Listener) -> Fields:  # noqa: ARG001
    return {"typed_config": any_(pb.Cors()), "disabled": True}


def per_route(route: Route) -> Any | None:
    cors = route.cors
    if cors is None:
        return None
    fields: Fields = {
        "allow_origin_string_match": [string_matcher(origin) for origin in cors.allow_origins],
        "allow_methods": ",".join(cors.allow_methods),
        "allow_headers": ",".join(cors.allow_headers),
        "expose_headers": ",".join(cors.expose_headers),
        "max_age": "" if cors.max_age is None else str(int(cors.max_age.total_seconds())),
        "filter_enabled": {"default_value": {"numerator": 100}},
        "forward_not_matching_preflights": {"value": cors.forward_unmatched_preflights},
    }
    if cors.allow_credentials is not None:
        fields["allow_credentials"] = {"value": cors.allow_credentials}
    return pb.CorsPolicy(**fields)
