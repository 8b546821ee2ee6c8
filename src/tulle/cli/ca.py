"""`tulle ca`: the authority behind the identities of workloads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from tulle.cli import client, output

ca = typer.Typer(
    name="ca",
    help="The authority behind the identities of workloads, and how its root is replaced.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

SOON = timedelta(days=365)
"""A root is best replaced while nobody is in a hurry."""
_STAGES = {
    "steady": "no rotation is under way",
    "introduced": "the next root is trusted, and does not sign yet; next: tulle ca rotate switch",
    "switched": "the new root signs, the old one is still trusted; next: tulle ca rotate finish",
}


class Step(StrEnum):
    BEGIN = "begin"
    SWITCH = "switch"
    FINISH = "finish"


@ca.command("status")
def status(form: output.Output = output.Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """Which roots are trusted, which of them signs, how far a rotation is, and which proxies it waits for.

    \b
    Examples:
      tulle ca status
      tulle ca status -o json

    Exit codes: 0 done, 2 no control plane.
    """
    _show(client.Client(server).get("/api/v1/ca"), form)


@ca.command("rotate")
def rotate(
    step: Annotated[Step, typer.Argument(help="begin makes a new root, switch signs with it, finish drops the old one.", metavar="STEP")],
    force: Annotated[bool, typer.Option("--force", help="Even if some proxies have not taken the step before.")] = False,
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Replace the root in three steps. Each waits until all connected proxies have taken the one before, so that no call fails.

    \b
    Examples:
      tulle ca rotate begin
      tulle ca rotate switch
      tulle ca rotate finish

    Exit codes: 0 done, 1 not yet or not the next step, 2 no control plane.
    """
    _show(client.Client(server).post("/api/v1/ca/rotation", {"step": step.value, "force": force}), form)


def _show(state: dict[str, Any], form: output.Format) -> None:
    if form in (output.Format.YAML, output.Format.JSON):
        output.document(state, form)
        return
    output.out(f"trust domain  {state['trustDomain']}")
    output.out(
        f"authority     {'yours' if state['given'] else 'made by tulle'}, certificates hold {state['certificateLifeSeconds'] / 3600:g} h"
    )
    output.out(f"rotation      {_STAGES[state['stage']]}")
    if state["behind"]:
        output.out(f"waits for     {', '.join(state['behind'])}")
    now = datetime.now(UTC)
    for root in state["roots"]:
        if root["active"] and datetime.fromisoformat(root["notAfter"]) - now < SOON:
            output.err(f"warning: the root that signs ends at {root['notAfter']}: replace it, beginning with tulle ca rotate begin")
    rows = [[root["sha256"][:16], "signs" if root["active"] else "trusted", root["notAfter"], root["name"]] for root in state["roots"]]
    output.table(["ROOT", "STATE", "ENDS", "NAME"], rows)
