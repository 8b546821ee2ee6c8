"""`tulle agent`: the workloads of a mesh file on one of several machines."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tulle.cli.failure import Failure
from tulle.cli.started import read, started, warn_beyond_loopback

if TYPE_CHECKING:
    from tulle.agent.sidecar import Sidecar
    from tulle.resources.meshfile import Mesh


def agent(
    file: Annotated[str, typer.Argument(help="The mesh file, or a folder with mesh.yaml.")] = "mesh.yaml",
    machine: Annotated[str, typer.Option(help="Name of this machine, part of its instances' names; default: its host name.")] = "",
    address: Annotated[str, typer.Option(help="Address at which other machines reach the workloads.")] = "127.0.0.1",
    control: Annotated[str, typer.Option(envvar="TULLE_API", help="The control plane's API.")] = "127.0.0.1:8500",
    xds: Annotated[str, typer.Option(envvar="TULLE_XDS", help="Where proxies get their configuration.")] = "127.0.0.1:15010",
    node: Annotated[str, typer.Option(envvar="TULLE_NODE", help="Name of this machine; default: its host name.")] = "",
    run_dir: Annotated[str, typer.Option(envvar="TULLE_RUN_DIR", help="For the files of proxies; default: your runtime directory.")] = "",
) -> None:
    """Run the workloads of a mesh file on this machine, for a control plane that runs elsewhere.

    Of the file, only the workloads count: each is started with a sidecar, registered, and started again when it ends. A workload
    without a command gets a sidecar beside an application that is started by someone else.

    \b
      tulle agent mesh.yaml --control 10.0.0.1:8500 --xds 10.0.0.1:15010 --address 10.0.0.7
    """
    from tulle.agent import options
    from tulle.agent.logs import Prefixed
    from tulle.agent.sidecar import Sidecar
    from tulle.agent.spec import AgentSettings
    from tulle.agent.workloads import workloads

    path, mesh = mesh_in(Path(file))
    specs = workloads(mesh, path.parent, machine=machine or platform.node(), address=address)
    if not specs:
        raise Failure(f"{path}: has no workloads to run", exit_code=2)
    for spec in specs:
        read(str(path), lambda checked: checked.check(), spec)
    warn_beyond_loopback(address)
    sink = Prefixed(sys.stdout, width=max(len(spec.name) for spec in specs))
    settings = AgentSettings(xds=xds, api=control, node=options.machine(node, control), run_dir=run_dir, sink=sink)
    sys.exit(started(lambda stop, hurry: together([Sidecar(spec, settings) for spec in specs], stop, hurry)))


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


async def together(sidecars: list[Sidecar], stop: asyncio.Event, hurry: asyncio.Event) -> int:
    """Runs them until all have ended. 0."""
    async with asyncio.TaskGroup() as tasks:
        for sidecar in sidecars:
            tasks.create_task(sidecar.run(stop, hurry))
    return 0
