"""What the mesh is compiled from, as it comes in: documents, registrations, what documents name elsewhere, and the mesh's own keys."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tulle.model.challenges import Challenge
from tulle.model.mesh import Inputs
from tulle.model.resource import Key, Resource
from tulle.model.service import Registration
from tulle.store.document import Update

HISTORY = 4
"""So many earlier versions of a document are remembered, to fall back to."""


class Intake:
    """`inputs` is replaced as a whole by whatever comes in, and `changed` is set then."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.revision = 0
        """Of the store, that `inputs` are as of."""
        self.changed = asyncio.Event()
        self._earlier: dict[Key, deque[Resource[Any]]] = {}
        self._registered: Mapping[str, Registration] = {}
        self._catalog: Mapping[str, Registration] = {}

    def documents(self, update: Update) -> None:
        for key in update.changed:
            self._remember(key, update.in_force.get(key))
        self._take(update.revision, resources=update.in_force)

    def registered(self, revision: int, registrations: Mapping[str, Registration]) -> None:
        """What agents registered."""
        self._registered = registrations
        self._take(revision, registrations={**registrations, **self._catalog})

    def catalog(self, revision: int, registrations: Mapping[str, Registration]) -> None:
        """What clients of Consul's API registered, and what they say of `tulle run`'s, which has the same identity and goes before it."""
        self._catalog = registrations
        self._take(revision, registrations={**self._registered, **registrations})

    def lookups(self, complete: Callable[[Inputs], Inputs]) -> None:
        """Public keys of those who issue tokens, and what providers tell of themselves."""
        self.inputs = complete(self.inputs)
        self.changed.set()

    def own_keys(self, document: str) -> None:
        """Public keys of the mesh's own authority for tokens."""
        self._put(own_keys=document)

    def challenges(self, asked: tuple[Challenge, ...]) -> None:
        """By which authorities ask whether hosts are ours."""
        self._put(challenges=asked)

    def firewalls(self, missing: str, broken: Mapping[str, str]) -> None:
        """Why no firewall can be in force, and why some cannot."""
        if (missing, broken) != (self.inputs.no_firewall, self.inputs.broken_firewalls):
            self._put(no_firewall=missing, broken_firewalls=broken)

    def good(self) -> Mapping[Key, Resource[Any]]:
        """The version before the last of each document that has one."""
        return {key: versions[-1] for key, versions in self._earlier.items() if versions}

    def forget(self, key: Key, revision: int) -> None:
        """A version that turned out to be bad is not fallen back to."""
        self._earlier[key] = deque((v for v in self._earlier.get(key, ()) if v.revision != revision), maxlen=HISTORY)

    def _take(self, revision: int, **news: Any) -> None:
        self.revision = max(self.revision, revision)
        self._put(**news)

    def _put(self, **news: Any) -> None:
        self.inputs = replace(self.inputs, **news)
        self.changed.set()

    def _remember(self, key: Key, now: Resource[Any] | None) -> None:
        """Keeps the version that `now` takes the place of, for as long as the document exists."""
        before = self.inputs.resources.get(key)
        if now is None:
            self._earlier.pop(key, None)
        elif before is not None:
            self._earlier.setdefault(key, deque(maxlen=HISTORY)).append(before)
