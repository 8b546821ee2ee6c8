"""Firewalls: Envoy's ext_proc filter, which asks the control plane. What a Firewall says travels with each question."""

from __future__ import annotations

import json
from dataclasses import asdict

from tulle.model.screen import Firewall
from tulle.protos import any_, pb
from tulle.translate.values import CONTROL_PLANE, Fields

NAME = "envoy.filters.http.ext_proc"
POLICY = "tulle-firewall"
"""The metadata of a question that holds the Firewall."""

_BODY, _HEADERS_ONLY = "BUFFERED", "NONE"


def http_filters(firewalls: tuple[Firewall, ...], *, upgraded: bool) -> list[Fields]:
    """One for each; what is upgraded has no body that could be awaited."""
    return [{"name": NAME, "typed_config": any_(_asking(firewall, whole=not upgraded))} for firewall in firewalls]


def _asking(of: Firewall, *, whole: bool) -> object:
    said = json.dumps({"whole": whole, **asdict(of)}, separators=(",", ":"))
    mode: Fields = {
        "request_header_mode": "SEND",
        "response_header_mode": "SKIP",
        "request_body_mode": _BODY if whole else _HEADERS_ONLY,
        "request_trailer_mode": "SKIP",
        "response_trailer_mode": "SKIP",
    }
    service: Fields = {"envoy_grpc": {"cluster_name": CONTROL_PLANE}, "initial_metadata": [{"key": POLICY, "value": said}]}
    return pb.ExternalProcessor(
        grpc_service={**service, "timeout": {"seconds": 5}},
        failure_mode_allow=not of.required,
        status_on_error={"code": 503},
        processing_mode=mode,
        message_timeout={"seconds": 2},
        stat_prefix="firewall",
    )


def policy_of(said: str) -> tuple[Firewall, bool]:
    """The Firewall that a question is for, and whether the body follows."""
    fields = json.loads(said)
    whole = fields.pop("whole")
    return Firewall(**{**fields, "excluded": tuple(fields["excluded"])}), bool(whole)
