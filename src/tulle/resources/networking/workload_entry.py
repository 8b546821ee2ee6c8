"""WorkloadEntry: one instance of a service that nobody registers by itself; also the endpoints of a ServiceEntry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tulle.model.frozen import FrozenMap
from tulle.resources.names import LabelMap, Plain, fqdn, ip_or_unix, is_ip
from tulle.resources.scalars import NO_TEXTS, Map, Port, Text, UInt
from tulle.resources.spec import Problem, Spec, shown

_NO_PORTS: Mapping[str, int] = FrozenMap()


_PORT_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?")


class WorkloadEntry(Spec):
    address: Plain | None = None
    ports: Map[Port] = _NO_PORTS
    """Name of the service's port to the number on which this instance serves it."""
    labels: LabelMap = NO_TEXTS
    network: Text | None = None
    locality: Text | None = None
    weight: UInt | None = None
    service_account: Text | None = None

    def check(self) -> Iterable[Problem]:
        if not self.address and not self.network:
            yield ("address",), "required"
        if self.address and (complaint := _check_address(self.address)):
            yield ("address",), complaint
        if self.is_unix and self.ports:
            yield ("ports",), "must not be set for a Unix socket"
        for name in self.ports:
            if not _PORT_NAME.fullmatch(name) or len(name) > 63:
                yield ("ports", name), "is no name of a port: it takes letters, digits and '-'"

    @property
    def is_unix(self) -> bool:
        return bool(self.address and self.address.startswith("unix://"))


def _check_address(address: str) -> str | None:
    if address.startswith("unix://"):
        return ip_or_unix(address)
    return None if is_ip(address) or fqdn(address) is None else f"must be an IP address, a host name or unix:///path, not {shown(address)}"
