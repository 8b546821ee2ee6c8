"""What is told of a Certificate: conditions, dates, and a warning before it is too late. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tulle.model.resource import Condition, Key, Resource, Status, Violation
from tulle.resources.security import Certificate
from tulle.server.acme import machine
from tulle.server.acme.machine import Wanted
from tulle.server.acme.progress import Progress, Stage

_STAGES = {
    Stage.ORDERED: ("Ordered", "gateways are being told the answers for the authority"),
    Stage.ANSWERED: ("Validating", "the authority looks whether the hosts are yours"),
    Stage.FINALIZED: ("Finalizing", "the authority makes the certificate"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A Certificate at one moment."""

    document: Resource[Certificate]
    wanted: Wanted
    progress: Progress
    blocked: str
    held: str
    secret: Key
    now: datetime

    @property
    def is_there(self) -> bool:
        """The Secret has the certificate that was issued last."""
        return self.progress.issued is not None and self.progress.issued.fingerprint == self.held


def status(of: Picture) -> Status:
    return Status(conditions=(_ready(of), _issuing(of)), warnings=tuple(_warnings(of)), details=_details(of))


def _ready(of: Picture) -> Condition:
    issued = of.progress.issued
    if issued is None or not of.is_there:
        why = of.blocked or of.progress.error or "it is being asked for"
        return Condition(type="Ready", status=False, reason="NotIssued", message=f"{why}{_next(of)}")
    if of.now >= issued.not_after:
        why = of.blocked or of.progress.error or "another is being asked for"
        return Condition(type="Ready", status=False, reason="Expired", message=f"it ended at {_time(issued.not_after)}: {why}{_next(of)}")
    if issued.asked != of.wanted.asked:
        message = f"the Secret {of.secret.name} has the certificate for what was asked for before{_next(of)}"
        return Condition(type="Ready", status=False, reason="Outdated", message=message)
    message = f"the Secret {of.secret.name} has it until {_time(issued.not_after)}"
    return Condition(type="Ready", status=True, reason="Issued", message=message)


def _issuing(of: Picture) -> Condition:
    progress = of.progress
    if progress.stage in _STAGES:
        reason, message = _STAGES[progress.stage]
        return Condition(type="Issuing", status=True, reason=reason, message=message)
    if of.blocked:
        return Condition(type="Issuing", status=False, reason="Blocked", message=of.blocked)
    if progress.error:
        return Condition(type="Issuing", status=False, reason="Failed", message=f"{progress.error}{_next(of)}")
    if machine.is_needed(progress, of.wanted, of.now):
        return Condition(type="Issuing", status=True, reason="Ordering", message="the authority is being asked")
    return Condition(type="Issuing", status=False, reason="Idle", message=f"renewal from {_time(_renewal(of))}")


def _next(of: Picture) -> str:
    due = of.progress.due
    return f"; next try at {_time(due)}" if of.progress.error and due and due > of.now else ""


def _warnings(of: Picture) -> Iterator[Violation]:
    """A renewal that fails is told as long as there is time to mend it."""
    why = of.blocked or of.progress.error
    if not (why and of.is_there and of.progress.issued):
        return
    source = of.document.at("spec")
    yield Violation(
        origin=source.origin,
        resource=f"{of.document.key.kind}/{of.document.key.name}",
        field=source.field,
        namespace=of.document.key.namespace,
        message=f"not renewed: {why}{_next(of)}; the one in the Secret {of.secret.name} ends at {_time(of.progress.issued.not_after)}",
    )


def _details(of: Picture) -> dict[str, Any]:
    issued, progress = of.progress.issued, of.progress
    found: dict[str, Any] = {"secretName": of.secret.name}
    if issued:
        found |= {"notBefore": _time(issued.not_before), "notAfter": _time(issued.not_after), "renewalTime": _time(_renewal(of))}
        found |= {"serialNumber": issued.serial, "issuedBy": issued.issuer}
    if progress.failed:
        found |= {"lastFailureTime": _time(progress.failed), "failures": progress.failures}
    if progress.error and progress.due:
        found["nextTry"] = _time(progress.due)
    if progress.terms:
        found["termsOfService"] = progress.terms
    return found


def _renewal(of: Picture) -> datetime | None:
    return machine.renewal(of.progress.issued, of.wanted.renew_before) if of.progress.issued else None


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else ""
