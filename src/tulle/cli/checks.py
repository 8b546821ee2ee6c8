"""`tulle checks`."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from tulle.cli import client
from tulle.cli.output import Format, Output, age, document, err, table

WIDTH = 80
"""Characters of an output in the table."""


class State(StrEnum):
    ANY = "any"
    PASSING = "passing"
    WARNING = "warning"
    CRITICAL = "critical"


def checks(
    service: Annotated[str, typer.Argument(help="Only those of a service, by its name or id.", metavar="[SERVICE]")] = "",
    state: Annotated[State, typer.Option(help="Only those in this state.")] = State.ANY,
    node: Annotated[str, typer.Option(help="Only those of this machine.")] = "",
    output: Output = Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """What is checked, its state, since when, and what it said last.

    \b
    Examples:
      tulle checks
      tulle checks web --state critical -o wide

    Exit codes: 0 done, 2 no control plane.
    """
    asked = urlencode({"service": service, "node": node, "state": state.value})
    found = client.Client(server).get(f"/api/v1/checks?{asked}")["checks"]
    if output in (Format.YAML, Format.JSON):
        document(found, output)
    elif not found:
        err("no checks")
    else:
        wide = output is Format.WIDE
        table(
            ["STATE", "SINCE", "NODE", "SERVICE", "CHECK", "OUTPUT"] + (["NAME", "TYPE", "EVERY"] if wide else []),
            [_row(item, wide=wide) for item in found],
        )


def _row(item: dict[str, Any], *, wide: bool) -> list[str]:
    since = age((datetime.now(UTC) - datetime.fromisoformat(item["since"])).total_seconds()) if item["since"] else "-"
    said = " ".join((item["output"] or item["notes"]).split())
    shown = said if wide or len(said) <= WIDTH else said[: WIDTH - 3] + "..."
    row = [item["state"], since, item["node"], item["serviceId"] or "-", item["id"], shown]
    return row + ([item["name"], item["type"] or "-", item["interval"] or "-"] if wide else [])
