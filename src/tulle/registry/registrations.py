"""Registrations: who is there, kept for as long as each renews itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from tulle.model.service import Registration
from tulle.registry import form


class Leased(Protocol):
    """Where the registry keeps its values: each vanishes when it is not put again within its time to live (seconds)."""

    async def put(self, name: str, value: bytes, ttl: float) -> int:
        """Writes, or renews an equal value. The revision of the value, which is another only if the value is."""
        ...

    async def remove(self, name: str) -> int | None:
        """The revision without it; None if it was not there."""
        ...

    async def all(self) -> Mapping[str, bytes]: ...

    def watch(self) -> AsyncIterator[tuple[int, Mapping[str, bytes]]]:
        """First all values, then all values after each change, each time with the revision they are true at."""
        ...


class Registrations:
    def __init__(self, values: Leased) -> None:
        self._values = values
        self._known: dict[bytes, Registration] = {}
        self._by: dict[str, str] = {}
        """By id, the membership of who renewed it last, since this process began."""

    async def register(self, registration: Registration, ttl: float, by: str = "") -> int:
        """Registers or renews for `ttl` seconds. The revision changes only if the registration does. `by`: a membership."""
        revision = await self._values.put(registration.id, form.dump(registration), ttl)
        self._by[registration.id] = by
        return revision

    def of(self, membership: str) -> frozenset[str]:
        """The ids of all that were registered by it."""
        return frozenset(identifier for identifier, by in self._by.items() if by == membership)

    def memberships(self) -> frozenset[str]:
        """All that have registered something."""
        return frozenset(filter(None, self._by.values()))

    async def deregister(self, identifier: str) -> int | None:
        """The revision without it; None if there was none of this id."""
        return await self._values.remove(identifier)

    async def all(self) -> Mapping[str, Registration]:
        return self._read(await self._values.all())

    async def watch(self) -> AsyncIterator[tuple[int, Mapping[str, Registration]]]:
        """First all registrations by id, then all of them after each change, with the revision. Equal ones are the same object."""
        async for revision, values in self._values.watch():
            yield revision, self._read(values)

    def _read(self, values: Mapping[str, bytes]) -> Mapping[str, Registration]:
        known = self._known
        self._by = {identifier: by for identifier, by in self._by.items() if identifier in values}
        self._known = {value: known.get(value) or form.parse(name, value) for name, value in values.items()}
        return {name: self._known[value] for name, value in values.items()}
