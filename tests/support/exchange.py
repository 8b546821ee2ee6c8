"""A request under way, over HTTP/2 or HTTP/3, and what has come of it so far."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

Headers = list[tuple[str, str]]


@dataclass
class Exchange:
    """`changed` is set each time that something of the answer arrives."""

    status: int = 0
    headers: Headers = field(default_factory=list)
    trailers: Headers = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None
    """The code with which the server gave the stream up."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def get(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key == name]
        return ",".join(values) if values else None

    async def until(self, holds: Callable[[Exchange], bool] = lambda _: False, *, seconds: float = 60) -> Exchange:
        """Until the answer is over, or something holds. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not (self.ended or self.reset is not None or holds(self)):
                self.changed.clear()
                await self.changed.wait()
        return self

    def answered(self, fields: Iterable[tuple[str, str]]) -> None:
        pairs = list(fields)
        self.status = int(dict(pairs)[":status"])
        self.headers = [(name, value) for name, value in pairs if not name.startswith(":")]
        self.changed.set()

    def more(self, data: bytes) -> None:
        self.body += data
        self.changed.set()

    def given_up(self, code: int) -> None:
        self.reset = code
        self.changed.set()

    def end(self) -> None:
        self.ended = True
        self.changed.set()
