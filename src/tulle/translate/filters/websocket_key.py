"""Lets callers of HTTP/2 open WebSockets at services that speak HTTP/1.1.

Over HTTP/2 (RFC 8441) nobody sends `sec-websocket-key`, which servers of HTTP/1.1 insist on (RFC 6455, section 4.2.1): Envoy adds none.
Its value guards nothing: it shows callers that the server knows WebSocket, and these callers do not look at the answer to it.
"""

from __future__ import annotations

from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields

NAME = "tulle.websocket_key"
"""Envoy goes by the type of the configuration; the name only has to differ from that of other conditional filters."""
_KEY = "dHVsbGUgb24gSFRUUC8yIQ=="
"""Any 16 bytes, in base64."""


def applies(serve: HttpConnections, listener: Listener) -> bool:
    return serve.edge and not listener.quic


def http_filter(listener: Listener) -> Fields:  # noqa: ARG001
    header = {"append": {"header": {"key": "sec-websocket-key", "value": _KEY}, "append_action": "ADD_IF_ABSENT"}}
    inner = {"name": NAME, "typed_config": any_(pb.HeaderMutation(mutations={"request_mutations": [header]}))}
    return {"typed_config": any_(pb.ExtensionWithMatcher(extension_config=inner, xds_matcher=_all_but_websockets()))}


def _all_but_websockets() -> Fields:
    upgrade = {"name": "upgrade", "typed_config": any_(pb.HttpRequestHeaderMatchInput(header_name="upgrade"))}
    websocket = {"single_predicate": {"input": upgrade, "value_match": {"exact": "websocket", "ignore_case": True}}}
    skip = {"action": {"name": "skip", "typed_config": any_(pb.SkipFilter())}}
    return {"matcher_list": {"matchers": [{"predicate": {"not_matcher": websocket}, "on_match": skip}]}}


def per_route(route: Route) -> Any | None:  # noqa: ARG001
    return None
