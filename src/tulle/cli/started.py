"""What the commands that run proxies share: reading their options, and running until Ctrl-C."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

from tulle.cli.failure import Failure
from tulle.settings import Address, Settings, SettingsError, read_settings

T = TypeVar("T")
U = TypeVar("U")


def read(option: str, reader: Callable[[U], T], text: U) -> T:
    """The option's value as the reader takes it. Ends the program (2) with the option's name when it does not."""
    try:
        return reader(text)
    except ValueError as error:
        raise Failure(f"{option}: {error}", exit_code=2) from None


def settings_from(options: Mapping[str, str | None]) -> Settings:
    """Settings from the environment and the options of a command. Ends the program (2) with all that is wrong with them."""
    try:
        return read_settings(os.environ, options)
    except SettingsError as error:
        raise Failure(str(error), exit_code=2) from None


def started(main: Callable[[asyncio.Event, asyncio.Event], Coroutine[Any, Any, int]]) -> int:
    """Runs `main(stop, hurry)` until it ends by itself or by signals. What the system denied is told without a traceback."""
    from tulle.agent.farewell import serve
    from tulle.store.port import StoreError

    # What was loaded stays: the collector need not look through it again after every change to the mesh.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    try:
        return serve(main)
    except* (OSError, StoreError) as group:
        raise Failure("; ".join(_sentences(group))) from group


async def greeted(work: Coroutine[Any, Any, int], ready: asyncio.Event, greeting: Callable[[], str]) -> int:
    """Does the work, and says `greeting` on the terminal once `ready` is set. The work's result."""

    async def greet() -> None:
        await ready.wait()
        sys.stderr.write(f"tulle: {greeting()}\n")

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(greet())
        code = await work
        waiting.cancel()
    return code


def warn_beyond_loopback(address: str) -> None:
    """Says so when traffic will leave the machine, as nothing encrypts it yet."""
    if not Address(host=address, port=0).is_loopback:
        sys.stderr.write(
            f"tulle: warning: {address} can be reached from other machines, and traffic between machines is not encrypted yet\n"
        )


def _sentences(group: BaseExceptionGroup[Exception]) -> Iterator[str]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _sentences(error)
        else:
            yield str(error)
