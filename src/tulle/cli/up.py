"""`tulle up`: a whole mesh on this machine."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tulle.cli.failure import Failure
from tulle.cli.files import configured, read_files
from tulle.cli.started import read, settings_from, started

if TYPE_CHECKING:
    from tulle.local import LocalMesh, Plan
    from tulle.model.resource import Resource, Violation
    from tulle.resources.meshfile import Mesh

DEFAULT = "mesh.yaml"


def up(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE|DIR]...", help="A mesh file, and documents; default: mesh.yaml, if there is one.")
    ] = None,
    api: Annotated[str | None, typer.Option(help="Address of the HTTP API; default 127.0.0.1:8500.")] = None,
    xds: Annotated[str | None, typer.Option(help="Address where other proxies get their configuration; default 127.0.0.1:15010.")] = None,
    dns: Annotated[str | None, typer.Option(help="Address where names are answered, or off; default 127.0.0.1:8600.")] = None,
    bind: Annotated[str | None, typer.Option(help="Address on which the gateway listens; 0.0.0.0 opens it to other machines.")] = None,
    state_dir: Annotated[str | None, typer.Option(help="Folder of the database; default ~/.local/state/tulle.")] = None,
    encryption_key_file: Annotated[
        str | None, typer.Option(help="Keys that the database is encrypted with; default: one made beside it.", metavar="FILE")
    ] = None,
    datacenter: Annotated[str | None, typer.Option(help="Name of the datacenter that this is; default dc1.")] = None,
    join_wan: Annotated[
        list[str] | None, typer.Option(metavar="NAME=URL", help="Another datacenter's control plane; may be given several times.")
    ] = None,
    acl: Annotated[
        str | None,
        typer.Option(help="What Consul's clients may do that no rule speaks of: allow, deny, off, or auto (deny beyond loopback)."),
    ] = None,
    config_dir: Annotated[str | None, typer.Option(help="Directory of definition files: services and checks of this machine.")] = None,
    run_dir: Annotated[str, typer.Option(envvar="TULLE_RUN_DIR", help="For the files of proxies; default: your runtime directory.")] = "",
    concurrency: Annotated[int, typer.Option(min=0, help="Worker threads of the gateway; 0 for one per core.")] = 0,
    drain: Annotated[float, typer.Option(min=0, help="Seconds in which callers still connected are served at the end.")] = 2.0,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error; default warning.")] = None,
) -> None:
    """Start control plane, gateway and the workloads of a mesh file, on this machine. Ctrl-C ends all of it.

    Documents in the files and folders are put into force. Those that an earlier `tulle up` put into force, and that the files no
    longer have, are taken out.

    \b
      tulle up
      tulle up shop/mesh.yaml
      tulle up shop/mesh.yaml shop/routes/ --bind 0.0.0.0
    """
    from tulle.logs import configure, load_quiet_grpc

    load_quiet_grpc()
    from tulle.local import LocalMesh

    given = paths or ([DEFAULT] if Path(DEFAULT).is_file() else [])
    options = {
        "api": api,
        "xds": xds,
        "dns": dns,
        "state_dir": state_dir,
        "encryption_key_file": encryption_key_file,
        "datacenter": datacenter,
        "join_wan": ",".join(join_wan) if join_wan else None,
        "acl": acl,
        "config_dir": config_dir,
        "log_level": log_level or os.environ.get("TULLE_LOG_LEVEL", "warning"),
    }
    plan = _plan(given, options, bind, run_dir, concurrency, drain)
    configure(plan.settings)
    mesh = LocalMesh(plan, _say)

    async def main(stop: asyncio.Event, hurry: asyncio.Event) -> int:
        async with asyncio.TaskGroup() as tasks:
            greeting = tasks.create_task(_greet(mesh))
            code = await mesh.run(stop, hurry)
            greeting.cancel()
        return code

    sys.exit(started(main))


def _plan(paths: list[str], options: dict[str, str | None], bind: str | None, run_dir: str, concurrency: int, drain: float) -> Plan:
    from dataclasses import replace

    from tulle.agent.gateway import GatewaySpec
    from tulle.agent.logs import Prefixed
    from tulle.agent.spec import AgentSettings
    from tulle.agent.workloads import gateway_spec, workloads
    from tulle.local import Plan
    from tulle.store.document import File

    files = read_files(paths) if paths else []
    mesh = _mesh(files)
    gateway = gateway_spec(mesh.spec) if mesh else GatewaySpec()
    specs = workloads(mesh.spec, Path(mesh.origin.path).parent) if mesh else ()
    for spec in specs:
        read(mesh.origin.path if mesh else "", lambda checked: checked.check(), spec)
    if mesh:
        settings = mesh.spec.settings.settings()
        said = {"domain": settings.domain, "root_namespace": settings.root_namespace}
        options |= said | {"outbound": "ALLOW_ANY" if settings.allow_any else "REGISTRY_ONLY"}
        files += list(configured(mesh, files))
    if gateway and bind:
        gateway = replace(gateway, bind=bind)
    width = max((len(spec.name) for spec in specs), default=0)
    resolved = settings_from(options)
    return Plan(
        settings=resolved,
        database=resolved.database(os.environ),
        agent=AgentSettings(run_dir=run_dir, drain=drain, sink=Prefixed(sys.stdout, width=width)),
        gateway=gateway,
        gateway_concurrency=concurrency,
        workloads=specs,
        files=tuple(File(path=path, text=text) for path, text in files),
    )


def _mesh(files: Iterable[tuple[str, str]]) -> Resource[Mesh] | None:
    """The mesh file among the files. Ends the program: 1 with all that is wrong in it, 2 when there are several."""
    from tulle.resources.read import read as read_documents

    found: list[Resource[Mesh]] = []
    wrong: list[Violation] = []
    for path, text in files:
        if "tulle.dev/" not in text:
            continue
        one = read_documents(text, path)
        found += one.meshes
        wrong += [v for v in one.violations if not v.resource or v.resource.startswith("Mesh/")]
    if wrong:
        raise Failure("\n".join(["the mesh file cannot be used:", *map(str, wrong)]))
    if len(found) > 1:
        raise Failure(f"more than one mesh file: {', '.join(str(mesh.origin) for mesh in found)}", exit_code=2)
    return found[0] if found else None


async def _greet(mesh: LocalMesh) -> None:
    """Says where everything is, once it is."""
    await mesh.ready.wait()
    plan = mesh.plan
    lines = [f"API         {'https' if plan.settings.api_is_tls else 'http'}://{plan.settings.api}"]
    lines += [f"gateway     {address}" for address in mesh.served()]
    for sidecar in mesh.sidecars:
        if sidecar.plan and sidecar.plan.node.http_proxy:
            proxy = "{}:{}".format(*sidecar.plan.node.http_proxy)
            lines.append(f"workload    {sidecar.spec.name}, its http_proxy {proxy}")
    for line in (*lines, "ready; Ctrl-C ends it"):
        _say(line)


def _say(line: str) -> None:
    sys.stderr.write(f"tulle: {line}\n")
