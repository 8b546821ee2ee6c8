"""A mesh compiled from files, with no control plane, and the proxy in it that a command asks about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tulle.agent.gateway import GatewaySpec, gateway_node
from tulle.agent.ports import may_bind_low, may_send_as_others
from tulle.agent.spec import WorkloadSpec
from tulle.agent.workloads import gateway_spec, workloads
from tulle.cli.failure import Failure
from tulle.cli.files import configured, read_files
from tulle.cli.nodefile import FORWARD_PROXY, read_node
from tulle.cli.output import err
from tulle.compile import Mesh, build
from tulle.model.mesh import Inputs, MeshSettings
from tulle.model.proxy import InboundPort, Node, Role
from tulle.model.resource import Key, Resource
from tulle.model.service import RegisteredPort, Registration
from tulle.resources import meshfile
from tulle.resources.read import Read, read

STAND_INS = 20000
"""The first of the ports on which the proxies of workloads are taken to listen; the real ones are chosen when they start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """What the files make."""

    mesh: Mesh
    gateway: GatewaySpec = GatewaySpec()
    workloads: tuple[WorkloadSpec, ...] = ()
    """Of a mesh file."""
    known: Mapping[str, WorkloadSpec] = field(default_factory=dict)

    def node(self, name: str, option: str) -> Node:
        """The proxy that is meant: `gateway`, a workload of the mesh file, or a file with a node. Ends the program (2) for others."""
        if name == "gateway":
            return gateway_node(self.gateway, privileged_ports=may_bind_low(self.gateway.bind), transparent=may_send_as_others())
        if workload := self.known.get(name.removeprefix("sidecar~")):
            return _sidecar(workload)
        path = Path(name)
        if path.is_file():
            ((_, text),) = read_files([name])
            return read_node(name, text)
        names = ", ".join(("gateway", *sorted({w.id for w in self.workloads})))
        raise Failure(f"{option}: {name!r} is no proxy of these files ({names}), and no file with a node", 2)

    def nodes(self) -> Iterator[Node]:
        """All proxies of the files: the gateway, and those of the workloads."""
        yield self.node("gateway", "")
        yield from map(_sidecar, self.workloads)


def compiled(names: Iterable[str]) -> Offline:
    """The mesh that documents and a mesh file make. Violations are printed, one a line, and end the program (1); warnings are printed."""
    found = read_all(names)
    violations = [violation for one in found for violation in one.violations]
    for violation in violations:
        err(str(violation))
    if violations:
        raise Failure(f"{len(violations)} violations: nothing was compiled", 1)
    for warning in (warning for one in found for warning in one.warnings):
        err(f"warning: {warning}")
    mesh = mesh_of(found)
    inputs = inputs_of(found, mesh)
    if inputs.registrations:
        err(f"note: the proxies of workloads choose their ports when they start; ports from {STAND_INS} on stand in for them")
    specs = _specs(mesh)
    gateway = (gateway_spec(mesh.spec) if mesh else None) or GatewaySpec()
    known = {name: spec for spec in reversed(specs) for name in (spec.service, spec.name, spec.id) if name}
    return Offline(mesh=build(inputs).mesh, gateway=gateway, workloads=specs, known=known)


def read_all(*names: Iterable[str] | None) -> list[Read]:
    """The files, and those that mesh files among them name. Raises Failure where one of these cannot be read."""
    files = read_files(*names)
    found = [read(text, path) for path, text in files]
    return found + [read(text, path) for one in found for mesh in one.meshes for path, text in configured(mesh, files)]


def mesh_of(found: Iterable[Read]) -> Resource[meshfile.Mesh] | None:
    """The mesh file among the files. Ends the program (2) where there are several."""
    meshes = [mesh for one in found for mesh in one.meshes]
    if len(meshes) > 1:
        raise Failure(f"more than one mesh file: {', '.join(str(mesh.origin) for mesh in meshes)}", 2)
    return meshes[0] if meshes else None


def inputs_of(found: Iterable[Read], mesh: Resource[meshfile.Mesh] | None) -> Inputs:
    """What a control plane would compile, with the workloads of the mesh file running."""
    registrations = {spec.id: _registration(spec, number) for number, spec in enumerate(_specs(mesh)) if spec.service}
    settings = mesh.spec.settings.settings() if mesh else MeshSettings()
    return Inputs(resources=_applied(r for one in found for r in one.resources), registrations=registrations, settings=settings)


def _specs(mesh: Resource[meshfile.Mesh] | None) -> tuple[WorkloadSpec, ...]:
    return workloads(mesh.spec, Path(mesh.origin.path).parent) if mesh else ()


def _applied(resources: Iterable[Resource[Any]]) -> Mapping[Key, Resource[Any]]:
    """As if applied in their order: the later document of one name stands, in the place of the first."""
    kept: dict[Key, Resource[Any]] = {}
    for number, resource in enumerate(resources, start=1):
        before = kept.get(resource.key)
        kept[resource.key] = replace(resource, created=before.created if before else number)
    return kept


def _registration(spec: WorkloadSpec, number: int) -> Registration:
    """As if the instance ran. Each has ports of its own, else instances on one machine would be taken for one."""
    first = STAND_INS + 20 * number
    ports = (
        RegisteredPort(number=p.number, target=first + n, name=p.name, protocol=p.protocol) for n, p in enumerate(spec.ports) if n < 20
    )
    return spec.registration(tuple(ports), f"sidecar~{spec.id}")


def _sidecar(spec: WorkloadSpec) -> Node:
    ports = (InboundPort(service_port=p.number, listen=p.number, target=p.target or p.number, protocol=p.protocol) for p in spec.ports)
    return Node(
        id=f"sidecar~{spec.id}",
        role=Role.SIDECAR,
        namespace=spec.namespace,
        labels=spec.all_labels,
        service=spec.service,
        service_account=spec.service_account,
        locality=spec.locality,
        inbound=tuple(ports),
        http_proxy=FORWARD_PROXY,
        upstreams=spec.upstreams,
    )
