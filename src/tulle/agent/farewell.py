"""Waiting for what comes first, and ending programs with or without patience."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol


class Ending(Protocol):
    """Something that can be asked to end."""

    def stop(self) -> None: ...

    def hurry(self) -> None: ...


async def first(*waits: Awaitable[object]) -> None:
    """Returns when one of them has ended, and cancels the rest. Their errors are raised as a group."""
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(_plain(wait)) for wait in waits]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()


async def _plain(wait: Awaitable[object]) -> None:
    await wait


async def end(unit: Ending, running: asyncio.Task[int], hurry: asyncio.Event) -> int:
    """Asks for the end and waits for it; once `hurry` is set, without patience. The result of `running`."""
    unit.stop()
    await first(asyncio.wait([running]), hurry.wait())
    if not running.done():
        unit.hurry()
    return await running


def on_signals(stop: asyncio.Event, hurry: asyncio.Event) -> contextlib.ExitStack:
    """Ctrl-C, SIGTERM and SIGHUP set `stop`, a second one sets `hurry`, until the returned stack is closed."""
    loop = asyncio.get_running_loop()
    undo = contextlib.ExitStack()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _press, stop, hurry)
        undo.callback(loop.remove_signal_handler, number)
    return undo


def _press(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    (hurry if stop.is_set() else stop).set()


def serve(main: Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Runs `main(stop, hurry)` on a fast loop with both events tied to signals. Its result, as an exit code for a shell."""
    import uvloop  # noqa: PLC0415 - only programs need it

    async def run() -> int:
        stop, hurry = asyncio.Event(), asyncio.Event()
        with on_signals(stop, hurry):
            return await main(stop, hurry)

    code = uvloop.run(run())
    return code if code >= 0 else 128 - code
