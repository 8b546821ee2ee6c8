"""A conversation with a stream, written down: `>>` is what it hears, `<<` is what it says, one line for each command.

    play = Playbook(Mode.DELTA, old=snapshot(...), new=snapshot(...))
    play >> ask(CDS) << "send CDS 1: +a"
    play >> ack(CDS, 1) << "acknowledged CDS old"
    play.done()

Nothing else may be said. `finished`, an autouse fixture where it is imported, fails what was not ended with `done`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Self

import pytest

from tulle.discovery import (
    CDS,
    EDS,
    LDS,
    RDS,
    SDS,
    Acknowledged,
    Command,
    Complete,
    Event,
    Mode,
    Offer,
    Rejected,
    Remind,
    Reminded,
    Request,
    Send,
    Shared,
    Stream,
)
from tulle.protos import pb
from tulle.translate.snapshot import Bundle, Entry, Snapshot, content_hash

SHORT = {CDS: "CDS", EDS: "EDS", LDS: "LDS", RDS: "RDS", SDS: "SDS"}


def entry(type_url: str, name: str, body: str = "", **more: object) -> Entry:
    return Entry(type_url=type_url, name=name, version=content_hash(body.encode()), body=body.encode(), **more)


def snapshot(*entries: Entry | Bundle) -> Snapshot:
    """The bundles given, and one bundle of the single entries given."""
    single = Bundle.of(e for e in entries if isinstance(e, Entry))
    return Snapshot(bundles=(*(b for b in entries if isinstance(b, Bundle)), single))


def ask(type_url: str, *names: str, gone: tuple[str, ...] = (), held: Mapping[str, str] | None = None, nonce: object = "") -> Request:
    return Request(type_url=type_url, subscribe=names, unsubscribe=gone, held=held or {}, nonce=str(nonce))


def ack(type_url: str, nonce: int, *names: str) -> Request:
    return Request(type_url=type_url, nonce=str(nonce), subscribe=names)


def nack(type_url: str, nonce: int, why: str, *names: str) -> Request:
    return Request(type_url=type_url, nonce=str(nonce), error=why, subscribe=names)


OPEN: list[Playbook] = []


@pytest.fixture(autouse=True)
def finished() -> Iterator[None]:
    OPEN.clear()
    yield
    assert not OPEN, "unfinished playbook"


class Playbook:
    def __init__(self, mode: Mode, *, shared: Shared | None = None, **snapshots: Snapshot) -> None:
        """The first snapshot is what the stream begins with."""
        self._mode, self._snapshots = mode, snapshots
        self.stream = Stream(mode, next(iter(snapshots.values())), Shared() if shared is None else shared)
        self._wanted: list[str] = []
        self._said: list[str] = []
        OPEN.append(self)

    def __rshift__(self, event: Event | str) -> Self:
        """An event; a text is the name of the snapshot that is offered, or a number the reminder that is due."""
        if isinstance(event, str):
            event = Offer(snapshot=self._snapshots[event])
        line = f">> {self._heard(event)}"
        self._wanted.append(line)
        self._said += [line, *(f"<< {self._say(command)}" for command in self.stream.on(event))]
        return self

    def __lshift__(self, said: str) -> Self:
        self._wanted.append(f"<< {said}")
        return self

    def done(self) -> None:
        OPEN.remove(self)
        assert self._wanted == self._said, "\n" + "\n".join(difflib.ndiff(self._wanted, self._said))

    def _heard(self, event: Event) -> str:
        match event:
            case Request():
                return f"{SHORT[event.type_url]} {event.nonce} {event.error or ''} {event.subscribe} {event.unsubscribe} {dict(event.held)}"
            case Offer():
                return f"offer {self._name(event.snapshot)}"
            case Reminded():
                return f"reminded {event.token}"

    def _say(self, command: Command) -> str:
        match command:
            case Send():
                return self._sent(command)
            case Acknowledged():
                return f"acknowledged {SHORT[command.type_url]} {self._name(command.snapshot)}"
            case Complete():
                return f"complete {self._name(command.snapshot)}"
            case Rejected():
                names = " ".join(e.name for e in command.entries)
                return f"rejected {SHORT[command.type_url]} {self._name(command.snapshot)}: {names}: {command.message}"
            case Remind():
                return f"remind {command.reminder.value} {command.token}"

    def _sent(self, command: Send) -> str:
        raw = command.body + command.nonce
        if self._mode is Mode.DELTA:
            message = pb.DeltaDiscoveryResponse.FromString(raw)
            names = [f"+{r.name}" for r in message.resources] + [f"-{name}" for name in message.removed_resources]
        else:
            message = pb.DiscoveryResponse.FromString(raw)
            names = [f"={r.value.decode()}" for r in message.resources]
        return f"send {SHORT[message.type_url]} {message.nonce}: {' '.join(sorted(names))}".rstrip()

    def _name(self, snapshot: Snapshot) -> str:
        return next(name for name, one in self._snapshots.items() if one is snapshot)
