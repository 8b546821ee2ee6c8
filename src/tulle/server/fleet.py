"""The connected proxies: what each is to have, what it has acknowledged, and so which documents are programmed where."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from tulle.model.proxy import Node
from tulle.model.resource import Condition, Key
from tulle.server.ports import Progress, ProxyInfo
from tulle.translate.snapshot import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Bundle, Entry, Snapshot

REFUSAL = 5.0
"""Seconds in which a refusal is dealt with: a bad document gives way to its last good version. One that stays is not waited for longer."""
SHORT = {CLUSTER: "cluster", ENDPOINTS: "endpoints", LISTENER: "listener", ROUTES: "routes"}


@dataclass(slots=True, kw_only=True)
class Member:
    """One connected proxy."""

    node: Node
    since: datetime
    snapshot: Snapshot
    revision: int
    """Of the store, that `snapshot` was made from."""
    acked: dict[str, Snapshot] = field(default_factory=dict)
    complete: Snapshot | None = None
    """The last one that it holds all of, with all that it refers to."""
    taken: dict[str, int] = field(default_factory=dict)
    """By type: the store's revision up to which it has acknowledged everything."""
    refused: dict[str, str] = field(default_factory=dict)
    """By type: what it said when it refused a configuration, until it takes one again."""

    def take(self, type_url: str, snapshot: Snapshot) -> None:
        """It has acknowledged all that the snapshot has of a type."""
        self.acked[type_url] = snapshot
        self.refused.pop(type_url, None)
        if snapshot is self.snapshot:
            self.taken[type_url] = self.revision

    def has(self, entry: Entry) -> bool:
        """Whether it has acknowledged this very version, or never asked for such a thing."""
        acked = self.acked.get(entry.type_url)
        if acked is None:
            return LISTENER in self.acked
        held = acked.get(entry.type_url, entry.name)
        return held is not None and held.version == entry.version

    @property
    def current(self) -> bool:
        """Whether it has acknowledged all that it is to have, and has asked for all that this refers to."""
        return self.complete is self.snapshot


class Fleet:
    """All connected proxies. Changed from one task only."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.changed = datetime.now(UTC)
        """When `notify` was called last."""
        self._news = asyncio.Event()
        self._by_key: WeakKeyDictionary[Bundle, Mapping[Key, tuple[Entry, ...]]] = WeakKeyDictionary()

    def concerned(self, key: Key) -> Iterator[tuple[Member, tuple[Entry, ...]]]:
        """The proxies that are to act on a document, with the resources that it is part of."""
        for member in self.members.values():
            if entries := tuple(e for bundle in member.snapshot.bundles for e in self._index(bundle).get(key, ())):
                yield member, entries

    def notify(self) -> None:
        """Something changed: wakes those who wait for it."""
        self.changed = datetime.now(UTC)
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def news(self) -> None:
        """Returns when something has changed."""
        await self._news.wait()

    async def until(self, revision: int, timeout: float) -> Progress:
        """How far all are: when they follow the store's revision, after `timeout` seconds, or when only those lag that refuse something."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while lagging := self._lagging(revision):
                    async with asyncio.timeout(REFUSAL if all(member.refused for member in lagging) else None):
                        await self._news.wait()
        return self.progress(revision)

    def programmed(self, key: Key) -> Condition:
        """How many of the proxies that a document concerns have acknowledged it."""
        members = list(self.concerned(key))
        waiting = [member for member, entries in members if not all(map(member.has, entries))]
        all_of = len(members)
        done = all_of - len(waiting)
        if not all_of:
            return Condition(type="Programmed", status=None, reason="NoProxy", message="it concerns none of the connected proxies")
        message = f"{done} of {all_of} {'proxy has' if all_of == 1 else 'proxies have'} acknowledged"
        said = dict.fromkeys(f"; {member.node.id} refuses: {text}" for member in waiting for text in member.refused.values())
        message += "".join(said)
        reason = "Programmed" if done == all_of else "Refused" if said else "Pending"
        return Condition(type="Programmed", status=done == all_of, reason=reason, message=message)

    def progress(self, revision: int) -> Progress:
        """How many proxies follow the store's revision."""
        lagging = self._lagging(revision)
        return Progress(
            acknowledged=len(self.members) - len(lagging),
            proxies=len(self.members),
            refusals=tuple(f"{member.node.id} refuses: {text}" for member in lagging for text in member.refused.values()),
        )

    def _lagging(self, revision: int) -> list[Member]:
        return [member for member in self.members.values() if member.revision < revision or not member.current]

    def infos(self) -> tuple[ProxyInfo, ...]:
        """For people, ordered by name."""
        return tuple(_info(member) for _, member in sorted(self.members.items()))

    def _index(self, bundle: Bundle) -> Mapping[Key, tuple[Entry, ...]]:
        if (index := self._by_key.get(bundle)) is None:
            # By identity: to hash an entry is to hash all its sources, of which a table of routes has thousands.
            found: dict[Key, dict[int, Entry]] = {}
            for entry in bundle:
                for source in entry.sources:
                    found.setdefault(source.key, {})[id(entry)] = entry
            index = self._by_key[bundle] = {key: tuple(entries.values()) for key, entries in found.items()}
        return index


def _info(member: Member) -> ProxyInfo:
    node = member.node
    return ProxyInfo(
        id=node.id,
        role=node.role,
        namespace=node.namespace,
        ip=node.ip,
        connected_since=member.since,
        current=member.current,
        acked={SHORT.get(t, t): _digest(t, snapshot) for t, snapshot in member.acked.items()},
        error="; ".join(member.refused.values()),
        http_proxy="{}:{}".format(*node.http_proxy) if node.http_proxy else "",
        inbound=node.inbound,
    )


def _digest(type_url: str, snapshot: Snapshot) -> str:
    return f"{sum(1 for _ in snapshot.entries(type_url))} resources"
