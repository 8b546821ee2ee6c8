"""How far a Certificate is, as a value, and as it lies in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from tulle.model.challenges import Challenge, ChallengeType
from tulle.model.tls import Hidden


class Stage(Enum):
    IDLE = "idle"
    """No order is under way."""
    ORDERED = "ordered"
    """The authority has asked about the hosts; gateways are being told the answers."""
    ANSWERED = "answered"
    """The authority knows that it may come and look."""
    FINALIZED = "finalized"
    """It is satisfied, and has the request for the certificate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One host that the authority asks about."""

    url: str
    """Of the challenge, where it is told that it may look."""
    authorization: str
    """Where it says what it found."""
    challenge: Challenge


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """The last certificate that came."""

    asked: str
    """The fingerprint of what was asked for."""
    fingerprint: str
    """SHA-256 of the certificate, in hex."""
    serial: str
    issuer: str
    not_before: datetime
    not_after: datetime
    luck: float
    """From 0 to 1, drawn when it came: spreads renewals out."""
    chain: str
    """As PEM; likewise its key. With these a Secret that was lost is made again, without asking the authority."""
    key: Hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    stage: Stage = Stage.IDLE
    asked: str = ""
    """The fingerprint of what the order is for."""
    way: str = ""
    """The fingerprint of how it was asked for, or last failed."""
    order: str = ""
    """URL of the order; likewise the next."""
    finalize: str = ""
    key: Hidden = Hidden(b"")
    """Of the certificate that is to come, as PEM."""
    tasks: tuple[Task, ...] = ()
    since: datetime | None = None
    """When the order was begun."""
    due: datetime | None = None
    """Nothing is done before; None: nothing stands in the way."""
    looks: int = 0
    """How often the authority was asked whether it is done with this stage."""
    failures: int = 0
    """In a row."""
    error: str = ""
    """Why the last try failed; empty after one that did not."""
    failed: datetime | None = None
    forced: bool = False
    """Somebody wants a new certificate now."""
    terms: str = ""
    """Where the authority's terms of service stand."""
    issued: Issued | None = None


def dump(progress: Progress) -> bytes:
    """For the store, keys included."""
    issued, tasks = progress.issued, [_task(task) for task in progress.tasks]
    said: dict[str, Any] = {name: getattr(progress, name) for name in _PLAIN}
    said |= {name: _time(getattr(progress, name)) for name in _TIMES}
    said |= {"stage": progress.stage.value, "key": progress.key.reveal().decode(), "tasks": tasks}
    if issued:
        plain = {name: getattr(issued, name) for name in _OF_ISSUED}
        dates = {"notBefore": _time(issued.not_before), "notAfter": _time(issued.not_after)}
        said["issued"] = plain | dates | {"key": issued.key.reveal().decode()}
    return json.dumps(said, separators=(",", ":")).encode()


_PLAIN = ("asked", "way", "order", "finalize", "looks", "failures", "error", "forced", "terms")
_TIMES = ("since", "due", "failed")
_OF_ISSUED = ("asked", "fingerprint", "serial", "issuer", "luck", "chain")


def load(data: bytes) -> Progress:
    """Raises ValueError for what this version cannot read."""
    try:
        return _read(json.loads(data))
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _read(said: Mapping[str, Any]) -> Progress:
    plain: dict[str, Any] = {name: said[name] for name in _PLAIN}
    times: dict[str, Any] = {name: _read_time(said[name]) for name in _TIMES}
    return Progress(
        **plain,
        **times,
        stage=Stage(said["stage"]),
        key=Hidden(said["key"].encode()),
        tasks=tuple(map(_read_task, said["tasks"])),
        issued=_read_issued(said["issued"]) if "issued" in said else None,
    )


def _read_issued(said: Mapping[str, Any]) -> Issued:
    plain: dict[str, Any] = {name: said[name] for name in _OF_ISSUED}
    dates: dict[str, Any] = {"not_before": datetime.fromisoformat(said["notBefore"]), "not_after": datetime.fromisoformat(said["notAfter"])}
    return Issued(**plain, **dates, key=Hidden(said["key"].encode()))


def _task(task: Task) -> dict[str, str]:
    one = task.challenge
    return {
        "url": task.url,
        "authorization": task.authorization,
        "kind": one.kind.value,
        "host": one.host,
        "token": one.token,
        "answer": one.answer,
        "chain": one.chain.reveal().decode(),
        "key": one.key.reveal().decode(),
    }


def _read_task(said: Mapping[str, str]) -> Task:
    challenge = Challenge(
        kind=ChallengeType(said["kind"]),
        host=said["host"],
        token=said["token"],
        answer=said["answer"],
        chain=Hidden(said["chain"].encode()),
        key=Hidden(said["key"].encode()),
    )
    return Task(url=said["url"], authorization=said["authorization"], challenge=challenge)


def _time(at: datetime | None) -> str:
    return at.isoformat() if at else ""


def _read_time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
