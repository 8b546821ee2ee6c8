"""Whose an address is: which workloads of the mesh are reached there, and on which machine that is."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from tulle.compile.mesh import Mesh
from tulle.model.proxy import Node, Role
from tulle.model.service import Registration


@dataclass(frozen=True, slots=True, kw_only=True)
class Whom:
    """What is known of an address, as a machine sees it."""

    address: str
    workloads: tuple[str, ...] = ()
    """`namespace/name` of each workload that is reached there, and the ids of gateways."""
    machine: str = ""
    """Empty where the catalog knows none."""

    @property
    def name(self) -> str:
        """The workload where there is no other, else the machine; empty for an address that nobody knows."""
        return self.workloads[0] if len(self.workloads) == 1 else self.machine

    def __str__(self) -> str:
        return f"{self.name} ({self.address})" if self.name else self.address


class _Holder(NamedTuple):
    name: str
    machine: str


class Whereabouts:
    """`machines`: names of machines by their addresses; `own`: of the one that the control plane runs on."""

    def __init__(
        self, mesh: Mesh, registrations: Iterable[Registration], nodes: Iterable[Node], machines: Mapping[str, str], own: str
    ) -> None:
        self._machines = {_canonical(address): name for address, name in machines.items()}
        self._own = own
        self._holders: dict[str, set[_Holder]] = {}
        for address, holder in (*self._registered(registrations), *self._declared(mesh), *self._gateways(nodes)):
            self._holders.setdefault(_canonical(address), set()).add(holder)

    def whom(self, address: str, machine: str) -> Whom:
        """Whose an address is on a machine: those of loopback are another's on each."""
        address = _canonical(address)
        holders = self._holders.get(address, ())
        if not _is_loopback(address):
            return Whom(address=address, workloads=_names(holders), machine=self._machines.get(address, ""))
        return Whom(address=address, workloads=_names(h for h in holders if h.machine == machine), machine=machine)

    def _registered(self, registrations: Iterable[Registration]) -> Iterator[tuple[str, _Holder]]:
        return ((r.address, _Holder(f"{r.namespace}/{r.service}", r.node or self._own)) for r in registrations)

    def _declared(self, mesh: Mesh) -> Iterator[tuple[str, _Holder]]:
        """Of documents. Those with an address of loopback can only mean the one machine of a mesh that has no other."""
        fixed = (w for found in mesh.catalog.documents.values() for definition in found for w in definition.fixed)
        for workload in (*mesh.catalog.workloads.entries(), *fixed):
            yield workload.endpoint.address, _Holder(f"{workload.namespace}/{workload.endpoint.workload}", self._own)

    def _gateways(self, nodes: Iterable[Node]) -> Iterator[tuple[str, _Holder]]:
        return ((node.ip, _Holder(node.id, self._own)) for node in nodes if node.role is Role.GATEWAY)


def _names(holders: Iterable[_Holder]) -> tuple[str, ...]:
    return tuple(sorted({holder.name for holder in holders}))


def _canonical(address: str) -> str:
    """Addresses of one spelling; what is no address stays as it is."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
