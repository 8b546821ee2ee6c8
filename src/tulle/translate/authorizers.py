"""Services that decide on calls: Envoy's ext_authz filters. They ask only about what the rules before them marked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tulle.model.access import Authorizer
from tulle.model.routing import StringMatch
from tulle.protos import any_, pb
from tulle.translate.values import Fields, duration, string_matcher

HTTP = "envoy.filters.http.ext_authz"
NETWORK = "envoy.filters.network.ext_authz"


def _filter(name: str, message: Any) -> Fields:
    return {"name": name, "typed_config": any_(message)}


def of_requests(of: Authorizer, when: Fields) -> Fields:
    fields: Fields = {
        "filter_enabled_metadata": when,
        "failure_mode_allow": of.fail_open,
        "transport_api_version": "V3",
        "status_on_error": {"code": of.status_on_error},
        "clear_route_cache": of.clear_route_cache,
        "include_peer_certificate": True,
    }
    if of.body_bytes:
        fields["with_request_body"] = {
            "max_request_bytes": of.body_bytes,
            "allow_partial_message": of.partial_body,
            "pack_as_bytes": of.raw_body,
        }
    return _filter(HTTP, pb.ExtAuthz(**fields, **(_by_grpc(of) if of.grpc else _by_http(of))))


def of_connections(of: Authorizer, when: Fields) -> Fields | None:
    """What only speaks HTTP cannot be asked about connections."""
    if not of.grpc:
        return None
    fields: Fields = {
        "filter_enabled_metadata": when,
        "failure_mode_allow": of.fail_open,
        "stat_prefix": "tcp.",
        "transport_api_version": "V3",
    }
    return _filter(NETWORK, pb.NetworkExtAuthz(**fields, include_peer_certificate=True, **_by_grpc(of)))


def _by_grpc(of: Authorizer) -> Fields:
    service: Fields = {"envoy_grpc": {"cluster_name": of.cluster, "authority": of.authority}, "timeout": duration(of.timeout)}
    return {"grpc_service": service}


def _by_http(of: Authorizer) -> Fields:
    server: Fields = {"uri": f"http://{of.authority}", "cluster": of.cluster, "timeout": duration(of.timeout)}
    service: Fields = {"server_uri": server, "path_prefix": of.path_prefix}
    if of.added_headers:
        added = [{"key": key, "value": value} for key, value in of.added_headers]
        service["authorization_request"] = {"headers_to_add": added}
    answers = {
        "allowed_upstream_headers": of.upstream_headers,
        "allowed_client_headers": of.downstream_headers,
        "allowed_client_headers_on_success": of.downstream_headers_on_allow,
    }
    service["authorization_response"] = {name: _patterns(values) for name, values in answers.items() if values}
    fields: Fields = {"http_service": service}
    return fields | {"allowed_headers": _patterns(of.request_headers)} if of.request_headers else fields


def _patterns(values: Iterable[StringMatch]) -> Fields:
    return {"patterns": [string_matcher(value) for value in values]}
