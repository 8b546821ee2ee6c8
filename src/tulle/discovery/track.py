"""What a stream knows of its client, for one kind of resource.

The client holds `sent`, restricted to `interest`; but for the few names in `refused` and `trials` (where it holds what it had before),
and besides it still holds `stale`. So the state does not grow with the number of resources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tulle.discovery.shared import NAMES, Interest, Shared
from tulle.translate.snapshot import Entry, Snapshot

EMPTY = Snapshot()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flight:
    """A response that is not answered yet."""

    nonce: str
    entries: tuple[Entry, ...]
    """Those that were sent because they changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """An entry that the client did not take."""

    version: str
    good: Entry | None
    """What it has of that name instead, if anything."""
    passing: bool = False
    """The cause may go away by itself."""


@dataclass(slots=True, kw_only=True)
class Track:
    """The state for one kind of resource. Owned and changed by one stream only."""

    type_url: str
    interest: Interest
    sent: Snapshot = EMPTY
    anew: bool = True
    """The next response must not build on `sent`."""
    acked: Snapshot | None = None
    flight: Flight | None = None
    nonce: str = ""
    """Of the last response."""
    asked: frozenset[str] = NAMES
    """Names to answer for with the next response, changed or not."""
    owed: bool = False
    """An answer is due, be it empty."""
    held: Mapping[str, str] | None = None
    """Versions that a resuming client said it had, until the first answer."""
    stale: dict[str, Entry | None] = field(default_factory=dict)
    """What has gone from `sent` and was not yet removed from the client. None where only the name is known."""
    refused: dict[str, Refused] = field(default_factory=dict)
    told: frozenset[str] = NAMES
    """Names whose refusal was told and that are tried again."""
    excused: bool = False
    """Nobody waits any longer for the refused entries to be replaced."""
    trials: list[tuple[Entry, ...]] = field(default_factory=list)
    """Groups of entries that are to be sent one after the other, to find out which of them is refused."""

    @property
    def under_way(self) -> bool:
        """There is something to send, or an answer to come."""
        return bool(self.flight or self.trials or self.asked or self.owed or self.anew or self.held)

    @property
    def clean(self) -> bool:
        """The client holds all of `sent`."""
        return not (self.flight or self.trials or self.refused or self.asked or self.anew) and self.held is None

    def withheld(self) -> dict[str, Entry | None]:
        """What the client has instead of entries of `sent`, by name."""
        out = {name: refused.good for name, refused in self.refused.items()}
        for group in self.trials:
            out.update((entry.name, self.good(entry)) for entry in group)
        return out

    def good(self, entry: Entry) -> Entry | None:
        """What the client acknowledged last under the name of this entry, which it has not taken."""
        if refused := self.refused.get(entry.name):
            return refused.good
        # The snapshot may have been acknowledged before this name was asked for.
        before = self.acked.get(self.type_url, entry.name) if self.acked else None
        return before if before and before.version != entry.version else None

    def subscribe(self, shared: Shared, names: frozenset[str]) -> None:
        """Adds names; `*` is everything. What was subscribed to already is answered again."""
        wildcard = "*" in names
        names = names - {"*"}
        if wildcard and not self.interest.wildcard:
            self.anew, self.owed = True, True
        self._set(shared, self.interest.wildcard or wildcard, self.interest.names | names)
        # Keeps the interned set where it is the same, so that many streams share one key.
        self.asked = self.interest.names if names == self.interest.names else self.asked | names

    def unsubscribe(self, shared: Shared, names: frozenset[str]) -> None:
        """Takes names out; the client forgets those resources by itself."""
        self._set(shared, self.interest.wildcard and "*" not in names, self.interest.names - names)
        if self.interest.wildcard:
            self.asked |= names - {"*"}
            return
        self.asked &= self.interest.names
        covers = self.interest.covers
        self.stale = {name: entry for name, entry in self.stale.items() if covers(name)}
        self.refused = {name: refused for name, refused in self.refused.items() if covers(name)}
        self.trials = [kept for group in self.trials if (kept := tuple(entry for entry in group if covers(entry.name)))]

    def _set(self, shared: Shared, wildcard: bool, names: frozenset[str]) -> None:
        if wildcard != self.interest.wildcard or names != self.interest.names:
            self.interest = shared.interest(wildcard=wildcard, names=names)
