"""Waiting for what other programs do, and of which they do not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Returns as soon as the condition holds; looks every 10 ms."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is nobody to set an event
            await asyncio.sleep(0.01)
