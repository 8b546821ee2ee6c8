"""What a proxy has ejected, by its own event log (Envoy's "Outlier detection", section "Ejection event logging"). Pure.

{"type": "CONSECUTIVE_5XX", "cluster_name": "outbound|80||web...", "upstream_url": "10.0.0.1:80", "action": "EJECT", ...}
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Place = tuple[str, str, int]
"""A cluster, and an address and port in it."""
MOST = 10_000
"""So many are remembered at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ejected:
    cluster: str
    address: str
    port: int
    reason: str
    """`consecutive 5xx` and the like."""
    since: str
    """As the proxy tells the time: ISO 8601."""


@dataclass(slots=True)
class Ejections:
    """`current` is what the lines so far leave ejected."""

    current: dict[Place, Ejected] = field(default_factory=dict)

    def take(self, line: str) -> None:
        """One line of the log. What is no event changes nothing."""
        try:
            event = json.loads(line)
            place = _place(event["cluster_name"], event["upstream_url"])
        except (ValueError, KeyError, TypeError):
            return
        if event.get("action") == "UNEJECT":
            self.current.pop(place, None)
        elif event.get("enforced") and len(self.current) < MOST:
            self.current[place] = Ejected(
                cluster=place[0], address=place[1], port=place[2], reason=_words(event), since=str(event.get("timestamp", ""))
            )

    def keep(self, places: Iterable[Place]) -> None:
        """Only those that the proxy still has."""
        still = set(places)
        self.current = {place: ejected for place, ejected in self.current.items() if place in still}


def _place(cluster: str, address: str) -> Place:
    host, _, port = address.rpartition(":")
    return cluster, host.strip("[]"), int(port)


def _words(event: dict[str, Any]) -> str:
    # The first value of an enumeration is left out of the log.
    return str(event.get("type", "CONSECUTIVE_5XX")).replace("_", " ").lower()


def ejected_hosts(clusters: dict[str, Any]) -> Iterable[Place]:
    """What `/clusters?format=json` says is ejected now."""
    for cluster in clusters.get("cluster_statuses", []):
        for host in cluster.get("host_statuses", []):
            at = host.get("address", {}).get("socket_address", {})
            if host.get("health_status", {}).get("failed_outlier_check"):
                yield cluster["name"], at.get("address", ""), at.get("port_value", 0)
