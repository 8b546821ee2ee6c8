"""WorkloadEntry: one instance of a service that nobody registers by itself; also the endpoints of a ServiceEntry."""

from __future__ import annotations

from collections.abc import Mapping

from tulle.model.frozen import FrozenMap
from tulle.resources.names import LabelMap, Plain
from tulle.resources.scalars import NO_TEXTS, Map, Port, Text, UInt
from tulle.resources.spec import Spec

_NO_PORTS: Mapping[str, int] = FrozenMap()


class WorkloadEntry(Spec):
    address: Plain | None = None
    ports: Map[Port] = _NO_PORTS
    """Name of the service's port to the number on which this instance serves it."""
    labels: LabelMap = NO_TEXTS
    network: Text | None = None
    locality: Text | None = None
    weight: UInt | None = None
    service_account: Text | None = None
