"""`tulle agent`: the workloads of a mesh file on one of several machines."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tulle.cli.credentials import OfAgent
from tulle.cli.failure import Failure
from tulle.cli.started import JoinCert, Joining, JoinKey, JoinRoot, JoinTokenFile, Runner, api_of, members_of, read, settings_from, started

if TYPE_CHECKING:
    from tulle.agent.machine import Machine
    from tulle.agent.sidecar import Sidecar
    from tulle.agent.spec import WorkloadSpec
    from tulle.resources.meshfile import Mesh


def agent(
    file: Annotated[str, typer.Argument(help="The mesh file, or a folder with mesh.yaml.")] = "mesh.yaml",
    machine: Annotated[str, typer.Option(help="Name of this machine, part of its instances' names; default: its host name.")] = "",
    address: Annotated[str, typer.Option(help="Address at which other machines reach the workloads.")] = "127.0.0.1",
    join_token_file: JoinTokenFile = "",
    join_cert: JoinCert = "",
    join_key: JoinKey = "",
    join_root: JoinRoot = "",
    control: Annotated[str, typer.Option(envvar="TULLE_API", help="The control plane's API.")] = "127.0.0.1:8500",
    xds: Annotated[str, typer.Option(envvar="TULLE_XDS", help="Where proxies get their configuration.")] = "127.0.0.1:15010",
    node: Annotated[str, typer.Option(envvar="TULLE_NODE", help="Name of this machine; default: its host name.")] = "",
    config_dir: Annotated[str, typer.Option(envvar="TULLE_CONFIG_DIR", help="Directory of definition files of this machine.")] = "",
    run_dir: Annotated[str, typer.Option(envvar="TULLE_RUN_DIR", help="For the files of proxies; default: your runtime directory.")] = "",
) -> None:
    """Run the workloads of a mesh file on this machine, for a control plane that runs elsewhere.

    Of the file, only the workloads count: each is started with a sidecar, registered, and started again when it ends. A workload
    without a command gets a sidecar beside an application that is started by someone else. With --config-dir, the services and checks of
    definition files are kept in the registry too, and checked here; then there need be no mesh file.

    \b
      tulle agent mesh.yaml --control 10.0.0.1:8500 --xds 10.0.0.1:15010 --address 10.0.0.7
      tulle agent --config-dir /etc/consul.d --control 10.0.0.1:8500 --address 10.0.0.7
    """
    from tulle.agent import options
    from tulle.agent.logs import Prefixed
    from tulle.agent.sidecar import Sidecar
    from tulle.agent.spec import AgentSettings
    from tulle.agent.workloads import workloads

    specs: tuple[WorkloadSpec, ...] = ()
    if not config_dir or Path(file).exists():
        path, mesh = mesh_in(Path(file))
        specs = workloads(mesh, path.parent, machine=machine or platform.node(), address=address)
        if not specs and not config_dir:
            raise Failure(f"{path}: has no workloads to run", exit_code=2)
        for spec in specs:
            read(str(path), lambda checked: checked.check(), spec)
    sink = Prefixed(sys.stdout, width=max((len(spec.name) for spec in specs), default=0))
    api = api_of(control)
    # Where there are no workloads, there are no proxies that ask for anything.
    settings = AgentSettings(xds=xds if specs else "/", api=api, node=options.machine(node, api), run_dir=run_dir, sink=sink)

    def work(admitted: Mapping[str, AgentSettings]) -> Runner:
        units: list[Sidecar | Machine] = [Sidecar(spec, admitted[_identity(spec)]) for spec in specs]
        if config_dir:
            own = next(iter(admitted.values())).credentials if admitted else OfAgent()
            units.append(replace(_defined(config_dir, api, node or platform.node(), address), credentials=own))
        return lambda stop, hurry: together(units, stop, hurry)

    joining = Joining(token_file=join_token_file, certificate=join_cert, key=join_key, root=join_root)
    sys.exit(started(members_of(settings, sorted({_identity(spec) for spec in specs}), joining, work)))


def _identity(spec: WorkloadSpec) -> str:
    return f"{spec.namespace}/{spec.service_account}"


def _defined(config_dir: str, control: str, node: str, address: str) -> Machine:
    from tulle.agent.machine import Machine
    from tulle.logs import configure

    settings = settings_from({"config_dir": config_dir, "log_level": os.environ.get("TULLE_LOG_LEVEL", "warning")})
    configure(settings)
    return Machine(
        api=control,
        node=node,
        address=address,
        directory=Path(config_dir),
        scripts=settings.enable_script_checks or settings.enable_local_script_checks,
        ready=asyncio.Event(),
    )


def mesh_in(path: Path) -> tuple[Path, Mesh]:
    """The mesh of a mesh file, or of `mesh.yaml` in a folder. Ends the program: 1 with all that is wrong in it, 2 when there is none."""
    from tulle.resources.meshfile import KIND
    from tulle.resources.read import read as read_documents

    path = path / "mesh.yaml" if path.is_dir() else path
    try:
        found = read_documents(path.read_text(encoding="utf-8"), os.fspath(path))
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {getattr(error, 'strerror', None) or error}", exit_code=2) from None
    for warning in found.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    if found.violations:
        raise Failure("\n".join(["the mesh file cannot be used:", *map(str, found.violations)]))
    if len(found.meshes) != 1:
        raise Failure(f"{path}: has {len(found.meshes)} documents of kind {KIND}, not one", exit_code=2)
    return path, found.meshes[0].spec


async def together(units: Sequence[Sidecar | Machine], stop: asyncio.Event, hurry: asyncio.Event) -> int:
    """Runs them until all have ended. 0."""
    async with asyncio.TaskGroup() as tasks:
        for unit in units:
            tasks.create_task(unit.run(stop, hurry))
    return 0
