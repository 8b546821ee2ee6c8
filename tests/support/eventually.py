"""Waiting for what other programs do, and of which they do not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def eventually(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    """Returns as soon as the condition holds; looks every 10 ms."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is nobody to set an event
            await asyncio.sleep(0.01)


async def soon(condition: Callable[[], Awaitable[bool]], *, every: float = 0.3, seconds: float = 120) -> None:
    """As `eventually`, of what must be asked for."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - there is nobody to set an event
            await asyncio.sleep(every)
