"""`tulle mtls`: who speaks mutual TLS, and who does not."""

from __future__ import annotations

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

    STRICT refuses plain text: turn a service to it when no line of it says `plain text`.

    \b
    Examples:
      tulle mtls status
      tulle mtls status --plain

    Exit codes: 0 done, 2 no control plane.
    """
    found = client.Client(server).get("/api/v1/mtls")["edges"]
    chosen = [edge for edge in found if not plain or edge["speaks"] not in ("mutual TLS", "no instances")]
    if form in (output.Format.YAML, output.Format.JSON):
        output.document(chosen, form)
        return
    if not chosen:
        output.err(
            "all that connected proxies say to each other is mutual TLS" if found else "no proxy is connected, or no service is known"
        )
        return
    wide = form is output.Format.WIDE
    headers = ["CALLER", "SERVICE", "SPEAKS", "TAKES", "INSTANCES"] + (["RULES"] if wide else [])
    output.table(headers, [_row(edge, wide=wide) for edge in chosen])
    for edge in (edge for edge in chosen if edge["fails"]):
        output.err(
            f"warning: {edge['caller']} speaks {edge['speaks']} to {edge['host']}:{edge['port']}, of which some instances are STRICT"
        )


def _row(edge: dict[str, Any], *, wide: bool) -> list[str]:
    instances = f"{edge['mutual']}/{edge['instances']}"
    row = [edge["caller"], f"{edge['host']}:{edge['port']}", edge["speaks"], ", ".join(edge["modes"]) or "-", instances]
    return [*row, "; ".join(f"{source['rule']} ({source['origin']})" for source in edge["sources"])] if wide else row
