"""Whether an application takes connections, and applications that someone else starts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

Target = tuple[str, int]

CHECK_EVERY = 1.0
"""Seconds between looks at an application that is not ours."""


async def accepts(target: Target) -> bool:
    """Whether something listens there. The connection is closed at once."""
    try:
        async with asyncio.timeout(1.0):
            _, writer = await asyncio.open_connection(*target)
    except OSError:
        return False
    writer.transport.abort()
    return True


async def until_accepting(targets: Sequence[Target]) -> None:
    """Returns when all take connections. Has no limit of its own: cancel it."""
    for target in targets:
        pause = 0.02
        while not await accepts(target):
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, 0.5)


class Elsewhere:
    """Stands where a program of ours would: up while the application takes connections on all its ports."""

    def __init__(self, targets: Sequence[Target], every: float = CHECK_EVERY) -> None:
        self.up = False
        self.changed: Callable[[bool], None] = lambda _up: None
        self._targets = targets
        self._every = every
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Ends `run`. The application goes on: it is not ours."""
        self._stopped.set()

    def hurry(self) -> None:
        self._stopped.set()

    async def run(self) -> int:
        """Until stopped. 0."""
        while not self._stopped.is_set():
            await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05 if not self.up else self._every):
                    await self._stopped.wait()
        return 0

    async def _look(self) -> None:
        up = all(await asyncio.gather(*(accepts(target) for target in self._targets)))
        if up != self.up:
            self.up = up
            self.changed(up)
