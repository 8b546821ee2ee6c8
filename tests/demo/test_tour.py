"""The tour on a real mesh: it finds what is so, notices what is not, stays on a terminal, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from support.shell import alone, leftovers
from tulle.demo import bookshop
from tulle.demo.ports import Ports, choose
from tulle.demo.process import MeshError, running_mesh
from tulle.demo.steps import STEPS, Finding, Step
from tulle.demo.walk import walk

pytestmark = [pytest.mark.envoy, pytest.mark.xdist_group("ports")]
COMMAND = [sys.executable, "-m", "tulle.cli.main", "demo"]


@pytest.fixture(autouse=True)
def usual_ports() -> Iterator[None]:
    """A demo takes the usual ports where it can, from under the nose of a test that needs them."""
    with alone(()):
        yield


@pytest.fixture
def home() -> Iterator[Path]:
    """Not too deep for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="t") as name:
        (Path(name) / "tmp").mkdir()
        yield Path(name)


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TULLE_", "XDG_"))}
    return {**kept, "HOME": str(home), "TMPDIR": str(home / "tmp")}


def test_the_tour_finds_all_as_asked_and_leaves_nothing(home: Path) -> None:
    done = subprocess.run(COMMAND, env=environment(home), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in STEPS:
        assert step.name in done.stdout
    assert len(re.findall(r"│ yes", done.stdout)) == len(STEPS)
    assert "\x1b" not in done.stdout, "no colour and no moving parts where there is no terminal"
    assert list((home / "tmp").iterdir()) == []
    assert leftovers(str(home)) == []


def test_on_a_terminal_it_stays_until_ctrl_c(home: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        COMMAND, env={**environment(home), "COLUMNS": "140"}, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    shown = b""
    try:
        while b"Ctrl-C ends it" not in shown:
            shown += os.read(ours, 65536)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, shown.decode()
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert b"\x1b[" in shown
    assert b"/productpage" in shown
    assert list((home / "tmp").iterdir()) == []
    assert leftovers(str(home)) == []


def test_stations_notice_a_mesh_that_does_something_else() -> None:
    """Each station measures under a rule that is not its own: none may be content."""
    files = [step.file for step in STEPS]
    wrong = tuple(replace(step, file=file) for step, file in zip(STEPS, files[1:] + files[:1], strict=True))
    found: dict[str, Finding] = {}

    def told(step: Step, finding: Finding | None) -> None:
        if finding:
            found[step.name] = finding

    async def tour() -> tuple[bool, bool]:
        ports, _ = choose(Ports(gateway=0, api=0, xds=0))
        async with running_mesh(ports, asyncio.Event()) as mesh:
            await mesh.until_ready(bookshop.instances(), lambda _what, _there: None)
            return await walk(mesh, told, wrong), await walk(mesh, lambda _step, _finding: None, STEPS[2:3])

    content, after = asyncio.run(tour())
    assert not content
    assert {name: finding.measured for name, finding in found.items() if finding.ok} == {}
    assert len(found) == len(STEPS)
    assert after, "what the wrong rules did is undone"


def test_a_mesh_that_cannot_start_says_why() -> None:
    async def tour() -> None:
        ports, _ = choose(Ports(gateway=0, api=0, xds=0))
        async with running_mesh(ports, asyncio.Event()) as mesh:
            mesh.process.kill()
            await mesh.until_ready(bookshop.instances(), lambda _what, _there: None)

    with pytest.raises(MeshError, match="the mesh ended by itself with status -9"):
        asyncio.run(tour())
