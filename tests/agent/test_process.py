"""Real programs under the pump: lines, groups, restarts, and what is left when the agent is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tulle.agent.guard import Guard
from tulle.agent.process import MAX_LINE, Program, Unit, launch
from tulle.agent.supervise import Policy, Restart

QUICK = Policy(first_delay=0.01, max_delay=0.05)


def shell(script: str) -> Program:
    return Program(args=("/bin/sh", "-c", script), env={"PATH": os.environ["PATH"]})


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the second when it ends between the opening and the reading
        return False


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - programs set no events
            await asyncio.sleep(0.01)


def unit(script: str, guard: Guard, lines: list[str], policy: Policy = QUICK, grace: float = 5.0) -> Unit:
    def report(line: str) -> None:
        lines.append("# " + line)

    return Unit(start=lambda: launch(shell(script), guard, lines.append), policy=policy, grace=grace, report=report)


async def run_to_end(script: str, policy: Policy) -> tuple[int, list[str]]:
    lines: list[str] = []
    with Guard() as guard:
        return await unit(script, guard, lines, policy).run(), lines


def test_lines_of_both_outputs_and_the_exit_code() -> None:
    script = "echo out; echo err >&2; printf 'no end'; exit 7"
    code, lines = asyncio.run(run_to_end(script, Policy(restart=Restart.NEVER)))
    assert code == 7
    assert lines == ["out", "err", "no end", "# exited with code 7"]


@pytest.mark.parametrize("start", [asyncio.run, uvloop.run])
def test_a_program_gets_none_of_the_agents_files(start: Callable[[Coroutine[Any, Any, Any]], tuple[int, list[str]]]) -> None:
    """Else the guard would not hear of the agent's end while the program runs."""
    _, lines = start(run_to_end("for file in /proc/$$/fd/[0-9]*; do readlink $file; done", Policy(restart=Restart.NEVER)))
    assert lines[0] == "/dev/null"
    assert lines[1] == lines[2]
    assert len(lines) == 4, lines


def test_a_line_that_never_ends_is_cut() -> None:
    _, lines = asyncio.run(run_to_end(f"head -c {MAX_LINE * 3 + 5} /dev/zero | tr '\\0' x", Policy(restart=Restart.NEVER)))
    assert sum(map(len, lines)) == MAX_LINE * 3 + 5
    assert max(map(len, lines)) <= MAX_LINE


def test_a_program_that_does_not_exist_is_reported() -> None:
    async def run() -> tuple[int, list[str]]:
        lines: list[str] = []
        with Guard() as guard:
            absent = Unit(
                start=lambda: launch(Program(args=("/nowhere/to/be/found",)), guard, lines.append),
                policy=Policy(restart=Restart.NEVER),
                grace=1,
                report=lines.append,
            )
            return await absent.run(), lines

    code, lines = asyncio.run(run())
    assert code == 127
    assert "/nowhere/to/be/found" in lines[0]


def test_a_crashing_program_is_started_again_and_ends_when_told() -> None:
    async def run() -> list[str]:
        lines: list[str] = []
        with Guard() as guard:
            crashing = unit("echo run; exit 3", guard, lines)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(crashing.run())
                await until(lambda: lines.count("run") >= 3)
                crashing.stop()
        return lines

    lines = asyncio.run(run())
    assert lines.count("run") >= 3
    assert lines[1].startswith("# exited with code 3; starting it again in 0.0")


def test_the_polite_signal_comes_first_and_the_final_one_when_it_is_ignored() -> None:
    async def run(script: str, grace: float) -> tuple[int, list[str]]:
        lines: list[str] = []
        with Guard() as guard:
            stubborn = unit(script, guard, lines, grace=grace)
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(stubborn.run())
                await until(lambda: "up" in lines)
                stubborn.stop()
            return running.result(), lines

    code, lines = asyncio.run(run("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done", 60.0))
    assert (code, lines[-1]) == (0, "bye")
    code, _ = asyncio.run(run("trap '' TERM; echo up; while :; do sleep 0.05; done", 0.2))
    assert code == -signal.SIGKILL


def test_children_of_the_program_end_with_it() -> None:
    async def run() -> int:
        lines: list[str] = []
        with Guard() as guard:
            code = await unit("sleep 1000 & echo $!", guard, lines, Policy(restart=Restart.NEVER)).run()
            assert code == 0
            await until(lambda: not alive(int(lines[0])))
            return int(lines[0])

    assert asyncio.run(run())


def test_up_follows_the_probe_and_the_end() -> None:
    async def run() -> list[bool]:
        seen: list[bool] = []
        served = asyncio.Event()
        with Guard() as guard:
            probed = unit("sleep 1000", guard, [])
            probed.probe = served.wait  # type: ignore[assignment]
            probed.changed = seen.append
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(probed.run())
                await until(lambda: probed.child)
                assert not probed.up
                served.set()
                await until(lambda: probed.up)
                assert probed.child
                os.kill(probed.child.pid, signal.SIGKILL)
                await until(lambda: probed.starts == 2 and probed.up)
                probed.stop()
        return seen

    assert asyncio.run(run()) == [True, False, True, False]


def test_a_cancelled_pump_leaves_nothing_running() -> None:
    async def run() -> int:
        lines: list[str] = []
        with Guard() as guard:
            long = unit("echo $$; exec sleep 1000", guard, lines)
            async with asyncio.TaskGroup() as tasks:
                running = tasks.create_task(long.run())
                await until(lambda: lines)
                running.cancel()
        return int(lines[0])

    assert not alive(asyncio.run(run()))


AGENT = """
import asyncio, os
from tulle.agent.guard import Guard
from tulle.agent.process import Program, launch

async def main():
    with Guard() as guard:
        program = Program(args=("/bin/sh", "-c", "sleep 1000 & echo $!; echo $$; wait"), env=dict(os.environ))
        child = await launch(program, guard, lambda line: print(line, flush=True))
        await child.wait()

asyncio.run(main())
"""


def test_nothing_outlives_an_agent_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", AGENT], stdout=subprocess.PIPE, text=True) as agent:
        assert agent.stdout
        pids = [int(agent.stdout.readline()) for _ in range(2)]
        assert all(alive(pid) for pid in pids)
        agent.kill()
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in pids if alive(pid)]


def test_a_guard_forgets_what_has_ended() -> None:
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as other:
        with Guard() as guard:
            guard.add(other.pid)
            guard.add(99_999_999)
            guard.remove(99_999_999)
            guard.remove(other.pid)
        assert other.poll() is None
        other.kill()


STARTING = """
import asyncio, sys
from tulle.agent.guard import Guard
from tulle.agent.process import Program, launch

async def main():
    with Guard() as guard:
        print(guard._shell.pid, flush=True)
        while True:
            await launch(Program(args=("/bin/sleep", sys.argv[1])), guard, print)

asyncio.run(main())
"""


def running(words: str) -> list[Path]:
    """Processes with this command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().replace(b"\0", b" ").strip() == words.encode():
                found.append(path)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.parametrize("milliseconds", [3, 10, 25])
def test_nothing_outlives_an_agent_that_is_killed_in_the_middle_of_a_start(milliseconds: int) -> None:
    duration = f"{100_000 + os.getpid()}.{milliseconds}"
    with subprocess.Popen([sys.executable, "-c", STARTING, duration], stdout=subprocess.PIPE) as agent:
        assert agent.stdout
        guard = int(agent.stdout.readline())
        time.sleep(milliseconds / 1000)  # the moment is the point of the test
        agent.kill()
    deadline = time.monotonic() + 60
    # What is ended by the guard's last signal may end a moment after the guard.
    while (alive(guard) or running(f"/bin/sleep {duration}")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(guard)
    assert not running(f"/bin/sleep {duration}")


def test_a_guard_that_was_ended_is_replaced_and_knows_what_runs() -> None:
    async def run() -> int:
        lines: list[str] = []
        with Guard() as guard:
            first = await launch(shell("echo hello; sleep 1000"), guard, lines.append)
            await until(lambda: lines)
            assert guard._shell
            guard._shell.kill()
            guard._shell.wait()
            second = await launch(shell("echo hello; sleep 1000"), guard, lines.append)
            await until(lambda: len(lines) == 2)
        # At its end it ends what is left, as when the agent is gone.
        codes = await first.wait(), await second.wait()
        await first.finish()
        await second.finish()
        assert codes == (-signal.SIGTERM, -signal.SIGTERM)
        return len(lines)

    assert asyncio.run(run()) == 2
