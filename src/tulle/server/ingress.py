"""The gateways through which a service can be reached: those that have it among their clusters."""

from __future__ import annotations

from collections.abc import Iterator

from tulle.compile import gateway_addresses
from tulle.compile.mesh import Mesh
from tulle.dns.zone import Instance, Machine, ServiceName
from tulle.model.proxy import Role
from tulle.server.fleet import Fleet
from tulle.translate.snapshot import CLUSTER


def ingress(fleet: Fleet, mesh: Mesh, name: ServiceName) -> Iterator[Instance]:
    """One for each port of each gateway."""
    end = f"|{name[1]}.{name[0]}.svc.{mesh.settings.domain}"
    for member in fleet.members.values():
        node = member.node
        if node.role is Role.GATEWAY and any(entry.name.endswith(end) for entry in member.snapshot.entries(CLUSTER)):
            machine = Machine(name=node.id, address=node.ip)
            for server in gateway_addresses(mesh, node):
                if not server.dropped:
                    yield Instance(id=f"{node.id}:{server.port}", service=name[1], machine=machine, address=node.ip, port=server.port)
