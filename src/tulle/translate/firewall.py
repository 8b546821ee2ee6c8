"""Firewalls: Envoy's ext_proc filter, which asks a process beside the control plane. With each question goes which Firewalls are meant."""

from __future__ import annotations

from typing import Any

from tulle.model.firewall import CLUSTER, LONGEST, METADATA, POLICY, Firewall
from tulle.model.screen import Screen
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "envoy.filters.http.ext_proc"
BY_ROUTE = "tulle.firewall.route"
"""The name of the filter that routes switch on."""

_NOBODY: tuple[Firewall, ...] = ()
_TOLD = {"policy": "policy", "action": "action", "rules": "rules", "classes": "classes", "severity": "severity", "score": "anomaly-score"}


def http_filters(of: Screen) -> list[Fields]:
    """One for all that hold everywhere, and one for those that routes have."""
    filters: list[Fields] = []
    if of.firewalls:
        filters.append({"name": NAME, "typed_config": any_(_asking(of.firewalls))})
    if of.by_route:
        filters.append({"name": BY_ROUTE, "typed_config": any_(_asking(_NOBODY)), "disabled": True})
    return filters


def per_route(firewalls: tuple[Firewall, ...]) -> Any:
    """What switches the filter on for a route, and says what it is to ask."""
    overrides: Fields = {
        "processing_mode": _mode(firewalls),
        "grpc_initial_metadata": [_named(firewalls)],
        "failure_mode_allow": {"value": _open(firewalls)},
    }
    return pb.ExtProcPerRoute(overrides=overrides)


def _asking(of: tuple[Firewall, ...]) -> object:
    return pb.ExternalProcessor(
        grpc_service={
            "envoy_grpc": {"cluster_name": CLUSTER},
            "initial_metadata": [_named(of)] if of else [],
        },
        failure_mode_allow=_open(of),
        status_on_error={"code": 503},
        processing_mode=_mode(of),
        allow_mode_override=True,
        message_timeout={"seconds": 5},
        stat_prefix="firewall",
        metadata_options={"receiving_namespaces": {"untyped": [METADATA]}},
    )


def _named(of: tuple[Firewall, ...]) -> Fields:
    return {"key": POLICY, "value": ",".join(f.id for f in of)}


def _open(of: tuple[Firewall, ...]) -> bool:
    return not any(f.required for f in of)


def _mode(of: tuple[Firewall, ...]) -> Fields:
    """Whoever looks asks for a body once it has seen the headers: Envoy would refuse some that nobody wants to see, as too long.

    It could also send the beginning of a longer one (BUFFERED_PARTIAL), but in version 1.40 such a request now and then does not end.
    """
    return {
        "request_header_mode": "SEND",
        "response_header_mode": "SEND" if any(f.answers for f in of) else "SKIP",
        "request_body_mode": "NONE",
        "response_body_mode": "NONE",
        "request_trailer_mode": "SKIP",
        "response_trailer_mode": "SKIP",
    }


def held(of: tuple[Firewall, ...]) -> int | None:
    """Bytes of bodies that proxies must hold back, where that is more than they do anyway."""
    most = max((bodies.most for f in of for bodies in (f.requests, f.answers) if bodies), default=0)
    return most if most > LONGEST else None


def access_log(of: Screen) -> list[Fields]:
    """A line, on the proxy's standard output, for each request in which something was found."""
    if not (of.firewalls or of.by_route):
        return []
    there = {"path": [{"key": "action"}], "filter": METADATA, "value": {"present_match": True}}
    values = {
        "time": "%START_TIME%",
        "method": "%REQ(:METHOD)%",
        "authority": "%REQ(:AUTHORITY):200%",
        "path": "%PATH(NQ:PATH):200%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "request-id": "%REQ(X-REQUEST-ID):100%",
        "route": "%ROUTE_NAME%",
        "firewall": {shown: f"%DYNAMIC_METADATA({METADATA}:{key})%" for key, shown in _TOLD.items()},
    }
    format_: Fields = {"json_format": values, "omit_empty_values": True}
    return [
        {
            "name": "envoy.access_loggers.stdout",
            "filter": {"metadata_filter": {"matcher": there, "match_if_key_not_found": {"value": False}}},
            "typed_config": any_(pb.StdoutAccessLog(log_format=format_)),
        }
    ]
