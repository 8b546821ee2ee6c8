"""`tulle revoke`."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from tulle.cli import client, output, report
from tulle.cli.failure import Failure

KIND = "AuthorizationPolicy"
_IDENTITY = re.compile(r"([a-z0-9](?:[-a-z0-9]*[a-z0-9])?)/([a-z0-9](?:[-a-z0-9.]*[a-z0-9])?)")


def revoke(
    identity: Annotated[str, typer.Argument(help="NAMESPACE/ACCOUNT of the identity.", metavar="NAMESPACE/ACCOUNT")],
    undo: Annotated[bool, typer.Option("--undo", help="Let it in again.")] = False,
    root: Annotated[
        str,
        typer.Option("--root-namespace", help="Where documents hold for the whole mesh; default: as the control plane says."),
    ] = "",
    timeout: report.Timeout = "30s",
    server: client.Server = client.DEFAULT,
) -> None:
    """Shut an identity out of the whole mesh, at once: from its next request on, on connections that are open, too.

    It is an AuthorizationPolicy like any other, revoked-NAMESPACE.ACCOUNT. Open connections that are not HTTP end with the next bytes on
    them where some policy held before, else within 45 seconds. Returns when all connected proxies have taken it.

    \b
    Examples:
      tulle revoke shop/stolen
      tulle revoke shop/stolen --undo

    Exit codes: 0 done, 1 not all proxies have taken it, or there is nothing to undo, 2 unusable arguments or no control plane.
    """
    found = _IDENTITY.fullmatch(identity)
    if found is None:
        raise Failure(f"{identity!r} is not NAMESPACE/ACCOUNT, such as default/web", 2)
    control = client.Client(server, 700.0)
    root = root or _root(control)
    policy = document(found[1], found[2], root)
    if undo:
        key = {"kind": KIND, "namespace": root, "name": policy["metadata"]["name"]}
        answer = control.post("/api/v1/delete", {"resources": [key], "wait": timeout})
        code = report.show(answer)
        if any(result["outcome"] == "not found" for result in answer["results"]):
            raise Failure(f"{identity} was not shut out by this command")
        raise typer.Exit(code)
    from tulle.resources.yaml import write

    files = [{"path": "tulle revoke", "text": write(policy)}]
    code = report.show(control.post("/api/v1/apply", {"files": files, "namespace": root, "wait": timeout}))
    if code == 0:
        output.err(f"{identity} is shut out; `tulle revoke {identity} --undo` lets it in again")
    raise typer.Exit(code)


def _root(control: client.Client) -> str:
    found: str | None = control.get("/api/v1/version").get("rootNamespace")
    if found is None:
        raise Failure("this control plane is older, and does not say where documents hold for the whole mesh: give --root-namespace", 2)
    return found


def document(namespace: str, account: str, root: str) -> dict[str, Any]:
    """Denies the identity in every trust domain. No other identity has its name: namespaces have no dots."""
    principal = f"*/ns/{namespace}/sa/{account}"
    return {
        "apiVersion": "security.istio.io/v1",
        "kind": KIND,
        "metadata": {"name": f"revoked-{namespace}.{account}", "namespace": root},
        "spec": {"action": "DENY", "rules": [{"from": [{"source": {"principals": [principal]}}]}]},
    }
