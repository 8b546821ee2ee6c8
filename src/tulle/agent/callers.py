"""Who calls a workload past the mesh: what a proxy has counted of connections with mutual TLS and without. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

PATTERN = r"^listener\..*\.(downstream_cx_total|ssl\.handshake|ssl\.connection_error)$"
"""The statistics that tell."""
_NAME = re.compile(r"listener\.((?!.*\.worker_).+)_(\d+)\.(downstream_cx_total|ssl\.handshake|ssl\.connection_error)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """Connections to a port of the workload since its proxy started."""

    port: int
    """As callers know it."""
    mutual: int = 0
    plain: int = 0
    last: str = ""
    """When one in plain text was last noticed, as ISO 8601; empty for never."""


class Counted:
    """Follows the counts of one proxy. `inbound`: the port where it listens to the one that callers know."""

    def __init__(self, inbound: Mapping[int, int]) -> None:
        self._inbound = inbound
        self.current: dict[int, Callers] = {}

    def take(self, stats: Mapping[str, int], now: str) -> None:
        """What the proxy says at a moment. It counts from zero again when it was started again."""
        for found in _counted(stats, self._inbound):
            before = self.current.get(found.port, Callers(port=found.port))
            last = now if found.plain and found.plain != before.plain else before.last
            self.current[found.port] = replace(found, last=last)


def _counted(stats: Mapping[str, int], inbound: Mapping[int, int]) -> Iterator[Callers]:
    counts: dict[int, dict[str, int]] = {}
    for name, value in stats.items():
        match = _NAME.fullmatch(name)
        if match and (port := inbound.get(int(match[2]))):
            counts.setdefault(port, {})[match[3]] = value
    for port, count in sorted(counts.items()):
        mutual = count.get("ssl.handshake", 0)
        # What failed to shake hands was no plain text.
        plain = count.get("downstream_cx_total", 0) - mutual - count.get("ssl.connection_error", 0)
        yield Callers(port=port, mutual=mutual, plain=max(0, plain))
