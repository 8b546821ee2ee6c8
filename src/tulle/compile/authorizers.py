"""Services that decide on calls, as MeshConfig declares them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from tulle.compile import names
from tulle.compile.disguises import text
from tulle.model.access import Authorizer
from tulle.model.routing import Compare, StringMatch
from tulle.resources.mesh_config import CheckedBody, ExtAuthz, ExtAuthzHttp, MeshConfig

_WHOLE = CheckedBody()
_ANY = StringMatch(compare=Compare.REGEX, value=".*")


def authorizers(config: MeshConfig, domain: str) -> Mapping[str, Authorizer]:
    """By the name under which policies know them."""
    return {p.name: _authorizer(p.name, p.asks, domain) for p in config.providers if p.asks}


def _authorizer(name: str, of: ExtAuthz, domain: str) -> Authorizer:
    namespace, _, written = of.service.rpartition("/")
    host = names.resolve(written, namespace or "default", domain)
    body = of.include_request_body_in_check or _WHOLE
    common = Authorizer(
        name=name,
        host=host,
        cluster=names.cluster_name(host, of.port),
        authority=f"{host}:{of.port}",
        grpc=not isinstance(of, ExtAuthzHttp),
        timeout=of.timeout,
        fail_open=of.fail_open,
        clear_route_cache=of.clear_route_cache,
        status_on_error=int(of.status_on_error),
        body_bytes=body.max_request_bytes,
        partial_body=body.allow_partial_message,
        raw_body=body.pack_as_bytes,
    )
    return _by_http(common, of) if isinstance(of, ExtAuthzHttp) else common


def _by_http(common: Authorizer, of: ExtAuthzHttp) -> Authorizer:
    return replace(
        common,
        path_prefix=of.path_prefix,
        request_headers=_headers((*of.include_headers_in_check, *of.include_request_headers_in_check)),
        added_headers=tuple(sorted(of.include_additional_headers_in_check.items())),
        upstream_headers=_headers(of.headers_to_upstream_on_allow),
        downstream_headers=_headers(of.headers_to_downstream_on_deny),
        downstream_headers_on_allow=_headers(of.headers_to_downstream_on_allow),
    )


def _headers(patterns: Iterable[str]) -> tuple[StringMatch, ...]:
    found = (text(pattern) or _ANY for pattern in patterns)
    return tuple(match if match is _ANY else replace(match, ignore_case=True) for match in found)
