"""`/api/v1`: apply, delete, diff, validate, and documents with what became of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tulle.compile.gatewayapi.attach import GATEWAY
from tulle.model.resource import Condition, Status, Violation
from tulle.resources import codec
from tulle.resources.core_secret import age_warnings
from tulle.resources.kinds import kind_of
from tulle.server.access.caller import Caller, caller_of
from tulle.server.certificates import certificates_json
from tulle.server.forms import (
    ApplyForm,
    DeleteForm,
    FilesForm,
    answer,
    condition_json,
    form_of,
    problem,
    report_json,
    seconds,
    the_kind,
    the_kinds,
)
from tulle.server.gateway_status import observed, unusable
from tulle.server.ports import Live
from tulle.server.transitions import Transitions
from tulle.store.document import Document, File, Report
from tulle.store.documents import Documents
from tulle.store.plan import read_files
from tulle.store.port import ConflictError
from tulle.store.records import violations_json


class DocumentsApi:
    def __init__(self, documents: Documents, live: Live) -> None:
        self._documents = documents
        self._live = live
        self._transitions = Transitions()

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/apply", self.apply, methods=["POST"]),
            Route("/api/v1/delete", self.delete, methods=["POST"]),
            Route("/api/v1/diff", self.diff, methods=["POST"]),
            Route("/api/v1/validate", self.validate, methods=["POST"]),
            Route("/api/v1/resources", self.list, methods=["GET"]),
            Route("/api/v1/resources/{kind}", self.list, methods=["GET"]),
            Route("/api/v1/resources/{kind}/{namespace}/{name}", self.get, methods=["GET"]),
        ]

    async def apply(self, request: Request) -> Response:
        form = await form_of(request, ApplyForm)
        wait = seconds(form.wait or "0", "wait")
        await _check(caller_of(request), form.read(), form.namespace)
        caller_of(request).check(key.namespace for key in form.expected())
        try:
            report = await self._documents.apply(
                form.read(), namespace=form.namespace, dry_run=form.dry_run, force=form.force, expected=form.expected()
            )
        except ConflictError as error:
            raise problem(409, f"{error}: somebody changed it since; get it again and decide again") from None
        report = replace(report, warnings=(*report.warnings, *await self._aged(report)))
        if form.dry_run:
            report = await self._foreseen(report, caller_of(request))
        return await self._reported(report, {"dryRun": form.dry_run}, 0.0 if form.dry_run else wait, caller_of(request))

    async def _aged(self, report: Report) -> tuple[Violation, ...]:
        """Of the Secrets that were just applied."""
        keys = [result.key for result in report.results if result.key.kind == "Secret"]
        documents = [await self._documents.get(key) for key in keys]
        return tuple(w for d in documents if d and d.resource for w in age_warnings(d.resource, datetime.now(UTC)))

    async def _foreseen(self, report: Report, caller: Caller) -> Report:
        """With what would be found wrong in the mesh: of that, what is about namespaces that the caller sees."""
        found = await self._live.foreseen(report.change) if report.change else ()
        new = (warning for warning in found if warning not in report.warnings and caller.sees(warning.namespace))
        return replace(report, warnings=(*report.warnings, *new))

    async def delete(self, request: Request) -> Response:
        form = await form_of(request, DeleteForm)
        wait = seconds(form.wait or "0", "wait")
        if bool(form.files) == bool(form.resources):
            raise problem(400, "the body must hold either files or resources")
        caller_of(request).check(f.key().namespace for f in form.resources)
        if form.files:
            await _check(caller_of(request), [f.file() for f in form.files], form.namespace)
            report = await self._documents.delete_files([f.file() for f in form.files], namespace=form.namespace, dry_run=form.dry_run)
        else:
            report = await self._documents.delete([f.key() for f in form.resources], dry_run=form.dry_run)
        if form.dry_run:
            report = await self._foreseen(report, caller_of(request))
        else:
            for result in report.results:
                self._transitions.forget(result.key)
        return await self._reported(report, {"dryRun": form.dry_run}, 0.0 if form.dry_run else wait, caller_of(request))

    async def diff(self, request: Request) -> Response:
        form = await form_of(request, FilesForm)
        await _check(caller_of(request), form.read(), form.namespace)
        differences, report = await self._documents.diff(form.read(), namespace=form.namespace)
        shown = [{"kind": d.key.kind, "namespace": d.key.namespace, "name": d.key.name, "diff": d.text} for d in differences]
        return await self._reported(await self._foreseen(report, caller_of(request)), {"differences": shown}, 0.0, caller_of(request))

    async def validate(self, request: Request) -> Response:
        form = await form_of(request, FilesForm)
        reading = await asyncio.to_thread(read_files, form.read(), form.namespace)
        aged = (warning for resource in reading.good for warning in age_warnings(resource, datetime.now(UTC)))
        body = {"violations": violations_json(reading.violations), "warnings": violations_json((*reading.warnings, *aged))}
        return answer(body | {"error": _count(len(reading.violations))} if reading.violations else body, 422 if reading.violations else 200)

    async def list(self, request: Request) -> Response:
        kinds = the_kinds(request.path_params["kind"]) if "kind" in request.path_params else ()
        documents = await self._documents.list(kinds, request.query_params.get("namespace", ""))
        caller = caller_of(request)
        return answer({"items": [self.shown(document) for document in documents if caller.sees(document.key.namespace)]})

    async def get(self, request: Request) -> Response:
        params = request.path_params
        key = the_kind(params["kind"]).key(params["namespace"], params["name"])
        caller_of(request).check((key.namespace,))
        document = await self._documents.get(key)
        if not document:
            raise problem(404, f"there is no {key.kind} {key.name!r} in namespace {key.namespace!r}")
        return answer(self.shown(document))

    def shown(self, document: Document) -> dict[str, Any]:
        """The document as it was written, with its status."""
        key = document.key
        if resource := document.resource:
            body = dict(codec.to_document(resource))
            counted = {"generation": document.applied.generation if document.applied else 0, "resourceVersion": str(document.revision)}
            body["metadata"] = {**body["metadata"], "namespace": key.namespace, **counted}
        else:
            kind = kind_of(key.kind)
            versions = kind.api_versions if kind else ("",)
            body = {
                "apiVersion": versions[0],
                "kind": kind.kind if kind else key.kind,
                "metadata": {"name": key.name, "namespace": key.namespace},
            }
        return body | {"status": self._status(document)}

    def _status(self, document: Document) -> dict[str, Any]:
        live = self._live.status(document.key) if document.in_force else Status()
        own = document.applied.warnings if document.applied else ()
        aged = age_warnings(document.resource, datetime.now(UTC)) if document.resource else ()
        warnings = (*own, *(warning for warning in (*live.warnings, *aged) if warning not in own))
        conditions = [condition_json(condition) for condition in _conditions(document, live)]
        status: dict[str, Any] = {"conditions": conditions, "warnings": violations_json(warnings)}
        if document.key.kind == "Secret":
            status["certificates"] = certificates_json(document)
        origin = document.resource.origin if document.resource else None
        told = observed({"conditions": conditions, **live.details}, document.applied.generation if document.applied else 0)
        created = document.resource.created if document.resource else 0
        told = self._transitions.dated(document.key, created, told, self._live.changed())
        return status | told | ({"origin": str(origin)} if origin else {})

    async def _reported(self, report: Report, more: dict[str, Any], wait: float, caller: Caller) -> Response:
        body = report_json(report) | more
        if wait:
            progress = await self._live.wait_acknowledged(report.revision, wait)
            body["warnings"] += violations_json(self._compiled_warnings(report))
            # What proxies say of other documents names whoever they are.
            refusals = [*(() if caller.namespaces else progress.refusals), *await self._refusals(report)]
            counted = {"proxies": progress.proxies, "acknowledged": progress.acknowledged}
            body["acknowledged"] = {"complete": progress.complete and not refusals, **counted, "refusals": refusals}
        if report.violations:
            body["error"] = _count(len(report.violations))
        return answer(body, 422 if report.violations else 200)

    async def _refusals(self, report: Report) -> Sequence[str]:
        """What proxies refused of the documents that were just written, so that their last good version stays in force."""
        found = [await self._documents.get(result.key) for result in report.results]
        return [f"{d.key.kind}/{d.key.name}: {refusal.message}" for d in found if d and (refusal := d.refusal())]

    def _compiled_warnings(self, report: Report) -> tuple[Violation, ...]:
        """What was found only when the documents were compiled together."""
        found = (warning for result in report.results for warning in self._live.warnings(result.key))
        return tuple(warning for warning in found if warning not in report.warnings)


def _count(violations: int) -> str:
    return "1 violation" if violations == 1 else f"{violations} violations"


def _conditions(document: Document, live: Status) -> list[Condition]:
    """`Accepted` and `Programmed` first. What is wrong with the text, or refused by the proxies, goes before what is compiled from it."""
    found = {condition.type: condition for condition in live.conditions}
    accepted, refused = document.accepted(), document.refusal()
    if not accepted.status or "Accepted" not in found:
        found["Accepted"] = accepted
    if refused:
        found["Programmed"] = unusable(refused) if document.key.kind == GATEWAY else refused
    found.setdefault("Programmed", _not_programmed(document))
    return [found.pop("Accepted"), found.pop("Programmed"), *found.values()]


def _not_programmed(document: Document) -> Condition:
    if document.in_force:
        return Condition(type="Programmed", status=None, reason="Pending", message="not compiled yet")
    return Condition(type="Programmed", status=False, reason="Invalid", message="no valid version was ever applied")


async def _check(caller: Caller, files: Sequence[File], namespace: str) -> None:
    """Raises 403 where files hold a document, good or bad, of a namespace that is none of the caller's."""
    if caller.namespaces:
        reading = await asyncio.to_thread(read_files, files, namespace)
        caller.check(key.namespace for key in reading.keys)
