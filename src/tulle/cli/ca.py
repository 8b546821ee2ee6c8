"""`tulle ca`: the authority behind the identities of workloads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tulle import private_file
from tulle.cli import client, output
from tulle.cli.failure import Failure

ca = typer.Typer(
    name="ca",
    help="The authority behind the identities of workloads, and how its root is replaced.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

KEY, CERT, ROOTS = "key.pem", "cert.pem", "ca.pem"
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


@ca.command("roots")
def roots(server: client.Server = client.DEFAULT) -> None:
    """Print all trusted roots (PEM): for --ca-file on other machines, and for those who federate.

    \b
    Examples:
      tulle ca roots > roots.pem

    Exit codes: 0 done, 2 no control plane.
    """
    output.out(client.Client(server).get("/api/v1/ca")["bundle"].rstrip("\n"))


@ca.command("issue")
def issue(
    out: Annotated[Path, typer.Option("--out", help="Where cert.pem, key.pem and ca.pem go.", metavar="DIR")],
    role: Annotated[str, typer.Option("--role", help="viewer looks, operator also changes documents, admin may do all.")],
    namespace: Annotated[list[str] | None, typer.Option("--namespace", "-n", help="Where the role holds; default: everywhere.")] = None,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it holds; default: 720h.", metavar="DURATION")] = "",
    name: Annotated[str, typer.Option("--name", help="What people call it.")] = "",
    server: client.Server = client.DEFAULT,
) -> None:
    """Make a client certificate with which to ask the control plane, instead of with a token. Its key is made here, and stays here.

    It stands in tulle token list, and tulle token delete takes it back. No workload of the mesh believes it.

    \b
    Examples:
      tulle ca issue --role operator -n shop --name ci --out ci
      tulle --ca-file ci/ca.pem --cert-file ci/cert.pem --key-file ci/key.pem get all

    Exit codes: 0 made, 2 unusable arguments, not allowed, or no control plane.
    """
    from tulle.ca.joining import requested
    from tulle.ca.keys import dump_key, new_key

    asked = {"role": role, "namespaces": namespace or [], "ttl": ttl, "name": name}
    key = new_key()
    body = {name: value for name, value in asked.items() if value} | {"csr": requested(key).decode()}
    _check_empty(out)
    made = client.Client(server).post("/api/v1/tokens", body)
    _keep(out, {KEY: dump_key(key).reveal().decode(), CERT: made["certificate"], ROOTS: made["roots"]})
    where = f" in {', '.join(made['namespaces'])}" if made["namespaces"] else ""
    output.out(f"certificate {made['id']}: {made['role']}{where}, holds until {made['expires']}; in {out}")


def _check_empty(folder: Path) -> None:
    if there := [name for name in (KEY, CERT, ROOTS) if (folder / name).exists()]:
        raise Failure(f"--out: {folder} has {', '.join(there)} already", 2)


def _keep(folder: Path, files: dict[str, str]) -> None:
    """For this user's eyes only."""
    for name, text in files.items():
        try:
            private_file.write(folder / name, text)
        except OSError as error:
            raise Failure(f"--out: {folder / name}: cannot be written: {error.strerror}", 2) from None


_KEYS = "/api/v1/ca/jwt-keys"


@ca.command("jwt-keys")
def jwt_keys(form: output.Output = output.Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """The keys that sign JSON Web Tokens: they take turns by themselves, a week each, and are published a day before.

    Exit codes: 0 done, 2 no control plane.
    """
    _show_keys(client.Client(server).get(_KEYS), form)


@ca.command("jwt-rotate")
def jwt_rotate(
    after: Annotated[str, typer.Option("--after", help="How long it is published before it signs.", metavar="DURATION")] = "24h",
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Publish a new key for JSON Web Tokens now, which signs after a while. Tokens that hold go on holding.

    Proxies know the new key at once, but for connections that are open: give those a minute, and others who remember keys their time.

    Exit codes: 0 done, 1 one waits for its turn already, 2 no control plane.
    """
    _show_keys(client.Client(server).post(_KEYS, {"after": after}), form)


@ca.command("jwt-revoke")
def jwt_revoke(
    key: Annotated[str, typer.Argument(metavar="ID")],
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Drop a key that somebody may have stolen: what it signed is refused within a minute, and on new connections at once.

    Exit codes: 0 done, 1 there is no such key, 2 no control plane.
    """
    _show_keys(client.Client(server).call("DELETE", f"{_KEYS}/{quote(key, safe='')}"), form)


def _show_keys(state: dict[str, Any], form: output.Format) -> None:
    if form in (output.Format.YAML, output.Format.JSON):
        output.document(state, form)
        return
    output.out(f"issuer  {state['issuer']}")
    output.table(["KEY", "STATE", "SIGNS FROM"], [[key["id"], key["turn"], key["signsFrom"]] for key in state["keys"]])


def _life(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds % 3600 == 0 else f"{seconds / 60:g} min"


def _show(state: dict[str, Any], form: output.Format) -> None:
    if form in (output.Format.YAML, output.Format.JSON):
        output.document(state, form)
        return
    output.out(f"trust domain  {state['trustDomain']}")
    output.out(
        f"authority     {'yours' if state['given'] else 'made by tulle'}, certificates hold {_life(state['certificateLifeSeconds'])}"
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
