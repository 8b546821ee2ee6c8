"""What is done with a request that a route takes: forward, redirect, or answer at once."""

from __future__ import annotations

from tulle.model.routing import (
    INVALID_BACKEND,
    NO_OPS,
    DirectResponse,
    Forward,
    HeaderOps,
    Mirror,
    Redirect,
    RetryPolicy,
    Route,
    WeightedCluster,
)
from tulle.model.traffic import HashOn, HashPolicy
from tulle.protos import any_, pb
from tulle.translate.common import retries
from tulle.translate.filters import dynamic_port, requests_told
from tulle.translate.headers import header_ops
from tulle.translate.values import YES, ZERO, Fields, duration, fraction, number, regex

_REDIRECTS = {301: "MOVED_PERMANENTLY", 302: "FOUND", 303: "SEE_OTHER", 307: "TEMPORARY_REDIRECT", 308: "PERMANENT_REDIRECT"}
_HOST_ATTEMPTS = 5
"""How often another host is looked for before one already tried is taken again (BEHAVIOURS.md, 1)."""


def action(route: Route, usual: RetryPolicy | None = None) -> Fields:
    """The fields of envoy.config.route.v3.Route that say what to do. `usual`: the retries of routes of its host that say nothing."""
    does = route.action
    if isinstance(does, Redirect):
        return {"redirect": _redirect(does)} | header_ops(route.request_headers, route.response_headers)
    if isinstance(does, DirectResponse):
        return {"direct_response": _direct_response(does)} | header_ops(route.request_headers, route.response_headers)
    if not does.clusters:
        nowhere = DirectResponse(status=503)
        return {"direct_response": _direct_response(nowhere)} | header_ops(route.request_headers, route.response_headers)
    return {"route": _forward(does, usual)} | _headers(route, does)


def clusters(route: Route) -> tuple[str, ...]:
    """The clusters that the route names."""
    if not isinstance(route.action, Forward) or not route.action.clusters:
        return ()
    named = (*(to.cluster for to in route.action.clusters), *(mirror.cluster for mirror in route.action.mirrors))
    return tuple(name for name in named if name != INVALID_BACKEND)


def _headers(route: Route, does: Forward) -> Fields:
    """A single destination's operations come after the route's own; several destinations have each their own (BEHAVIOURS.md, 11)."""
    if len(does.clusters) > 1:
        return header_ops(route.request_headers, route.response_headers)
    only = does.clusters[0]
    return header_ops(_joined(route.request_headers, only.request_headers), _joined(route.response_headers, only.response_headers))


def _joined(first: HeaderOps, then: HeaderOps) -> HeaderOps:
    if then == NO_OPS:
        return first
    return HeaderOps(remove=first.remove + then.remove, set=first.set + then.set, add=first.add + then.add)


def _forward(does: Forward, usual: RetryPolicy | None) -> Fields:
    # A `max_stream_duration` would switch this timeout off. So a caller's `grpc-timeout` is its own to watch over.
    fields: Fields = _destination(does) | _rewrite(does) | {"timeout": duration(does.timeout or ZERO)}
    if (again := retries(does)) != usual:
        fields["retry_policy"] = retry_policy(again) if again else {}
    if does.mirrors:
        fields["request_mirror_policies"] = [_mirror(mirror) for mirror in does.mirrors]
    if does.hash_policies:
        fields["hash_policy"] = [hash_policy(policy) for policy in does.hash_policies]
    if does.unknown_status == 500:
        fields["cluster_not_found_response_code"] = "INTERNAL_SERVER_ERROR"
    if does.connect:
        fields["upgrade_configs"] = [{"upgrade_type": "CONNECT", "connect_config": {}}]
    return fields


def _destination(does: Forward) -> Fields:
    if len(does.clusters) > 1:
        return {"weighted_clusters": {"clusters": [_weighted(to, does) for to in does.clusters]}}
    return {"cluster": does.clusters[0].cluster}


def _weighted(to: WeightedCluster, does: Forward) -> Fields:
    fields: Fields = {"name": to.cluster, "weight": number(to.weight)} | header_ops(to.request_headers, to.response_headers)
    if to.host_rewrite is not None and does.host_rewrite is None:
        fields["host_rewrite_literal"] = to.host_rewrite
    said = {dynamic_port.NAME: dynamic_port.dialled(to.dial), requests_told.NAME: requests_told.told(to)}
    if configured := {name: any_(message) for name, message in said.items() if message is not None}:
        fields["typed_per_filter_config"] = configured
    return fields


def _rewrite(does: Forward) -> Fields:
    fields: Fields = {}
    if does.regex_rewrite:
        pattern, substitution = does.regex_rewrite
        fields["regex_rewrite"] = {"pattern": regex(pattern), "substitution": substitution}
    elif does.prefix_rewrite is not None:
        fields["prefix_rewrite"] = does.prefix_rewrite
    only = does.clusters[0].host_rewrite if len(does.clusters) == 1 else None
    host = does.host_rewrite if does.host_rewrite is not None else only
    if host is not None:
        fields["host_rewrite_literal"] = host
    elif does.auto_host_rewrite:
        fields["auto_host_rewrite"] = YES
    return fields


def retry_policy(of: RetryPolicy) -> Fields:
    """An envoy.config.route.v3.RetryPolicy."""
    fields: Fields = {"retry_on": ",".join(of.retry_on), "num_retries": number(of.attempts)}
    if of.retriable_status_codes:
        fields["retriable_status_codes"] = list(of.retriable_status_codes)
    if of.per_try_timeout:
        fields["per_try_timeout"] = duration(of.per_try_timeout)
    if of.backoff:
        fields["retry_back_off"] = {"base_interval": duration(of.backoff), "max_interval": duration(of.backoff * 10)}
    if of.other_hosts:
        previous = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": any_(pb.PreviousHosts())}
        fields |= {"retry_host_predicate": [previous], "host_selection_retry_max_attempts": _HOST_ATTEMPTS}
    if of.retry_remote_localities:
        config = any_(pb.PreviousPriorities(update_frequency=2))
        fields["retry_priority"] = {"name": "envoy.retry_priorities.previous_priorities", "typed_config": config}
    return fields


def _mirror(of: Mirror) -> Fields:
    """Envoy adds `-shadow` to the host. The copies are not traced (BEHAVIOURS.md, 12)."""
    return {"cluster": of.cluster, "runtime_fraction": {"default_value": fraction(of.percent)}, "trace_sampled": {"value": False}}


def hash_policy(of: HashPolicy) -> Fields:
    """An envoy.config.route.v3.RouteAction.HashPolicy."""
    if of.on is HashOn.HEADER:
        return {"header": {"header_name": of.name}}
    if of.on is HashOn.QUERY:
        return {"query_parameter": {"name": of.name}}
    if of.on is HashOn.SOURCE_IP:
        return {"connection_properties": {"source_ip": True}}
    cookie: Fields = {"name": of.name, "path": of.cookie_path}
    if of.cookie_attributes:
        cookie["attributes"] = [{"name": name, "value": value} for name, value in of.cookie_attributes]
    return {"cookie": cookie if of.cookie_ttl is None else cookie | {"ttl": duration(of.cookie_ttl)}}


def _redirect(of: Redirect) -> Fields:
    fields: Fields = {"response_code": _REDIRECTS[of.status]}
    given = {
        "host_redirect": of.host,
        "path_redirect": of.path,
        "prefix_rewrite": of.prefix_rewrite,
        "scheme_redirect": of.scheme,
        "port_redirect": of.port,
    }
    fields |= {name: value for name, value in given.items() if value is not None}
    if of.regex_rewrite:
        pattern, substitution = of.regex_rewrite
        fields["regex_rewrite"] = {"pattern": regex(pattern), "substitution": substitution}
    return fields | {"strip_query": True} if of.strip_query else fields


def _direct_response(of: DirectResponse) -> Fields:
    return {"status": of.status, "body": {"inline_bytes": of.body}} if of.body else {"status": of.status}
