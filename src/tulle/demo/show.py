"""What the user of the demo sees: progress while things start, a table that grows row by row, and where to go from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from tulle.demo.ports import Ports
from tulle.demo.steps import Finding, Step

WIDTH = 120
"""Columns where the output is no terminal."""


def console() -> Console:
    """Colour and moving parts on a terminal only."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDTH)


@contextmanager
def starting(on: Console, instances: int) -> Iterator[Progress]:
    """A bar while the mesh starts; task 0 counts the instances that serve."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=on, transient=True, disable=not on.is_terminal) as progress:
        progress.add_task("starting the mesh", total=instances)
        yield progress


class Board:
    """The table of the tour. On a terminal it is drawn anew for every row, elsewhere it is printed once, whole."""

    def __init__(self, on: Console) -> None:
        self._on = on
        self._rows: list[tuple[Step, Finding | None]] = []
        self._live = Live(console=on, auto_refresh=False, transient=False) if on.is_terminal else None

    def told(self, step: Step, finding: Finding | None) -> None:
        """A station begins (None) or has its finding."""
        self._rows = [row for row in self._rows if row[0] is not step]
        self._rows.append((step, finding))
        if self._live:
            self._live.update(self.table(), refresh=True)

    def table(self) -> Table:
        table = Table()
        for heading in ("station", "asked", "measured"):
            table.add_column(heading, overflow="fold")
        table.add_column("ok", no_wrap=True)
        for step, finding in self._rows:
            verdict = "..." if finding is None else "[green]yes[/]" if finding.ok else "[bold red]NO[/]"
            table.add_row(step.name, step.asked, finding.measured if finding else "", verdict)
        return table

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While inside, the table is on the screen; at the end it stays there."""
        if self._live:
            with self._live:
                yield
            return
        try:
            yield
        finally:
            self._on.print(self.table())


def hints(ports: Ports) -> str:
    """What to try while the mesh is up."""
    api = "" if ports.api == Ports().api else f"TULLE_SERVER=http://127.0.0.1:{ports.api} "
    page = f"http://127.0.0.1:{ports.gateway}/productpage"
    return "\n".join(
        (
            f"The mesh is up: [bold]{page}[/] (sign in as jason).",
            "In another terminal:",
            "  tulle demo --save bookshop",
            f"  {api}tulle apply -f bookshop/header-routing.yaml",
            f"  {api}tulle explain --from gateway GET {page}",
            f"  {api}tulle proxies",
            "Ctrl-C ends it and leaves nothing behind.",
        )
    )
