"""What of the Gateway API's documents is valid but without effect here: field paths, what is said of each, and for which values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tulle.resources.gatewayapi import options
from tulle.resources.gatewayapi.types import GROUP

Entry = tuple[str, str, Callable[[Any], bool]]


def _set(value: Any) -> bool:
    return value is not None and value is not False


def _other_address(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("type") not in (None, "IPAddress")


def _no_address(value: Any) -> bool:
    return isinstance(value, Mapping) and not value.get("value") and not _other_address(value)


_ISTIO = "networking.istio.io"
_TARGETS = (("", "Service"), ("core", "Service"), (_ISTIO, "ServiceEntry"))
_WHOM = "not in force: policies are for Services and ServiceEntries"


def _no_service(value: Any) -> bool:
    return isinstance(value, Mapping) and (value.get("group"), value.get("kind")) not in _TARGETS


def _endless(session: Any) -> bool:
    """A limit on a session that nothing enforces."""
    if not isinstance(session, Mapping) or not session.get("absoluteTimeout"):
        return False
    cookie = session.get("cookie") or session.get("cookieConfig") or {}
    return isinstance(cookie, Mapping) and cookie.get("lifetimeType") != "Permanent"


def _for_nobody(route: Any) -> bool:
    """Hostnames of a route that is for services alone."""
    parents = route.get("parentRefs") or []
    kinds = [parent.get("kind", "Gateway") for parent in parents if isinstance(parent, Mapping)]
    return bool(route.get("hostnames") and kinds) and not {"Gateway", "ListenerSet"} & {*kinds}


def _named_twice(headers: Any) -> bool:
    """Names that differ only in case are the same header's."""
    names = [str(h.get("name")).lower() for h in headers if isinstance(h, Mapping)] if isinstance(headers, list) else []
    return len(names) > len({*names})


_TWICE = "some are not in force: of names that differ only in case, the first counts"
_MODIFIERS = tuple(f"{which}HeaderModifier.{how}" for which in ("request", "response") for how in ("set", "add"))
_KUBERNETES = "has no effect outside Kubernetes: proxies are started with `tulle gateway`, or with `tulle up`"
_NO_IDLE = "not in force: a session ends with its cookie; set absoluteTimeout, and lifetimeType Permanent"
_ENDLESS = "absoluteTimeout is not in force: a cookie of lifetimeType Session lasts as long as the caller's program runs"
_BY_REQUEST: tuple[Entry, ...] = (
    ("", "hostnames are not in force: callers in the mesh call the services that parentRefs name", _for_nobody),
    ("rules[].matches[].headers", _TWICE, _named_twice),
    *((f"rules[].{of}filters[].{modifier}", _TWICE, _named_twice) for of in ("", "backendRefs[].") for modifier in _MODIFIERS),
    ("rules[].sessionPersistence.idleTimeout", _NO_IDLE, _set),
    (
        "rules[].sessionPersistence",
        _ENDLESS,
        _endless,
    ),
)
_OPTIONS: tuple[Entry, ...] = (
    ("listeners[].tls.options", f"some are not in force: known are {options.NAMES}", options.has_strange_names),
    (
        "listeners[].tls.options",
        "some are not in force, as their values are not known: versions are 1.0 to 1.3, modes SIMPLE, MUTUAL and OPTIONAL_MUTUAL",
        options.has_strange_values,
    ),
)

IDLE: Mapping[str, tuple[Entry, ...]] = {
    f"Gateway.{GROUP}": (
        ("infrastructure", _KUBERNETES, _set),
        ("addresses[]", "has no effect: without a value, it is served on the addresses of its proxies", _no_address),
        *_OPTIONS,
    ),
    "ListenerSet": _OPTIONS,
    "HTTPRoute": _BY_REQUEST,
    "GRPCRoute": _BY_REQUEST,
    "BackendTLSPolicy": (
        ("targetRefs[]", _WHOM, _no_service),
        ("options", "not in force: no options are known", bool),
    ),
    "XBackendTrafficPolicy": (
        ("targetRefs[]", _WHOM, _no_service),
        ("sessionPersistence.idleTimeout", _NO_IDLE, _set),
        ("sessionPersistence", _ENDLESS, _endless),
    ),
}
"""By the kind's name in keys."""
