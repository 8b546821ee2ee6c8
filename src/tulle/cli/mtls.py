"""`tulle mtls`: who speaks mutual TLS, and who does not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tulle.cli import client, output

mtls = typer.Typer(
    name="mtls",
    help="Who speaks mutual TLS to whom, and who does not.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@mtls.callback()
def _group() -> None:
    """A group, though it has one command so far."""


@mtls.command("status")
def status(
    plain: Annotated[bool, typer.Option("--plain", help="Only those that are not all mutual TLS.")] = False,
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Every connected proxy and every service that it can call: what is spoken between them, and what the service takes.

    Below it the workloads that callers reached in plain text since their proxies started, from wherever those callers are.
    STRICT refuses them: turn a service to it when they have gone.

    \b
    Examples:
      tulle mtls status
      tulle mtls status --plain

    Exit codes: 0 done, 2 no control plane.
    """
    found = client.Client(server).get("/api/v1/mtls")
    edges = [edge for edge in found["edges"] if not plain or edge["speaks"] not in ("mutual TLS", "no instances")]
    callers = [counted for counted in found["callers"] if counted["plain"] or not plain]
    if form in (output.Format.YAML, output.Format.JSON):
        output.document({"edges": edges, "callers": callers}, form)
        return
    _show_edges(edges, wide=form is output.Format.WIDE, known=bool(found["edges"]))
    _show_callers([counted for counted in callers if counted["plain"]])


def _show_edges(edges: list[dict[str, Any]], *, wide: bool, known: bool) -> None:
    if not edges:
        nothing = "no proxy is connected, or no service is known"
        output.err("all that connected proxies say to each other is mutual TLS" if known else nothing)
        return
    headers = ["CALLER", "SERVICE", "SPEAKS", "TAKES", "INSTANCES"] + (["RULES"] if wide else [])
    output.table(headers, [_row(edge, wide=wide) for edge in edges])
    for edge in (edge for edge in edges if edge["fails"]):
        where = f"{edge['host']}:{edge['port']}"
        output.err(f"warning: {edge['caller']} speaks {edge['speaks']} to {where}, of which some instances are STRICT")


def _show_callers(callers: list[dict[str, Any]]) -> None:
    if not callers:
        return
    output.out("")
    now = datetime.now(UTC)
    rows = [[c["proxy"], c["port"], c["plain"], c["mutual"], _ago(c["last"], now)] for c in callers]
    output.table(["CALLED IN PLAIN TEXT", "PORT", "CONNECTIONS", "MUTUAL TLS", "LAST"], rows)


def _ago(last: str, now: datetime) -> str:
    return f"{output.age((now - datetime.fromisoformat(last)).total_seconds())} ago" if last else "-"


def _row(edge: dict[str, Any], *, wide: bool) -> list[str]:
    instances = f"{edge['mutual']}/{edge['instances']}"
    row = [edge["caller"], f"{edge['host']}:{edge['port']}", edge["speaks"], ", ".join(edge["modes"]) or "-", instances]
    return [*row, "; ".join(f"{source['rule']} ({source['origin']})" for source in edge["sources"])] if wide else row
