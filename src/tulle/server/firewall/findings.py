"""What firewalls did and found, on its way from the process that looks to the control plane that counts and tells."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tulle.server.firewall.words import HttpRequest, Verdict

_SEVERITIES = ("emergency", "alert", "critical", "error", "warning", "notice", "info", "debug")
_LONGEST = 200
"""Characters of what callers sent."""
_MOST = 50
"""Findings told one by one, between two looks; the others are only counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the audit. Whoever writes it is to escape what callers sent: method, path, host and client."""

    firewall: str
    outcome: str
    rules: str
    classes: str
    severity: str
    score: int
    status: int
    method: str
    host: str
    path: str
    client: str
    request_id: str


def finding(firewall: str, outcome: str, request: HttpRequest, verdict: Verdict) -> Finding:
    """Without queries and bodies, in which secrets may stand."""

    def header(name: bytes) -> str:
        return next((_short(value) for known, value in request.headers if known == name), "")

    return Finding(
        firewall=firewall,
        outcome=outcome,
        rules=",".join(map(str, verdict.rules)),
        classes=",".join(verdict.classes),
        severity=_SEVERITIES[verdict.severity],
        score=verdict.score,
        status=verdict.status,
        method=request.method[:_LONGEST],
        host=header(b"host"),
        path=_short(request.uri.partition(b"?")[0]),
        client=request.client[:_LONGEST],
        request_id=header(b"x-request-id"),
    )


def _short(value: bytes) -> str:
    return value[:_LONGEST].decode("utf-8", "replace")


class Tally:
    """Counts since the start, and the findings since somebody looked last. `requests`: by Firewall and what became of them.

    `classes`: by Firewall, class of attack and what became of the request.
    """

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, str]] = Counter()
        self.classes: Counter[tuple[str, str, str]] = Counter()
        self.untold = 0
        self._found: deque[Finding] = deque()

    def note(self, firewall: str, outcome: str, request: HttpRequest, verdict: Verdict) -> None:
        self.requests[firewall, outcome] += 1
        if outcome == "clean":
            return
        self.classes.update((firewall, kind, outcome) for kind in verdict.classes)
        if len(self._found) < _MOST:
            self._found.append(finding(firewall, outcome, request, verdict))
        else:
            self.untold += 1

    def unchecked(self, firewall: str) -> None:
        self.requests[firewall, "unchecked"] += 1

    def taken(self) -> tuple[Finding, ...]:
        """The findings that were not taken yet."""
        found = tuple(self._found)
        self._found.clear()
        return found

    def add(self, said: dict[str, Any]) -> tuple[Finding, ...]:
        """What another tally says of the time since it spoke last; see `spoken`."""
        self.requests.update({(name, outcome): count for name, outcome, count in said["requests"]})
        self.classes.update({(name, kind, outcome): count for name, kind, outcome, count in said["classes"]})
        self.untold += said["untold"]
        return tuple(Finding(**one) for one in said["found"])

    def spoken(self) -> dict[str, Any]:
        """All since the last time, as JSON has it; empty where there is nothing."""
        if not self.requests:
            return {}
        said = {
            "requests": _flat(self.requests.items()),
            "classes": _flat(self.classes.items()),
            "untold": self.untold,
            "found": [asdict(one) for one in self.taken()],
        }
        self.requests.clear()
        self.classes.clear()
        self.untold = 0
        return said


def _flat(counts: Iterable[tuple[tuple[str, ...], int]]) -> list[list[str | int]]:
    return [[*key, count] for key, count in counts]
