"""Refuses requests for the forward proxy itself.

It dials hosts that are not in the mesh. Asked for its own address it would dial itself, and the new connection would ask
the same again: a single `curl http://127.0.0.1:15001/` would take every file descriptor that the proxy may open.
"""

from __future__ import annotations

import re
from typing import Any

from tulle.model.proxy import HttpConnections, Listener
from tulle.model.routing import Route
from tulle.protos import any_, pb
from tulle.translate.values import Fields, regex

NAME = "tulle.own_address"
"""Envoy goes by the type of the configuration; the name only has to differ from that of other access rules."""

_LOCAL = (r"localhost", r"127(\.[0-9]+){3}", r"\[::1\]", r"0\.0\.0\.0", r"\[::\]")


def applies(serve: HttpConnections, listener: Listener) -> bool:
    return serve.forward_proxy and bool(listener.address and listener.port)


def http_filter(listener: Listener) -> Fields:
    written = f"[{listener.address}]" if ":" in listener.address else listener.address
    names = "|".join((*_LOCAL, re.escape(written)))
    port = f":{listener.port}"
    # The regular expression is only tried on the few requests that end in this port.
    rules = [_authority({"suffix": port}), _authority({"safe_regex": regex(f"(?i)({names}){port}")})]
    policy = {"permissions": [{"and_rules": {"rules": rules}}], "principals": [{"any": True}]}
    return {"typed_config": any_(pb.RBAC(rules={"action": "DENY", "policies": {"own-address": policy}}))}


def per_route(route: Route) -> Any | None:  # noqa: ARG001
    return None


def _authority(match: Fields) -> Fields:
    return {"header": {"name": ":authority", "string_match": match}}
