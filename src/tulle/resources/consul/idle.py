"""What of Consul's entries is valid but without effect here: field paths, what is said of each, and for which values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Entry = tuple[str, str, Callable[[Any], bool]]


def _says(value: Any) -> bool:
    """Something stands there that is not empty all through: clients send empty parts, too."""
    if isinstance(value, Mapping):
        return any(_says(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_says(inner) for inner in value)
    return bool(value)


def _off(path: str, why: str) -> Entry:
    return (path, f"not in force: {why}", _says)


def _more_than_protocol(config: Any) -> bool:
    return isinstance(config, Mapping) and any(key != "protocol" for key in config)


def _several(value: Any) -> bool:
    return isinstance(value, list) and len(value) > 1


_ONE_PLACE = "there is one datacenter, without peers"
_NO_GATEWAY = "there are no mesh gateways of Consul's kind"
_PLAIN = "nothing is intercepted; a sidecar's upstreams say what it listens for"
_BESIDE = "the proxy is configured by what Tulle compiles alone"
_BY_POLICY = "write a DestinationRule for it"

IDLE: Mapping[str, tuple[Entry, ...]] = {
    "ServiceRouter": (_off("routes[].destination.idleTimeout", "streams are not limited by it"),),
    "ServiceSplitter": (),
    "ServiceResolver": (
        *(_off(f"redirect.{field}", _ONE_PLACE) for field in ("datacenter", "peer", "samenessGroup")),
        *(_off(f"failover.*.{field}", _ONE_PLACE) for field in ("datacenters", "samenessGroup", "policy")),
        *(_off(f"failover.*.targets[].{field}", _ONE_PLACE) for field in ("datacenter", "peer")),
        _off("loadBalancer.ringHashConfig.maximumRingSize", "only the least size is"),
        _off("loadBalancer.leastRequestConfig", "of two endpoints the one with fewer requests is taken"),
        ("loadBalancer.hashPolicies", "only the first is in force", _several),
        _off("prioritizeByLocality", _BY_POLICY),
    ),
    "ServiceDefaults": (
        _off("mode", _PLAIN),
        _off("transparentProxy", _PLAIN),
        _off("upstreamConfig", _BY_POLICY),
        _off("destination", "write a ServiceEntry for it"),
        _off("meshGateway", _NO_GATEWAY),
        _off("externalSni", "callers ask for the service's own name"),
        _off("envoyExtensions", "write an EnvoyFilter for it"),
        *(
            _off(field, _BESIDE)
            for field in (
                "mutualTlsMode",
                "expose",
                "rateLimits",
                "balanceInboundConnections",
                "maxInboundConnections",
                "localConnectTimeoutMs",
                "localRequestTimeoutMs",
            )
        ),
    ),
    "ProxyDefaults": (
        ("config", "only protocol is in force of it", _more_than_protocol),
        _off("mode", _PLAIN),
        _off("transparentProxy", _PLAIN),
        _off("meshGateway", _NO_GATEWAY),
        _off("envoyExtensions", "write an EnvoyFilter for it"),
        _off("accessLogs", "write a Telemetry for it"),
        _off("prioritizeByLocality", _BY_POLICY),
        *(_off(field, _BESIDE) for field in ("mutualTlsMode", "expose", "failoverPolicy")),
    ),
    "ServiceIntentions": (
        _off("jwt", "write a RequestAuthentication for it"),
        _off("sources[].permissions[].jwt", "write a RequestAuthentication for it"),
        *(_off(f"sources[].{field}", _ONE_PLACE) for field in ("peer", "samenessGroup")),
        ("sources[].precedence", "has no effect: it follows from the names", _says),
    ),
}
"""Kind to what is not in force of it."""
