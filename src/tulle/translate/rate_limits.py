"""How many requests are let through: Envoy's local_ratelimit filter, which counts by itself, and its ratelimit filter, which asks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta

from tulle.model.access import Attribute
from tulle.model.rate_limits import Counted, CountKey, Only, RateLimit
from tulle.model.routing import Compare, StringMatch
from tulle.protos import any_, pb
from tulle.translate.claims import JWT, PAYLOAD
from tulle.translate.values import CONTROL_PLANE, NO, Fields, duration, number, regex

LOCAL = "envoy.filters.http.local_ratelimit"
GLOBAL = "envoy.filters.http.ratelimit"

_NAME = "limit"
"""The first entry of each descriptor: which limit it is of."""
_NONE = "-"
"""Stands for what a request lacks."""
_COUNTS = 10_000
"""Of one limit; then those that were not needed for longest are forgotten."""
_MOST = 2**32 - 1
_BOUNDLESS: Fields = {"max_tokens": _MOST, "tokens_per_fill": number(_MOST), "fill_interval": duration(timedelta(seconds=1))}
_ALL: Fields = {"default_value": {"numerator": 100}}
_HEADERS = {Attribute.METHOD: ":method", Attribute.PATH: ":path", Attribute.HOST: ":authority"}
_FORMATS = {
    Counted.CLIENT: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    Counted.PRINCIPAL: "%DOWNSTREAM_PEER_URI_SAN%",
    Counted.METHOD: "%REQ(:METHOD)%",
    # Not the path that a caller may claim to have had before.
    Counted.PATH: "%PATH(NQ:PATH)%",
}


def http_filters(of: Iterable[RateLimit]) -> list[Fields]:
    """For those that the proxy counts by itself, then for those of all proxies, which only see what was not refused before."""
    every = tuple(of)
    return [*_local(limit for limit in every if not limit.shared), *_global(limit for limit in every if limit.shared)]


def _local(of: Iterable[RateLimit]) -> list[Fields]:
    """One filter for all, or none: of several that a request counts against, the strictest is told."""
    own = tuple(of)
    if not own:
        return []
    made = pb.LocalRateLimit(
        stat_prefix="tulle",
        # Envoy wants one for what no limit counts, too.
        token_bucket=_BOUNDLESS,
        always_consume_default_token_bucket=NO,
        filter_enabled=_ALL,
        filter_enforced=_ALL,
        rate_limits=[counting(limit) for limit in own],
        descriptors=[{"entries": [{"key": k, "value": v} for k, v in _entries(limit)], "token_bucket": _bucket(limit)} for limit in own],
        max_dynamic_descriptors=number(_COUNTS),
        enable_retry_after_header=True,
        rate_limited_as_resource_exhausted=True,
    )
    return [{"name": LOCAL, "typed_config": any_(made)}]


def _global(of: Iterable[RateLimit]) -> Iterator[Fields]:
    """One filter for all that wait as long for an answer, and let requests through, or not, when none comes."""
    every = tuple(of)
    for closed, patience in sorted({(limit.fail_closed, limit.patience) for limit in every}):
        asked = [limit for limit in every if (limit.fail_closed, limit.patience) == (closed, patience)]
        made = pb.HttpRateLimit(
            domain="tulle",
            stat_prefix="tulle",
            timeout=duration(patience),
            failure_mode_deny=closed,
            status_on_error={"code": 503},
            rate_limited_as_resource_exhausted=True,
            enable_retry_after_header=True,
            rate_limit_service={
                "grpc_service": {"envoy_grpc": {"cluster_name": CONTROL_PLANE}, "timeout": duration(patience)},
                "transport_api_version": "V3",
            },
            rate_limits=[counting(limit) for limit in asked],
        )
        yield {"name": GLOBAL, "typed_config": any_(made)}


def counting(of: RateLimit) -> Fields:
    """Which requests count, and what is counted apart."""
    conditions = [{"header_value_match": _condition(only, str(place))} for place, only in enumerate(of.only)]
    actions = [{"generic_key": {"descriptor_key": _NAME, "descriptor_value": of.name}}, *conditions, *map(_told_apart, of.by)]
    return {"actions": actions} | ({"x_ratelimit_option": "DRAFT_VERSION_03"} if of.told else {})


def _entries(of: RateLimit) -> Iterator[tuple[str, str]]:
    """An empty value stands for any, each with a bucket of its own."""
    yield _NAME, of.name
    yield from (("header_match", str(place)) for place, _ in enumerate(of.only))
    yield from ((str(key), "") for key in of.by)


def _bucket(of: RateLimit) -> Fields:
    return {"max_tokens": of.burst, "tokens_per_fill": number(of.requests), "fill_interval": duration(of.per)}


def _told_apart(key: CountKey) -> Fields:
    if key.counted is Counted.CLAIM:
        path = [{"key": part} for part in (PAYLOAD, *key.name)]
        return {"metadata": {"descriptor_key": str(key), "metadata_key": {"key": JWT, "path": path}, "default_value": _NONE}}
    value = _FORMATS.get(key.counted) or f"%REQ({key.name[0]})%"
    return {"generic_key": {"descriptor_key": str(key), "descriptor_value": value, "default_value": _NONE}}


def _condition(of: Only, value: str) -> Fields:
    headers = [_header(of.attribute, of.matches), *([_header(of.attribute, of.but) | {"invert_match": True}] if of.but else [])]
    return {"descriptor_value": value, "headers": headers, "expect_match": {"value": not of.negated}}


def _header(attribute: Attribute, matches: tuple[StringMatch, ...]) -> Fields:
    either = "|".join(_pattern(m, attribute) for m in matches)
    query = r"(?:\?.*)?" if attribute is Attribute.PATH else ""
    return {"name": _HEADERS[attribute], "string_match": {"safe_regex": regex(f"(?:{either}){query}")}}


def _pattern(match: StringMatch, attribute: Attribute) -> str:
    """A match as a regular expression of its own. Of a path the query is no part."""
    rest = "[^?]*" if attribute is Attribute.PATH else ".*"
    plain = re.escape(match.value)
    made = {
        Compare.EXACT: plain,
        Compare.PREFIX: f"{plain}{rest}",
        Compare.SUFFIX: f"{rest}{plain}",
        Compare.REGEX: match.value,
    }[match.compare]
    return f"(?i:{made})" if match.ignore_case else f"(?:{made})"
