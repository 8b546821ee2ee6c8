"""What the control plane counts of itself, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tulle.server.ads import Counters
from tulle.server.fleet import Fleet

XDS = {
    "connected": ("streams_opened", "Streams that proxies have opened."),
    "refused": ("streams_turned_away", "Streams of proxies that were turned away."),
    "pushes": ("responses", "Responses sent to proxies."),
    "bytes": ("sent_bytes", "Bytes of responses sent to proxies."),
    "acks": ("acks", "Responses that proxies have acknowledged."),
    "nacks": ("nacks", "Responses that proxies have refused."),
}


class MeshCollector(Collector):
    """Reads plain counters when it is asked, so that counting costs nothing."""

    def __init__(self, counters: Counters, fleet: Fleet) -> None:
        self._counters = counters
        self._fleet = fleet

    def collect(self) -> Iterator[Metric]:
        for attribute, (name, text) in XDS.items():
            yield CounterMetricFamily(f"tulle_xds_{name}", text, value=getattr(self._counters, attribute))
        states = GaugeMetricFamily("tulle_proxies", "Connected proxies, by whether they follow all that is in force.", labels=["state"])
        current = sum(member.current for member in self._fleet.members.values())
        states.add_metric(["current"], current)
        states.add_metric(["behind"], len(self._fleet.members) - current)
        yield states


@contextmanager
def published(counters: Counters, fleet: Fleet) -> Iterator[None]:
    """Shows the counts on `/metrics` while the block runs."""
    collector = MeshCollector(counters, fleet)
    REGISTRY.register(collector)
    try:
        yield
    finally:
        REGISTRY.unregister(collector)
