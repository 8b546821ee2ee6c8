"""How the commands that change documents tell what was done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tulle.cli.output import err, out, violation, warn

Wait = Annotated[bool, typer.Option("--wait", help="Return when all connected proxies have acknowledged the change.")]
Timeout = Annotated[str, typer.Option("--timeout", help="How long to wait at most.", metavar="DURATION")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would be done.")]


def show(report: Mapping[str, Any]) -> int:
    """Prints one line for each document, warnings and violations on standard error. Returns the exit code."""
    for result in report["results"]:
        out(
            f"{result['kind'].lower()}/{result['name']} {result['outcome']} ({result['namespace']})"
            + (" (dry run)" if report["dryRun"] else "")
        )
    warn(report["warnings"])
    for item in report["violations"]:
        err(violation(item))
    return 1 if report["violations"] else _acknowledged(report.get("acknowledged"))


def _acknowledged(progress: Mapping[str, Any] | None) -> int:
    if not progress:
        return 0
    if not progress["proxies"]:
        out("no proxy is connected yet")
        return 0
    told = f"{progress['acknowledged']} of {progress['proxies']} proxies have acknowledged"
    if progress["complete"]:
        out(told)
        return 0
    refusals = progress.get("refusals")
    err("\n".join([told, *refusals]) if refusals else f"{told} in time; `tulle proxies` shows which have not")
    return 1
