"""Tells callers that they may come by HTTP/3, too (Alt-Svc, RFC 7838). What a service or a rule says of it itself stays."""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "tulle.http3"
"""Envoy goes by the type of the configuration; the name only has to differ from that of other changes of headers."""
_REMEMBERED = 86_400
"""Seconds for which callers may rely on it."""


def applies(serve: HttpConnections, listener: Listener) -> bool:
    return serve.http3 and not listener.quic


def http_filter(listener: Listener) -> Fields:
    header = {"key": "alt-svc", "value": f'h3=":{listener.http3_port}"; ma={_REMEMBERED}'}
    append = {"append": {"header": header, "append_action": "ADD_IF_ABSENT"}}
    return {"typed_config": any_(pb.HeaderMutation(mutations={"response_mutations": [append]}))}


def per_route(route: Route) -> Any | None:  # noqa: ARG001
    return None
