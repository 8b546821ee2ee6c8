"""`tulle identity`: what a workload shows to those with whom it has no mutual TLS."""

from __future__ import annotations

from typing import Annotated

import typer

from tulle.cli import client, output

identity = typer.Typer(
    name="identity",
    help="What a workload shows, to prove who it is, to those with whom it has no mutual TLS.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@identity.callback()
def _group() -> None:
    """Or its one command would take the place of the group."""


@identity.command("jwt")
def jwt(
    audience: Annotated[list[str], typer.Option("--audience", help="Who is to take it; may be given several times.")],
    workload: Annotated[
        str, typer.Option("--for", help="Whose it is; a workload that has joined gets its own.", metavar="NAMESPACE/SERVICE_ACCOUNT")
    ] = "",
    ttl: Annotated[str, typer.Option("--ttl", help="How long it holds, at most 1h; default: 5m.", metavar="DURATION")] = "",
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Issue a JSON Web Token with a workload's identity (SPIFFE JWT-SVID). It alone goes to standard output.

    \b
    Examples:
      tulle identity jwt --for shop/web --audience bank
      curl -H "authorization: Bearer $(tulle identity jwt --for shop/web --audience bank)" https://bank.example/

    Exit codes: 0 issued, 2 unusable arguments, not allowed, or no control plane.
    """
    asked = {"for": workload, "audience": audience, "ttl": ttl}
    made = client.Client(server).post("/api/v1/identity/jwt", {key: value for key, value in asked.items() if value})
    if form in (output.Format.YAML, output.Format.JSON):
        output.document(made, form)
        return
    output.out(made["token"])
    output.err(f"{made['identity']} for {', '.join(made['audience'])}, holds until {made['expires']}")
