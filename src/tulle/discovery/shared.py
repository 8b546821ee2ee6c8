"""Work that is done once for all streams: the difference between two snapshots for one kind and one interest, and its encoding.

Proxies share bundles, and most of them subscribe to the same names; so when one bundle changes, the first stream that asks for the
difference pays for it and the others find it here. Nothing here keeps a bundle alive, and the memory for bodies is bounded.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tulle.discovery.kinds import CDS, EDS, RDS, SDS
from tulle.translate.snapshot import Bundle, Entry, Snapshot

T = TypeVar("T")
_SWEEP = 16
"""So many results are kept before the first look for dead ones: each may hold megabytes."""
NAMES: frozenset[str] = frozenset()
NOTHING: Mapping[str, Entry] = {}


@dataclass(frozen=True, eq=False, weakref_slot=True, slots=True)
class Interest:
    """What a client subscribed to: everything, or names, or both. Interned by `Shared`: equal interests are one object."""

    wildcard: bool
    names: frozenset[str]
    ordered: tuple[str, ...]

    def covers(self, name: str) -> bool:
        return self.wildcard or name in self.names


@dataclass(frozen=True, eq=False, slots=True)
class Move:
    """What differs for a client that goes from one snapshot to another."""

    changed: tuple[Entry, ...] = ()
    """New, of another version, or asked for."""
    gone: tuple[Entry, ...] = ()
    unknown: tuple[str, ...] = ()
    """Asked for, and not there."""
    parts: tuple[Move, ...] = ()
    """Moves that together are this one, and that others may share."""
    encodings: dict[Hashable, bytes] = field(default_factory=dict)


STAY = Move()


class Memo(Generic[T]):
    """Results by key, where keys hold weak references to bundles; what belongs to dead bundles is swept out now and then."""

    def __init__(self, dropped: Callable[[T], None] = lambda _: None) -> None:
        self._dropped = dropped
        self._results: OrderedDict[Hashable, tuple[tuple[weakref.ref[Bundle], ...], T]] = OrderedDict()
        self._sweep_at = _SWEEP

    def get(self, bundles: tuple[Bundle, ...], key: Hashable, make: Callable[[], T]) -> T:
        refs = tuple(map(weakref.ref, bundles))
        full_key = (refs, key)
        if (found := self._results.get(full_key)) is not None:
            self._results.move_to_end(full_key)
            return found[1]
        if len(self._results) >= self._sweep_at:
            self._sweep()
        made = make()
        self._results[full_key] = (refs, made)
        return made

    def drop_oldest(self) -> None:
        """Takes out the result that has not been used for the longest time."""
        self._dropped(self._results.popitem(last=False)[1][1])

    def __len__(self) -> int:
        return len(self._results)

    def _sweep(self) -> None:
        dead = [key for key, (refs, _) in self._results.items() if any(ref() is None for ref in refs)]
        for key in dead:
            self._dropped(self._results.pop(key)[1])
        self._sweep_at = max(_SWEEP, 2 * len(self._results))


class Shared:
    """One for all streams of a server."""

    def __init__(self, *, limit: int = 32 << 20) -> None:
        """`limit`: bytes of encoded bodies to keep."""
        self._limit = limit
        self._interests: weakref.WeakValueDictionary[tuple[bool, frozenset[str]], Interest] = weakref.WeakValueDictionary()
        self._moves: Memo[Move] = Memo(self._forget)
        self._gaps: Memo[frozenset[str]] = Memo()
        self._bytes = 0

    def interest(self, *, wildcard: bool, names: frozenset[str]) -> Interest:
        """The one object for this interest."""
        if (found := self._interests.get((wildcard, names))) is None:
            found = self._interests[wildcard, names] = Interest(wildcard, names, tuple(sorted(names)))
        return found

    def move(
        self, type_url: str, old: Snapshot, new: Snapshot, interest: Interest, asked: frozenset[str] = NAMES, *, whole: bool = False
    ) -> Move:
        """The difference for one kind. `asked` names are answered even if they did not change.

        `whole`: the result is this pair of snapshots' own, so that encodings that depend on all of the new one may be kept with it.
        """
        before, after = _parts(old, type_url), _parts(new, type_url)
        if not (asked or whole):
            before, after = tuple(b for b in before if b not in after), tuple(b for b in after if b not in before)
            if not before and not after:
                return STAY
            if not before and len(after) > 1:
                parts = tuple(self._move(type_url, (), (bundle,), interest, asked) for bundle in after)
                return Move(changed=tuple(entry for part in parts for entry in part.changed), parts=parts)
        return self._move(type_url, before, after, interest, asked)

    def _move(
        self, type_url: str, before: tuple[Bundle, ...], after: tuple[Bundle, ...], interest: Interest, asked: frozenset[str]
    ) -> Move:
        key = (len(before), type_url, interest, asked)
        return self._moves.get((*before, *after), key, lambda: _difference(type_url, before, after, interest, asked))

    def encoded(self, move: Move, key: Hashable, make: Callable[[Move], bytes]) -> bytes:
        """A body that belongs to a move, made at first use. Bodies that follow each other are one (protobuf concatenates)."""
        if move.parts:
            return b"".join(self.encoded(part, key, make) for part in move.parts)
        if (found := move.encodings.get(key)) is not None:
            return found
        body = make(move)
        if move is not STAY:
            move.encodings[key] = body
            self._bytes += len(body)
            self._trim()
        return body

    def unsubscribed_endpoints(self, snapshot: Snapshot, clusters: Interest, endpoints: Interest) -> frozenset[str]:
        """Names of clusters whose endpoints the snapshot sends apart, and to whose endpoints the client has not subscribed."""
        missing = self._missing(snapshot, EDS, endpoints)
        return frozenset(name for name in missing if clusters.covers(name) and snapshot.get(CDS, name) is not None)

    def unsubscribed_routes(self, snapshot: Snapshot, routes: Interest) -> frozenset[str]:
        """Names of route tables to which the client has not subscribed."""
        return self._missing(snapshot, RDS, routes)

    def unsubscribed_secrets(self, snapshot: Snapshot, secrets: Interest) -> frozenset[str]:
        """Names of secrets that something else in the snapshot needs, and to which the client has not subscribed."""
        if secrets.wildcard:
            return NAMES
        return NAMES.union(*map(self._secrets_needed, snapshot.bundles)) - secrets.names

    def _secrets_needed(self, bundle: Bundle) -> frozenset[str]:
        def find() -> frozenset[str]:
            return frozenset(name for entry in bundle for type_url, name in entry.references if type_url == SDS)

        return self._gaps.get((bundle,), SDS, find)

    def _missing(self, snapshot: Snapshot, type_url: str, interest: Interest) -> frozenset[str]:
        bundles = _parts(snapshot, type_url)

        def find() -> frozenset[str]:
            return frozenset(name for bundle in bundles for name in bundle.entries[type_url] if not interest.covers(name))

        return self._gaps.get(bundles, (type_url, interest), find)

    def __len__(self) -> int:
        """How many differences are kept."""
        return len(self._moves)

    def _trim(self) -> None:
        while self._bytes > self._limit and len(self._moves) > 1:
            self._moves.drop_oldest()

    def _forget(self, move: Move) -> None:
        self._bytes -= sum(map(len, move.encodings.values()))


def resumed(
    type_url: str, held: Mapping[str, str], new: Snapshot, interest: Interest, asked: frozenset[str]
) -> tuple[Move, frozenset[str]]:
    """The difference for a client that says which versions it holds, and the names it holds that are no more."""
    after = _parts(new, type_url)
    changed, known = [], set()
    for entry in _covered(after, type_url, interest):
        known.add(entry.name)
        if held.get(entry.name) != entry.version or entry.name in asked:
            changed.append(entry)
    gone = frozenset(name for name in held if name not in known and interest.covers(name))
    unknown = tuple(name for name in interest.ordered if name not in known and name not in held)
    return Move(tuple(changed), (), unknown), gone


def covered(snapshot: Snapshot, type_url: str, interest: Interest) -> Iterator[Entry]:
    """The entries of one kind that the interest covers."""
    return _covered(_parts(snapshot, type_url), type_url, interest)


def _parts(snapshot: Snapshot, type_url: str) -> tuple[Bundle, ...]:
    return tuple(bundle for bundle in snapshot.bundles if bundle.entries.get(type_url))


def _covered(bundles: tuple[Bundle, ...], type_url: str, interest: Interest) -> Iterator[Entry]:
    for bundle in bundles:
        table = bundle.entries[type_url]
        if interest.wildcard:
            yield from table.values()
        else:
            yield from (table[name] for name in interest.ordered if name in table)


def _difference(type_url: str, before: tuple[Bundle, ...], after: tuple[Bundle, ...], interest: Interest, asked: frozenset[str]) -> Move:
    old = {entry.name: entry for entry in _covered(before, type_url, interest)}
    changed = []
    for entry in _covered(after, type_url, interest):
        previous = old.pop(entry.name, None)
        if (previous is not entry and (previous is None or previous.version != entry.version)) or entry.name in asked:
            changed.append(entry)
    unknown = [name for name in asked if name != "*" and not any(name in bundle.entries[type_url] for bundle in after)]
    if not (changed or old or unknown):
        return STAY
    return Move(tuple(changed), tuple(old.values()), tuple(sorted(unknown)))
