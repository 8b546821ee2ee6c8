"""`tulle services`: what can be called, and instances put in and taken out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tulle.cli import client
from tulle.cli.failure import Failure
from tulle.cli.output import Format, Output, document, err, out, table

services = typer.Typer(
    name="services",
    add_completion=False,
    rich_markup_mode=None,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)
Only = Annotated[str, typer.Option("--namespace", "-n", help="Only of this namespace.")]
FILES = (".json", ".hcl")


@services.callback()
def list_(context: typer.Context, namespace: Only = "", output: Output = Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """The services of the mesh: what can be called, and how many instances answer. Or put instances in and take them out.

    \b
    Examples:
      tulle services
      tulle services -n shop -o json
      tulle services register web.hcl
      tulle services deregister web-1
    """
    if context.invoked_subcommand:
        return
    found = [item for item in client.Client(server).get("/api/v1/services")["services"] if namespace in ("", item["namespace"])]
    if output in (Format.YAML, Format.JSON):
        document(found, output)
    elif not found:
        err("no services: start a workload with `tulle run`, or apply a ServiceEntry")
    else:
        wide = output is Format.WIDE
        rows = []
        for item in found:
            ports = ",".join(f"{port['number']}/{port['protocol']}" for port in item["ports"])
            row = [item["host"], ports, f"{item['healthy']}/{item['endpoints']}"]
            rows.append(row + ([item["resolution"], item["origin"] or item["source"]] if wide else []))
        table(["SERVICE", "PORTS", "HEALTHY"] + (["RESOLUTION", "FROM"] if wide else []), rows)


@services.command()
def register(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="Definition files, JSON or HCL.")] = None,
    name: Annotated[str, typer.Option("--name", "-name", help="Of the service, instead of a file.")] = "",
    identifier: Annotated[str, typer.Option("--id", "-id", help="Of the instance; default: the name.")] = "",
    port: Annotated[int, typer.Option("--port", "-port", min=0, max=65535, help="Where it listens.")] = 0,
    address: Annotated[str, typer.Option("--address", "-address", help="Where it is; default: on the control plane's machine.")] = "",
    tag: Annotated[list[str] | None, typer.Option("--tag", "-tag", help="May be given several times.")] = None,
    meta: Annotated[list[str] | None, typer.Option("--meta", "-meta", metavar="KEY=VALUE", help="May be given several times.")] = None,
    check_http: Annotated[str, typer.Option(metavar="URL", help="Check it by this URL.")] = "",
    check_tcp: Annotated[str, typer.Option(metavar="HOST:PORT", help="Check that this takes connections.")] = "",
    check_ttl: Annotated[str, typer.Option(metavar="DURATION", help="It tells of itself, at least so often.")] = "",
    check_every: Annotated[str, typer.Option(metavar="DURATION", help="Between two checks.")] = "10s",
    token: client.Token = "",
    server: client.Server = client.DEFAULT,
) -> None:
    """Register instances of services, and checks: from definition files, or one from options.

    They belong to the machine of the control plane, and stay until they are deregistered.

    \b
    Examples:
      tulle services register web.hcl
      tulle services register --name web --port 8080 --tag v1 --check-http http://127.0.0.1:8080/health

    Exit codes: 0 done, 1 it cannot be used, 2 unusable arguments or no control plane.
    """
    if bool(files) == bool(name):
        raise Failure("give definition files, or --name", 2)
    if files:
        found = [definition for path in files for definition in _read(path)]
    else:
        check = _check(check_http, check_tcp, check_ttl, check_every)
        found = [(True, _service(name, identifier, port, address, tag or [], meta or [], check))]
    asking = client.Client(server)
    for is_service, given in found:
        asking.consul("PUT", f"/v1/agent/{'service' if is_service else 'check'}/register", given, token)
        out(f"{_id(given)} registered")


@services.command()
def deregister(
    names: Annotated[list[str], typer.Argument(metavar="ID|FILE...", help="Ids of instances, or the files that define them.")],
    token: client.Token = "",
    server: client.Server = client.DEFAULT,
) -> None:
    """Take instances out.

    \b
    Examples:
      tulle services deregister web-1
      tulle services deregister web.hcl

    Exit codes: 0 done, 1 there is no such instance, 2 unusable arguments or no control plane.
    """
    asking = client.Client(server)
    for name in names:
        ids = [_id(given) for is_service, given in _read(name) if is_service] if name.endswith(FILES) else [name]
        for identifier in ids:
            asking.consul("PUT", f"/v1/agent/service/deregister/{quote(identifier, safe='')}", token=token)
            out(f"{identifier} deregistered")


def _read(path: str) -> Iterator[tuple[bool, dict[str, Any]]]:
    """The definitions of a file, whether each is a service. Ends the program with what is wrong in it."""
    from tulle.server.consul.definitions import DefinitionError, read

    try:
        found, warnings = read(path, Path(path).read_text(encoding="utf-8"), "", scripts=True)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path}: {getattr(error, 'strerror', None) or error}", 2) from None
    except DefinitionError as error:
        raise Failure(str(error)) from None
    for warning in warnings:
        err(f"warning: {warning}")
    for definition in found:
        yield definition.is_service, dict(definition.given)


def _id(given: dict[str, Any]) -> str:
    known = {key.lower().replace("_", ""): value for key, value in given.items()}
    return str(known.get("id") or known.get("checkid") or known["name"])


def _service(
    name: str, identifier: str, port: int, address: str, tags: list[str], meta: list[str], check: dict[str, str] | None
) -> dict[str, Any]:
    pairs = [pair.partition("=") for pair in meta]
    if wrong := [key for key, sign, _ in pairs if not (key and sign)]:
        raise Failure(f"--meta: {wrong[0]!r} is not KEY=VALUE", 2)
    words = {key: value for key, _, value in pairs}
    given = {"ID": identifier, "Port": port, "Address": address, "Tags": tags, "Meta": words, "Check": check}
    return {"Name": name, **{key: value for key, value in given.items() if value}}


def _check(http: str, tcp: str, ttl: str, every: str) -> dict[str, str] | None:
    given = {"HTTP": http, "TCP": tcp, "TTL": ttl}
    chosen = {key: value for key, value in given.items() if value}
    if len(chosen) > 1:
        raise Failure("--check-http, --check-tcp and --check-ttl: give one of them", 2)
    return (chosen if ttl else chosen | {"Interval": every}) if chosen else None
