"""`tulle validate`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import typer

from tulle.cli import files
from tulle.cli.output import err, out

if TYPE_CHECKING:
    from tulle.model.resource import Resource, Violation
    from tulle.resources.meshfile import Mesh
    from tulle.resources.read import Read


class Report(StrEnum):
    TEXT = "text"
    JSON = "json"


def validate(
    filename: files.Filenames = None,
    paths: files.MorePaths = None,
    form: Report = typer.Option(Report.TEXT, "--output", "-o", "--format", help="How to print."),
    strict: bool = typer.Option(False, "--strict", help="Warnings, too, make the exit code 1."),
) -> None:
    """Check documents, each alone and all together, offline: nothing is sent anywhere.

    Prints one line for each violation: path:line: Kind/name: field: message. Warnings go to standard error. Where there is no
    violation, all documents are compiled as the control plane would do it, so what one names and no other has is told, too. Services
    are known by a mesh file among the files, or by documents that declare them; without a mesh file all others are taken to run, and
    listed.

    \b
    Examples:
      tulle validate -f routes.yaml
      tulle validate -f mesh.yaml -f routes.yaml --strict
      tulle validate -f config/ -o json

    Exit codes: 0 good, 1 violations (with --strict, or warnings), 2 unusable arguments.
    """
    from tulle.cli.offline import mesh_of, read_all
    from tulle.store.records import violations_json

    reads = read_all(filename, paths)
    mesh = mesh_of(reads)
    violations = [violation for one in reads for violation in one.violations]
    together, assumed = _together(reads, mesh) if not violations else ([], [])
    warnings = [*_alone(reads), *together]
    good = sum(len(one.resources) + len(one.meshes) for one in reads)
    if form is Report.JSON:
        told: dict[str, Any] = {"violations": violations_json(violations), "warnings": violations_json(warnings), "assumed": assumed}
        out(json.dumps({"good": good, **told}, indent=2))
    else:
        for violation in violations:
            out(str(violation))
        for warning in warnings:
            err(f"warning: {warning}")
        if assumed:
            err(f"taken to run, as no file says so: {', '.join(assumed)}")
        err(f"documents: {good} good; violations: {len(violations)}; warnings: {len(warnings)}")
    raise typer.Exit(1 if violations or (strict and warnings) else 0)


def _alone(reads: Iterable[Read]) -> list[Violation]:
    """What is to be said before anything is compiled: of each document by itself, and of those that are written twice."""
    from datetime import UTC, datetime

    from tulle.resources.core_secret import age_warnings
    from tulle.store.plan import written_twice

    now = datetime.now(UTC)
    resources = [resource for one in reads for resource in one.resources]
    found = [warning for one in reads for warning in one.warnings]
    return [*found, *written_twice(resources), *(warning for resource in resources for warning in age_warnings(resource, now))]


def _together(reads: list[Read], mesh: Resource[Mesh] | None) -> tuple[list[Violation], list[str]]:
    """What is wrong between the documents, and the services that were taken to run."""
    from dataclasses import replace

    from tulle.cli.offline import inputs_of
    from tulle.compile import build
    from tulle.compile.foresight import findings
    from tulle.compile.stand_ins import stand_ins

    inputs = inputs_of(reads, mesh)
    built = build(inputs)
    if mesh is None and (assumed := stand_ins(inputs.resources.values(), (s.host for s in built.mesh.services), inputs.settings)):
        built = build(replace(inputs, registrations=assumed), built)
    else:
        assumed = {}
    return list(findings(inputs.resources, built.statuses)), list(assumed)
