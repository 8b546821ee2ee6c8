"""`tulle diff`."""

from __future__ import annotations

import sys

import typer

from tulle.cli import client, files, names
from tulle.cli.output import coloured_diff, err, violation, warn


def diff(
    filename: files.Filenames = None,
    paths: files.MorePaths = None,
    namespace: names.DefaultNamespace = "default",
    server: client.Server = client.DEFAULT,
) -> None:
    """Show what an apply would change, as a unified diff.

    \b
    Examples:
      tulle diff -f routes.yaml
      tulle diff -f config/

    Exit codes: 0 nothing would change, 1 something would, or violations, 2 unusable arguments or no control plane.
    """
    body = {"files": files.forms(files.read_files(filename, paths)), "namespace": namespace}
    answer = client.Client(server).post("/api/v1/diff", body)
    for difference in answer["differences"]:
        sys.stdout.write(coloured_diff(difference["diff"]))
    warn(answer["warnings"])
    for item in answer["violations"]:
        err(violation(item))
    raise typer.Exit(1 if answer["differences"] or answer["violations"] else 0)
