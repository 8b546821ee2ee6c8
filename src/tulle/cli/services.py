"""`tulle services`."""

from __future__ import annotations

from typing import Annotated

import typer

from tulle.cli import client
from tulle.cli.output import Format, Output, document, err, table

Only = Annotated[str, typer.Option("--namespace", "-n", help="Only of this namespace.")]


def services(namespace: Only = "", output: Output = Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """The services of the mesh: what can be called, and how many instances answer.

    \b
    Examples:
      tulle services
      tulle services -n shop -o json
    """
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
