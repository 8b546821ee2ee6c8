"""`tulle token`: who may ask the control plane for what, and which machines may join."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from tulle import private_file
from tulle.cli import client, output
from tulle.cli.failure import Failure

token = typer.Typer(
    name="token",
    help="Tokens for the HTTP API, and for workloads to join with. A token is shown when it is made, and never again.",
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
PATH = "/api/v1/tokens"


@token.command("create")
def create(
    role: Annotated[str, typer.Option("--role", help="viewer looks, operator also changes documents, admin may do all.")] = "",
    workload: Annotated[str, typer.Option("--for", help="Whom it lets join, once.", metavar="NAMESPACE/SERVICE_ACCOUNT")] = "",
    gateway: Annotated[bool, typer.Option("--gateway", help="It may be a gateway, and gets the keys that gateways have.")] = False,
    namespace: Annotated[list[str] | None, typer.Option("--namespace", "-n", help="Where the role holds; default: everywhere.")] = None,
    ttl: Annotated[str, typer.Option("--ttl", help="How long it holds; default: for ever, and 10m to join.", metavar="DURATION")] = "",
    name: Annotated[str, typer.Option("--name", help="What people call it.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Where it goes, for this user's eyes only.", metavar="FILE")] = None,
    form: output.Output = output.Format.TABLE,
    server: client.Server = client.DEFAULT,
) -> None:
    """Make a token, and show it this once. It alone goes to standard output, or with --out to a file that nobody else may read.

    \b
    Examples:
      tulle token create --role viewer --name dashboard
      tulle token create --role operator -n shop --ttl 720h
      tulle token create --for shop/web --ttl 10m --out join-token
      tulle token create --for istio-system/default --gateway --out join-token

    Exit codes: 0 made, 2 unusable arguments, not allowed, or no control plane.
    """
    if bool(role) == bool(workload):
        raise Failure("say either --role viewer, operator or admin, or --for NAMESPACE/SERVICE_ACCOUNT", 2)
    asked = {"role": role, "for": workload, "gateway": gateway, "namespaces": namespace or [], "ttl": ttl, "name": name}
    made = client.Client(server).post(PATH, {key: value for key, value in asked.items() if value})
    if form in (output.Format.YAML, output.Format.JSON) and out is None:
        output.document(made, form)
        return
    if out is None:
        output.out(made["token"])
    else:
        _keep(out, made["token"])
    output.err(f"token {made['id']}: {_good_for(made)}, {_until(made)}")


def _keep(file: Path, text: str) -> None:
    try:
        private_file.write(file, f"{text}\n")
    except OSError as error:
        raise Failure(f"--out: {file}: cannot be written: {error.strerror}", 2) from None


@token.command("list")
def list_(form: output.Output = output.Format.TABLE, server: client.Server = client.DEFAULT) -> None:
    """List tokens that hold: what they are good for, not what they are.

    Exit codes: 0 done, 2 not allowed, or no control plane.
    """
    found = client.Client(server).get(PATH)["tokens"]
    if form in (output.Format.YAML, output.Format.JSON):
        output.document({"tokens": found}, form)
        return
    output.table(("ID", "GOOD FOR", "EXPIRES", "CREATED", "NAME"), (_row(one) for one in found))


@token.command("delete")
def delete(identifier: Annotated[str, typer.Argument(metavar="ID")], server: client.Server = client.DEFAULT) -> None:
    """Take a token back: from now on it is good for nothing.

    Exit codes: 0 done, 1 there is none, 2 not allowed, or no control plane.
    """
    client.Client(server).call("DELETE", f"{PATH}/{quote(identifier, safe='')}")
    output.out(f"token {identifier} deleted")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    return str(one["id"]), _good_for(one), one["expires"] or "never", one["created"], one["name"] or "-"


def _good_for(one: dict[str, Any]) -> str:
    if one["for"]:
        what = f"{'joining as' if one['once'] else 'workload'} {one['for']}"
        return (
            what
            + (", a gateway" if one["gateway"] else "")
            + (f", by certificate {one['vouchedSerial']}" if one.get("vouchedSerial") else "")
        )
    where = f" in {', '.join(one['namespaces'])}" if one["namespaces"] else ""
    return str(one["role"]) + where + (", by certificate" if one["certificate"] else "")


def _until(one: dict[str, Any]) -> str:
    return f"holds until {one['expires']}" if one["expires"] else "holds until it is deleted"
