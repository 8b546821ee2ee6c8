"""What the control plane counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tulle.model.resource import Key
from tulle.server.ads import Counters
from tulle.server.firewall.beside import Beside
from tulle.server.fleet import Fleet

XDS = {
    "connected": ("streams_opened", "Streams that proxies have opened."),
    "refused": ("streams_turned_away", "Streams of proxies that were turned away."),
    "pushes": ("responses", "Responses sent to proxies."),
    "bytes": ("sent_bytes", "Bytes of responses sent to proxies."),
    "acks": ("acks", "Responses that proxies have acknowledged."),
    "nacks": ("nacks", "Responses that proxies have refused."),
}


class Certificates(Protocol):
    def ends(self) -> Iterable[tuple[Key, datetime]]:
        """Of each Certificate that an authority gave, when it ends."""
        ...


class MeshCollector(Collector):
    """Reads plain counters when it is asked, so that counting costs nothing."""

    def __init__(self, counters: Counters, fleet: Fleet, firewall: Beside, certificates: Certificates) -> None:
        self._counters = counters
        self._firewall = firewall
        self._fleet = fleet
        self._certificates = certificates

    def collect(self) -> Iterator[Metric]:
        for attribute, (name, text) in XDS.items():
            yield CounterMetricFamily(f"tulle_xds_{name}", text, value=getattr(self._counters, attribute))
        states = GaugeMetricFamily("tulle_proxies", "Connected proxies, by whether they follow all that is in force.", labels=["state"])
        current = sum(member.current for member in self._fleet.members.values())
        states.add_metric(["current"], current)
        states.add_metric(["behind"], len(self._fleet.members) - current)
        yield states
        yield from self._firewalls()
        yield self._ends()

    def _ends(self) -> Metric:
        ends = GaugeMetricFamily(
            "tulle_certificate_end_seconds", "When the certificate of a public authority ends, as Unix time.", labels=["namespace", "name"]
        )
        for key, end in self._certificates.ends():
            ends.add_metric([key.namespace, key.name], end.timestamp())
        return ends

    def _firewalls(self) -> Iterator[Metric]:
        """As many series as there are Firewalls, classes of attacks and outcomes: nothing of what callers send."""
        tally = self._firewall.tally
        requests = CounterMetricFamily(
            "tulle_firewall_requests", "Requests that firewalls were asked about, by what became of them.", labels=["firewall", "action"]
        )
        for (name, outcome), count in tally.requests.items():
            requests.add_metric([name, outcome], count)
        attacks = CounterMetricFamily(
            "tulle_firewall_findings", "Requests in which a class of attacks was found.", labels=["firewall", "attack", "action"]
        )
        for (name, kind, outcome), count in tally.classes.items():
            attacks.add_metric([name, kind, outcome], count)
        yield requests
        yield attacks
        yield CounterMetricFamily("tulle_firewall_starts", "Starts of the process that looks at requests.", value=self._firewall.starts)
        up = float(self._firewall.running)
        yield GaugeMetricFamily("tulle_firewall_up", "Whether the process that looks at requests runs.", value=up)


@contextmanager
def published(counters: Counters, fleet: Fleet, firewall: Beside, certificates: Certificates) -> Iterator[None]:
    """Shows the counts on `/metrics` while the block runs."""
    collector = MeshCollector(counters, fleet, firewall, certificates)
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)
