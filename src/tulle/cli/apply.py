"""`tulle apply`."""

from __future__ import annotations

import typer

from tulle.cli import client, files, names, report


def apply(
    filename: files.Filenames = None,
    paths: files.MorePaths = None,
    namespace: names.DefaultNamespace = "default",
    dry_run: report.DryRun = False,
    force: bool = typer.Option(False, "--force", help="Write unchanged documents again, so that what the proxies refused is tried again."),
    wait: report.Wait = False,
    timeout: report.Timeout = "30s",
    server: client.Server = client.DEFAULT,
) -> None:
    """Put documents into force.

    Good documents are taken although others are bad; a bad one never replaces its last good version, and
    `tulle get` shows what is wrong with it.

    \b
    Examples:
      tulle apply -f routes.yaml
      tulle apply -f config/ --wait
      cat rule.yaml | tulle apply -f -
      tulle apply -f routes.yaml --dry-run

    Exit codes: 0 all taken, 1 violations, 2 unusable arguments or no control plane.
    """
    body = {
        "files": files.forms(files.read_files(filename, paths)),
        "namespace": namespace,
        "dryRun": dry_run,
        "force": force,
        "wait": timeout if wait else "",
    }
    raise typer.Exit(report.show(client.Client(server, 700.0 if wait else 60.0).post("/api/v1/apply", body)))
