"""Delays and failures made on purpose."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Abort, Delay, Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields, duration, fraction

NAME = "envoy.filters.http.fault"


def applies(serve: HttpConnections, listener: Listener) -> bool:  # noqa: ARG001
    return True


def http_filter(listener: Listener) -> Fields:  # noqa: ARG001
    return {"typed_config": any_(pb.HTTPFault()), "disabled": True}


def per_route(route: Route) -> Any | None:
    fault = route.fault
    if fault is None or not (fault.delay or fault.abort):
        return None
    fields: Fields = {}
    if fault.delay:
        fields["delay"] = _delay(fault.delay)
    if fault.abort:
        fields["abort"] = _abort(fault.abort)
    return pb.HTTPFault(**fields)


def _delay(of: Delay) -> Fields:
    return {"fixed_delay": duration(of.duration), "percentage": fraction(of.percent)}


def _abort(of: Abort) -> Fields:
    answer = {"http_status": of.http_status} if of.grpc_status is None else {"grpc_status": of.grpc_status}
    return answer | {"percentage": fraction(of.percent)}
