"""The two closed vocabularies of a stream: events are all that it hears, commands are all that it says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from tulle.translate.snapshot import Entry, Snapshot

NOBODY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asks for, acknowledges or refuses: a DiscoveryRequest or a DeltaDiscoveryRequest, without its Node."""

    type_url: str
    nonce: str = ""
    """Of the response that is answered; empty when none is."""
    error: str | None = None
    """Why the response is refused."""
    subscribe: tuple[str, ...] = ()
    """State of the world: all names; Delta: those to add."""
    unsubscribe: tuple[str, ...] = ()
    held: Mapping[str, str] = field(default_factory=lambda: NOBODY)
    """Versions by name that a resuming client already has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the client is to hold from now on. Only the latest one counts."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Reminded:
    """The time that a `Remind` asked for has passed."""

    token: int


Event = Request | Offer | Reminded


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Send this response. `body` is shared by many streams, `nonce` is this stream's own; one after the other they are the message."""

    type_url: str
    body: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """The client has taken over all of the snapshot's resources of this kind (what it no longer needs may still be there)."""

    type_url: str
    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """The client has acknowledged all of the snapshot, and has asked for whatever its listeners and clusters refer to.

    `Acknowledged` comes before: of route tables, endpoints and secrets a client asks for those only that it has heard of, one kind
    after the other. Said once for a snapshot. What a client does not ask for within `Reminder.PATIENCE` is not waited for.
    """

    snapshot: Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The client refused these entries; what it had of those names before stays in force there."""

    type_url: str
    entries: tuple[Entry, ...]
    message: str
    """The client's own words."""
    snapshot: Snapshot
    replaced: Mapping[str, Entry] = field(default_factory=dict)
    """The entries, by name, of the snapshot that the client acknowledged before; absent where there were none."""


class Reminder(Enum):
    """What the stream waits for."""

    PATIENCE = "patience"
    """Something that the client should do soon and perhaps never will. Seconds."""
    LINGER = "linger"
    """Requests under way may still use what is to be removed."""
    RETRY = "retry"
    """A refusal had a cause outside of the configuration, which may have gone by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remind:
    """Feed `Reminded(token)` when the time for `reminder` has passed. A later command of the same kind replaces it."""

    reminder: Reminder
    token: int


Command = Send | Acknowledged | Complete | Rejected | Remind
