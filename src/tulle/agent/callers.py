"""Who calls a workload past the mesh, and what fails: what a proxy has counted of connections and requests. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

PATTERN = (
    r"^(listener\..*\.(downstream_cx_total|no_filter_chain_match|ssl\.(handshake|connection_error|fail_verify_\w+))"
    r"|http\.inbound\|.*\.downstream_rq_(total|5xx)"
    r"|cluster\.outbound\|.*\.(upstream_cx_connect_fail|upstream_rq_5xx))$"
)
"""The statistics that tell."""
_LISTENER = re.compile(r"listener\.((?!.*\.worker_).+)_(\d+)\.(downstream_cx_total|no_filter_chain_match|ssl\.\w+)")
_REQUESTS = re.compile(r"http\.inbound\|(\d+)\|\|\.(downstream_rq_\w+)")
_CLUSTER = re.compile(r"cluster\.(outbound\|.+)\.(upstream_\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Connections to a port of the workload since its proxy started."""

    port: int
    """As callers know it."""
    mutual: int = 0
    plain: int = 0
    last: str = ""
    """When one in plain text was last noticed, as ISO 8601; empty for never. Those that were refused count here, too."""
    refused: int = 0
    """In plain text, where only mutual TLS is taken."""
    failed: int = 0
    """Those that began TLS and came to nothing: without a certificate that is trusted, for example."""
    requests: int = 0
    errors: int = 0
    """Requests that were answered 5xx."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What failed of the workload's own calls to a service since its proxy started."""

    cluster: str
    unreached: int = 0
    """Connections that could not be made."""
    errors: int = 0
    """Requests that were answered 5xx, by the service or in its place."""


class Counted:
    """Follows the counts of one proxy. `inbound`: the port where it listens to the one that callers know."""

    def __init__(self, inbound: Mapping[int, int]) -> None:
        self._inbound = inbound
        self.current: dict[int, Callers] = {}
        self.calls: tuple[Calls, ...] = ()
        """Of services with which something failed."""

    def take(self, stats: Mapping[str, int], now: str) -> None:
        """What the proxy says at a moment. It counts from zero again when it was started again."""
        for found in _counted(stats, self._inbound):
            before = self.current.get(found.port, Callers(port=found.port))
            changed = (found.plain, found.refused) != (before.plain, before.refused)
            last = now if (found.plain or found.refused) and changed else before.last
            self.current[found.port] = replace(found, last=last)
        self.calls = tuple(_calls(stats))


def _counted(stats: Mapping[str, int], inbound: Mapping[int, int]) -> Iterator[Callers]:
    counts: dict[int, dict[str, int]] = {}
    for name, value in stats.items():
        if (match := _LISTENER.fullmatch(name)) and (port := inbound.get(int(match[2]))):
            counts.setdefault(port, {})[match[3]] = value
        elif match := _REQUESTS.fullmatch(name):
            counts.setdefault(int(match[1]), {})[match[2]] = value
    yield from (_callers(port, count) for port, count in sorted(counts.items()) if port in inbound.values())


def _callers(port: int, count: Mapping[str, int]) -> Callers:
    mutual = count.get("ssl.handshake", 0)
    # Envoy tells errors of the handshake from certificates that it does not take.
    failed = sum(value for name, value in count.items() if name.startswith("ssl.") and name != "ssl.handshake")
    return Callers(
        port=port,
        mutual=mutual,
        plain=max(0, count.get("downstream_cx_total", 0) - mutual - failed),
        refused=count.get("no_filter_chain_match", 0),
        failed=failed,
        requests=count.get("downstream_rq_total", 0),
        errors=count.get("downstream_rq_5xx", 0),
    )


def _calls(stats: Mapping[str, int]) -> Iterator[Calls]:
    found: dict[str, dict[str, int]] = {}
    for name, value in stats.items():
        if value and (match := _CLUSTER.fullmatch(name)):
            found.setdefault(match[1], {})[match[2]] = value
    for cluster, count in sorted(found.items()):
        yield Calls(cluster=cluster, unreached=count.get("upstream_cx_connect_fail", 0), errors=count.get("upstream_rq_5xx", 0))
