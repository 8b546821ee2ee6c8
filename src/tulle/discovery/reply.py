"""What to answer a client that goes from what it was sent to a newer snapshot. Keeps the books of its track meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tulle.discovery.kinds import ALONE, USERS, WHOLE
from tulle.discovery.shared import NAMES, Move, Shared, covered, resumed
from tulle.discovery.track import EMPTY, Track
from tulle.discovery.wire import Mode, encode
from tulle.translate.snapshot import Entry, Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`body` None: there is nothing to say, the client holds the new state already."""

    entries: tuple[Entry, ...] = ()
    """Those that changed."""
    body: bytes | None = None


def advance(mode: Mode, shared: Shared, track: Track, goal: Snapshot) -> Reply:
    """Moves the track to `goal`."""
    whole = mode is Mode.SOTW and track.type_url in WHOLE
    if resuming := track.held is not None:
        move, gone = resumed(track.type_url, track.held or {}, goal, track.interest, track.asked)
    else:
        old = EMPTY if track.anew else track.sent
        move, gone = shared.move(track.type_url, old, goal, track.interest, track.asked, whole=whole), NAMES
    unknown, kept = _still_there(track, move)
    removed = _let_go(track, move, gone)
    owed = track.owed
    track.sent, track.anew, track.held, track.asked, track.owed = goal, False, None, NAMES, False
    if whole:
        news = owed or bool(move.changed or unknown or removed)
        return Reply(entries=move.changed, body=_whole(shared, track, move) if news else None)
    if mode is Mode.SOTW:
        removed, unknown, owed = (), (), False
    entries = (*move.changed, *kept) if kept else move.changed
    if not (owed or entries or removed or unknown):
        return Reply()
    if track.type_url in ALONE and len(entries) > 1:
        track.trials[:0] = [(entry,) for entry in entries[1:]]
        return Reply(entries=entries[:1], body=encode(mode, track.type_url, entries[:1], (*removed, *unknown)))
    if resuming or kept or unknown != move.unknown:
        return Reply(entries=entries, body=encode(mode, track.type_url, entries, (*removed, *unknown)))
    body = shared.encoded(move, mode, lambda part: encode(mode, track.type_url, part.changed, (*removed, *unknown)))
    return Reply(entries=entries, body=body)


def attempt(mode: Mode, track: Track, group: tuple[Entry, ...]) -> bytes:
    """A response that brings no other change than `group`."""
    if mode is Mode.SOTW and track.type_url in WHOLE:
        return encode(mode, track.type_url, _all(track))
    return encode(mode, track.type_url, group)


def remove(mode: Mode, track: Track, names: Iterable[str]) -> bytes | None:
    """Takes stale resources away from the client; None where the protocol has no words for it."""
    covers = track.interest.covers
    gone = [name for name in sorted(names) if covers(name)]
    for name in names:
        track.stale.pop(name, None)
    if mode is Mode.SOTW:
        return encode(mode, track.type_url, _all(track)) if track.type_url in WHOLE else None
    return encode(mode, track.type_url, (), gone) if gone else None


def _still_there(track: Track, move: Move) -> tuple[tuple[str, ...], tuple[Entry, ...]]:
    """Names that were asked for and that the goal lacks, but which the client is to keep for a while, are not answered as unknown."""
    if not track.stale or not move.unknown:
        return move.unknown, ()
    unknown = tuple(name for name in move.unknown if name not in track.stale)
    return unknown, tuple(entry for name in move.unknown if (entry := track.stale.get(name)))


def _let_go(track: Track, move: Move, gone: frozenset[str]) -> tuple[str, ...]:
    """Notes what the client still holds and the goal lacks; the names that may be removed at once."""
    for entry in move.changed:
        track.stale.pop(entry.name, None)
        track.refused.pop(entry.name, None)
    if track.type_url not in USERS:
        for entry in move.gone:
            track.refused.pop(entry.name, None)
        return (*(entry.name for entry in move.gone), *sorted(gone))
    for entry in move.gone:
        refused = track.refused.pop(entry.name, None)
        track.stale[entry.name] = refused.good if refused else entry
    track.stale.update(dict.fromkeys(gone))
    return ()


def _whole(shared: Shared, track: Track, move: Move) -> bytes:
    withheld = track.withheld()
    key = (
        frozenset((name, entry.version if entry else "") for name, entry in track.stale.items()),
        frozenset((name, entry.version if entry else "") for name, entry in withheld.items()),
    )
    return shared.encoded(move, key, lambda _: encode(Mode.SOTW, track.type_url, _all(track)))


def _all(track: Track) -> list[Entry]:
    """All that the client is to hold, for responses that name everything."""
    withheld = track.withheld()
    entries = [entry for entry in covered(track.sent, track.type_url, track.interest) if entry.name not in withheld]
    entries.extend(entry for entry in withheld.values() if entry)
    entries.extend(entry for entry in track.stale.values() if entry)
    return entries
