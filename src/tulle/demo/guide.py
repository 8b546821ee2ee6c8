"""`tulle demo` from beginning to end: start the mesh, walk, show, stay or go."""

from __future__ import annotations

import asyncio
import time

from rich.console import Console

from tulle.agent.farewell import first
from tulle.demo import bookshop
from tulle.demo.ports import choose
from tulle.demo.process import Mesh, MeshError, running_mesh
from tulle.demo.show import Board, console, hints, starting
from tulle.demo.walk import walk

STOPPED = 130
"""Exit code after Ctrl-C before the tour was over, as shells have it."""


async def guide(stop: asyncio.Event, hurry: asyncio.Event, *, stay: bool) -> int:
    """The exit code: 0 when every station was as asked, 1 when not. With `stay` the mesh is up until `stop`."""
    screen = console()
    ports, sentences = choose()
    for sentence in sentences:
        screen.print(sentence)
    codes: list[int] = []
    trouble = ""
    try:
        async with running_mesh(ports, hurry) as mesh:
            await first(_tour(screen, mesh, codes, stop=stop if stay else None), stop.wait(), mesh.until_ended())
            screen.print("Ending ...")
    except* MeshError as group:
        trouble = "\n".join(str(error) for error in group.exceptions)
    if trouble:
        screen.print(trouble, style="red", markup=False)
        return 1
    return codes[0] if codes else STOPPED


async def _tour(screen: Console, mesh: Mesh, codes: list[int], *, stop: asyncio.Event | None) -> None:
    await _start(screen, mesh)
    board = Board(screen)
    with board.shown():
        codes.append(0 if await walk(mesh, board.told) else 1)
    if stop:
        screen.print(hints(mesh.ports))
        await stop.wait()


async def _start(screen: Console, mesh: Mesh) -> None:
    instances = bookshop.instances()
    began = time.monotonic()
    with starting(screen, instances) as progress:
        await mesh.until_ready(instances, lambda what, there: progress.update(progress.task_ids[0], description=what, completed=there))
    took = time.monotonic() - began
    screen.print(f"{instances} programs, each behind its own proxy, and a gateway: up in {took:.1f} s.")
