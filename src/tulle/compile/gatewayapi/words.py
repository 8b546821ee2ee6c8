"""How statuses are written: conditions and verdicts."""

from __future__ import annotations

from tulle.compile.gatewayapi.listeners import Verdict
from tulle.model.resource import Condition


def as_json(*conditions: Condition | None) -> list[dict[str, str]]:
    """In Kubernetes' way, where a status is `True`, `False` or `Unknown`; without those that are None."""
    return [_json(c) for c in conditions if c]


def _json(condition: Condition) -> dict[str, str]:
    said = "Unknown" if condition.status is None else str(condition.status)
    return {"type": condition.type, "status": said, "reason": condition.reason, "message": condition.message}


def verdict(kind: str, found: Verdict, good: str) -> Condition:
    """True, or False for a reason."""
    reason, message = found
    return Condition(type=kind, status=not reason, reason=reason or good, message=message)
