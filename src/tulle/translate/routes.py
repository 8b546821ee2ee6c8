"""Route tables: envoy.config.route.v3.RouteConfiguration.

A table may hold a thousand virtual hosts of which one changed. So each virtual host is serialised by itself, and the table
is put together from those bytes: in protobuf, an encoded repeated field is its encoded elements one after the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tulle.model.resource import Source
from tulle.model.routing import DirectResponse, RetryPolicy, Route, RouteTable, VirtualHost
from tulle.protos import pb
from tulle.resources.kinds import kind_of
from tulle.translate import firewall
from tulle.translate.actions import action, clusters, retry_policy
from tulle.translate.common import common_retry, common_source
from tulle.translate.filters import per_route
from tulle.translate.matches import route_match
from tulle.translate.snapshot import CLUSTER, Reference
from tulle.translate.values import NO, Fields, number

_VIRTUAL_HOSTS = b"\x12"
"""Tag of RouteConfiguration.virtual_hosts: field 2, length-delimited."""

_USUAL_BODY = 4096
"""Bytes that a route's own answer may have where nothing is said of it."""

_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostPart:
    """A virtual host as it stands in a serialised route table."""

    body: bytes
    references: tuple[Reference, ...]
    """The clusters that its routes name, each once."""
    sources: tuple[Source, ...]
    """The rules that made its routes, and those that delegate to them, each once."""
    biggest_body: int = 0
    """Bytes of the longest answer that a route gives by itself."""


def host_part(host: VirtualHost) -> HostPart:
    body = virtual_host(host).SerializeToString(deterministic=True)
    named = dict.fromkeys((CLUSTER, name) for route in host.routes for name in clusters(route))
    sources = dict.fromkeys(source for route in host.routes for source in (route.source, route.via) if source)
    own = (len(route.action.body) for route in host.routes if isinstance(route.action, DirectResponse))
    return HostPart(
        body=_VIRTUAL_HOSTS + varint(len(body)) + body, references=tuple(named), sources=tuple(sources), biggest_body=max(own, default=0)
    )


def table_body(table: RouteTable, hosts: Collection[HostPart]) -> bytes:
    """The serialised RouteConfiguration. It is fine for a route to name a cluster that is still under way."""
    fields: Fields = {"name": table.name, "validate_clusters": NO}
    if table.ignore_port_in_host:
        fields["ignore_port_in_host_matching"] = True
    biggest = max((host.biggest_body for host in hosts), default=0)
    if biggest > _USUAL_BODY:
        fields["max_direct_response_body_size_bytes"] = number(biggest)
    frame: bytes = pb.RouteConfiguration(**fields).SerializeToString(deterministic=True)
    return frame + b"".join(host.body for host in hosts)


def admission(said: Fields) -> bytes:
    """What a table says of who is let in, to be put behind its body: the few bytes that change while the many stay."""
    body: bytes = pb.RouteConfiguration(typed_per_filter_config=said).SerializeToString(deterministic=True)
    return body


def varint(value: int) -> bytes:
    """Protobuf's variable-length integer."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def virtual_host(host: VirtualHost) -> Any:
    usual, source = common_retry(host.routes), common_source(host.routes)
    fields: Fields = {
        "name": host.name,
        "domains": list(host.domains),
        "routes": [_route(route, usual, sourced=source is None) for route in host.routes],
        "include_request_attempt_count": True,
    }
    if usual:
        fields["retry_policy"] = retry_policy(usual)
    if source:
        fields["metadata"] = _metadata(source)
    return pb.VirtualHost(**fields, **({"require_tls": "ALL"} if host.require_tls else {}))


def _route(route: Route, usual: RetryPolicy | None, *, sourced: bool) -> Fields:
    fields: Fields = {"name": route.name, "match": route_match(route)} | action(route, usual)
    if configured := per_route(route):
        fields["typed_per_filter_config"] = configured
    if most := firewall.held(route.firewalls):
        fields["request_body_buffer_limit"] = number(most)
    if route.stat_prefix:
        fields["stat_prefix"] = route.stat_prefix
    if route.source and sourced:
        fields["metadata"] = _metadata(route.source)
    return fields


def _metadata(source: Source) -> Fields:
    return {"filter_metadata": {"istio": {"fields": {"config": {"string_value": config_path(source)}}}}}


def config_path(source: Source) -> str:
    """Names the document that made a route, as Istio does. No line: a document that only moved must not make a new version."""
    known = kind_of(source.key.kind)
    group, plain = (known.group, known.kind) if known else ("networking.istio.io", source.key.kind)
    kind = _CAPITAL.sub("-", plain).lower()
    return f"/apis/{group}/v1/namespaces/{source.key.namespace}/{kind}/{source.key.name}"
