"""What the registry asks of the store: rows with revisions, written together or not at all, and followed without gaps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

Write = tuple[Literal["put", "delete", "check"], str, bytes, int | None]
"""What to do, the key, the value (of a put), and the revision that the key must have: 0 if it must not exist, None for any."""


class Row(Protocol):
    """A key as it stands."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> bytes: ...
    @property
    def created(self) -> int: ...
    @property
    def revision(self) -> int: ...


Changes = Sequence[tuple[str, Row | None]]
"""Keys and what they are now; None for those that are gone."""


class Journal(Protocol):
    async def commit(self, writes: Sequence[Write]) -> int | None:
        """All or nothing, on disk when it returns. The revision after it; None when a key had another revision than expected."""
        ...

    def follow(self) -> AsyncIterator[tuple[int, bool, Changes]]:
        """First everything (the flag says so), then every change, each time with the revision that it brings the follower to."""
        ...
