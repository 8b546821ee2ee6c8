"""`tulle validate`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum

import typer

from tulle.cli import files
from tulle.cli.output import err, out


class Report(StrEnum):
    TEXT = "text"
    JSON = "json"


def validate(
    filename: files.Filenames = None,
    paths: files.MorePaths = None,
    form: Report = typer.Option(Report.TEXT, "--format", help="How to print."),
) -> None:
    """Check documents, offline: nothing is sent anywhere.

    Prints one line for each violation: path:line: Kind/name: field: message. Warnings go to standard error.

    \b
    Examples:
      tulle validate -f routes.yaml
      tulle validate -f config/ --format json

    Exit codes: 0 good, 1 violations, 2 unusable arguments.
    """
    from tulle.resources.core_secret import age_warnings
    from tulle.resources.read import read
    from tulle.store.records import violations_json

    reads = [read(text, path) for path, text in files.read_files(filename, paths)]
    violations = [violation for one in reads for violation in one.violations]
    now = datetime.now(UTC)
    warnings = [warning for one in reads for warning in one.warnings]
    warnings += [warning for one in reads for resource in one.resources for warning in age_warnings(resource, now)]
    good = sum(len(one.resources) + len(one.meshes) for one in reads)
    if form is Report.JSON:
        out(json.dumps({"good": good, "violations": violations_json(violations), "warnings": violations_json(warnings)}, indent=2))
    else:
        for violation in violations:
            out(str(violation))
        for warning in warnings:
            err(f"warning: {warning}")
        err(f"documents: {good} good; violations: {len(violations)}; warnings: {len(warnings)}")
    raise typer.Exit(1 if violations else 0)
