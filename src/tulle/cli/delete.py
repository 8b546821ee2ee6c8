"""`tulle delete`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from tulle.cli import client, files, names, report
from tulle.cli.failure import Failure
from tulle.cli.output import err

Words = Annotated[list[str] | None, typer.Argument(help="KIND NAME..., or, after -f, more files.", metavar="[KIND NAME...]")]


def delete(
    words: Words = None,
    filename: files.Filenames = None,
    namespace: names.Namespace = "default",
    dry_run: report.DryRun = False,
    ignore_not_found: bool = typer.Option(False, "--ignore-not-found", help="Exit 0 although a document was not there."),
    wait: report.Wait = False,
    timeout: report.Timeout = "30s",
    server: client.Server = client.DEFAULT,
) -> None:
    """Take documents out of force: those that files name, or by kind and name.

    \b
    Examples:
      tulle delete -f routes.yaml
      tulle delete virtualservice reviews
      tulle delete vs/reviews -n shop --wait

    Exit codes: 0 deleted, 1 not there, 2 unusable arguments or no control plane.
    """
    meant = (
        {"files": files.forms(files.read_files(filename, words)), "namespace": namespace}
        if filename
        else {"resources": _keys(words or (), namespace)}
    )
    body = {**meant, "dryRun": dry_run, "wait": timeout if wait else ""}
    answer = client.Client(server, 700.0 if wait else 60.0).post("/api/v1/delete", body)
    code = report.show(answer)
    if code == 0 and not ignore_not_found and any(result["outcome"] == "not found" for result in answer["results"]):
        err("what was not found was not deleted")
        code = 1
    raise typer.Exit(code)


def _keys(words: Iterable[str], namespace: str) -> list[dict[str, Any]]:
    kind, found = names.split(words)
    if not found:
        raise Failure("say what to delete: -f PATH, or KIND NAME", 2)
    return [{"kind": kind, "namespace": namespace, "name": name} for name in found]
