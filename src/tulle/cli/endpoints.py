"""`tulle endpoints`."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from tulle.cli import client
from tulle.cli.output import Format, Output, document, err, table

ServiceName = Annotated[
    str, typer.Argument(help="A service: name, name.namespace or the full host name. All, if absent.", metavar="[SERVICE]")
]


def endpoints(service: ServiceName = "", output: Output = Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """The instances behind a service.

    \b
    Examples:
      tulle endpoints reviews
      tulle endpoints reviews.shop -o wide
    """
    found = client.Client(server).get("/api/v1/endpoints" + (f"/{quote(service, safe='')}" if service else ""))["endpoints"]
    if output in (Format.YAML, Format.JSON):
        document(found, output)
    elif not found:
        err("no endpoints")
    else:
        wide = output is Format.WIDE
        rows = []
        for item in found:
            address = f"{item['address']}:{item['port']}" if item["port"] else item["address"]
            row = [item["host"], item["servicePort"], address, item["health"], item["workload"]]
            labels = ",".join(f"{name}={value}" for name, value in sorted(item["labels"].items()))
            rows.append(row + ([item["weight"], item["locality"], labels] if wide else []))
        table(["SERVICE", "PORT", "ENDPOINT", "HEALTH", "WORKLOAD"] + (["WEIGHT", "LOCALITY", "LABELS"] if wide else []), rows)
