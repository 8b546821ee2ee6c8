"""What of DestinationRules' policies is valid but without effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tulle.resources.idle import Pending, has, idle_in, lacks, said, under


def _zoned(balancer: Any) -> bool:
    zones = balancer.get("zoneAwareLbSetting", balancer.get("zone_aware_lb_setting"))
    return isinstance(zones, Mapping) and zones.get("enabled") is not False


def _by_turns(balancer: Any) -> bool:
    """Endpoints get their turn, so that a new one's can come more and more often."""
    return balancer.get("simple") not in ("RANDOM", "PASSTHROUGH", 2, 3) and lacks("consistentHash")(balancer)


_CALLED_TLS = (
    Pending(
        path="tls",
        message="mode DISABLE speaks no TLS: the other settings have no effect",
        when=idle_in(
            (None, "DISABLE", 0),
            *(
                "clientCertificate",
                "privateKey",
                "caCertificates",
                "credentialName",
                "subjectAltNames",
                "sni",
                "insecureSkipVerify",
                "caCrl",
            ),
        ),
    ),
    Pending(
        path="tls",
        message="mode SIMPLE shows no certificate: clientCertificate and privateKey have no effect; MUTUAL shows one",
        when=idle_in(("SIMPLE", 1), "clientCertificate", "privateKey"),
    ),
    Pending(
        path="tls",
        message="insecureSkipVerify takes every certificate for the right one: subjectAltNames and caCrl have no effect",
        when=lambda tls: bool(said(tls, "insecureSkipVerify")) and idle_in(("SIMPLE", "MUTUAL", 1, 2), "subjectAltNames", "caCrl")(tls),
    ),
    Pending(
        path="tls",
        message="mode ISTIO_MUTUAL trusts the mesh's authority: caCrl and insecureSkipVerify have no effect",
        when=idle_in(("ISTIO_MUTUAL", 3), "caCrl", "insecureSkipVerify"),
    ),
)
POOL = (
    Pending(
        path="http.http2KeepAlive",
        message="has no effect without interval: nothing is sent that could be answered",
        when=lacks("interval"),
    ),
)
"""Of pools for connections, of Sidecars' too."""
_BLOCKS = (
    *_CALLED_TLS,
    *under("connectionPool", POOL),
    Pending(
        path="loadBalancer",
        message="localityLbSetting is not in force beside zoneAwareLbSetting",
        when=lambda b: has("zoneAwareLbSetting")(b) and has("localityLbSetting")(b) and _zoned(b),
    ),
    Pending(
        path="loadBalancer",
        message="warms nothing up: only ROUND_ROBIN and LEAST_REQUEST do",
        when=lambda balancer: has("warmup", "warmupDurationSecs")(balancer) and not _by_turns(balancer),
    ),
    Pending(
        path="loadBalancer.consistentHash",
        message="names nothing to hash: callers are told apart by their address",
        when=lambda h: lacks("httpHeaderName", "httpCookie", "httpQueryParameterName")(h) and not said(h, "useSourceIp"),
    ),
    Pending(
        path="outlierDetection.consecutiveErrors",
        message="is an old spelling: it counts 5xx answers and failed connections in a row; write consecutive5xxErrors",
    ),
)


def policies(prefix: str) -> tuple[Pending, ...]:
    return (*under(prefix, _BLOCKS), *under(f"{prefix}.portLevelSettings[]", _BLOCKS))
