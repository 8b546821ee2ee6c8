"""From a mesh file to what an agent runs: one spec for each instance, and the gateway's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tulle.agent.gateway import DEFAULT_LABELS, GatewaySpec
from tulle.agent.spec import JwtWish, WorkloadPort, WorkloadSpec
from tulle.agent.supervise import Policy, Restart
from tulle.model.frozen import FrozenMap
from tulle.model.identity import Labels
from tulle.resources.meshfile import Mesh, RestartWhen, Workload

RESTART = {RestartWhen.ALWAYS: Restart.ALWAYS, RestartWhen.ON_FAILURE: Restart.ON_FAILURE, RestartWhen.NEVER: Restart.NEVER}


def workloads(mesh: Mesh, folder: Path, *, machine: str = "", address: str = "127.0.0.1") -> tuple[WorkloadSpec, ...]:
    """The instances of a mesh file that lies in `folder`.

    `machine` becomes part of their ids, where several machines run the same file. `address` is what callers dial.
    """
    return tuple(_instances(mesh, folder, f"@{machine}" if machine else "", address))


def _instances(mesh: Mesh, folder: Path, suffix: str, address: str) -> Iterator[WorkloadSpec]:
    many = Counter[str]()
    for workload in mesh.workloads:
        many[_name(workload)] += workload.replicas
    given = Counter[str]()
    for workload in mesh.workloads:
        name = _name(workload)
        for _ in range(workload.replicas):
            number = f"-{given[name]}" if many[name] > 1 else ""
            given[name] += 1
            yield _instance(workload, folder, name + number + suffix, workload.title + number, address)


def _name(workload: Workload) -> str:
    return workload.title if workload.namespace == "default" else f"{workload.title}.{workload.namespace}"


def _instance(workload: Workload, folder: Path, id_: str, title: str, address: str) -> WorkloadSpec:
    return WorkloadSpec(
        id=id_,
        title=title,
        service=workload.service or "",
        namespace=workload.namespace,
        version=workload.version,
        labels=Labels(dict(workload.labels)),
        ports=tuple(
            WorkloadPort(number=p.number, target=p.target or 0, name=p.name or f"{p.protocol.value}-{p.number}", protocol=p.speaks)
            for p in workload.ports
        ),
        command=workload.command,
        environment=FrozenMap(dict(workload.env)),
        directory=str(folder / (workload.working_directory or ".")),
        service_account=workload.service_account,
        locality=workload.locality,
        weight=workload.weight,
        upstreams=tuple(upstream.upstream() for upstream in workload.upstreams),
        jwt=_jwt(workload, folder),
        address=address,
        restart=RESTART[workload.restart],
        first_delay=workload.backoff.total_seconds() if workload.backoff is not None else Policy().first_delay,
    )


def _jwt(workload: Workload, folder: Path) -> JwtWish | None:
    if not (said := workload.jwt):
        return None
    return JwtWish(audiences=said.audiences, path=str(folder / said.file) if said.file else "")


def gateway_spec(mesh: Mesh) -> GatewaySpec | None:
    """The gateway that the mesh file asks for; None when it wants none."""
    said = mesh.gateway
    if not said.enabled:
        return None
    labels = Labels(dict(said.labels)) if said.labels is not None else DEFAULT_LABELS
    return GatewaySpec(name=said.name, namespace=said.namespace, labels=labels, bind=said.bind or GatewaySpec().bind)
