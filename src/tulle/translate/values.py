"""Small values as Envoy writes them, in the shape that message constructors take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from tulle.model.routing import Compare, StringMatch

Fields = dict[str, Any]

CONTROL_PLANE = "xds-grpc"
"""The cluster of the control plane (Istio's name), which every proxy has from its start: it also counts and looks for all."""
ADS: Fields = {"ads": {}, "resource_api_version": "V3"}
ZERO = timedelta()

_MILLION = 1_000_000


def duration(value: timedelta) -> Fields:
    """A google.protobuf.Duration."""
    return {"seconds": value.days * 86_400 + value.seconds, "nanos": value.microseconds * 1000}


def number(value: int) -> Fields:
    """One of google.protobuf's wrappers of a number: unlike a bare field, zero differs from absent."""
    return {"value": value}


YES: Fields = {"value": True}
NO: Fields = {"value": False}


def fraction(percent: float) -> Fields:
    """An envoy.type.v3.FractionalPercent, to a ten-thousandth of a percent."""
    return {"numerator": min(max(round(percent * _MILLION / 100), 0), _MILLION), "denominator": "MILLION"}


def regex(pattern: str) -> Fields:
    """RE2 is the only engine, and the default."""
    return {"regex": pattern}


def string_matcher(match: StringMatch) -> Fields:
    """An envoy.type.matcher.v3.StringMatcher. A path prefix of whole segments is not a thing of strings."""
    if match.compare is Compare.REGEX:
        return {"safe_regex": regex(match.value)}
    made: Fields = {match.compare.value: match.value}
    return made | {"ignore_case": True} if match.ignore_case else made


def cidr(text: str) -> Fields:
    """An envoy.config.core.v3.CidrRange."""
    network = ip_network(text, strict=False)
    return {"address_prefix": str(network.network_address), "prefix_len": number(network.prefixlen)}


def present(fields: Mapping[str, Any]) -> Fields:
    """Without the fields that are None: those keep Envoy's default."""
    return {name: value for name, value in fields.items() if value is not None}
