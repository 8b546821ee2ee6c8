"""Programs: their own process group, their lines of output, and the pump that runs the restart machine around them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random

from tulle.agent.guard import Guard
from tulle.agent.supervise import (
    Begin,
    Command,
    Elapsed,
    End,
    Event,
    Exited,
    Hurry,
    Kill,
    Phase,
    Policy,
    Start,
    Started,
    State,
    Stop,
    Terminate,
    Wait,
    step,
)

MAX_LINE = 16 * 1024
NOT_STARTED = 127

Lines = Callable[[str], None]
"""Takes one line of output, without its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to start."""

    args: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment."""
    directory: str = ""
    """Empty: that of the agent."""
    max_open_files: bool = False
    """Raise the limit of open files as far as it goes."""


class _Output(asyncio.Protocol):
    """Cuts a program's output into lines. A line that never ends is cut as well, so that it cannot fill the memory."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._rest = b""
        self.closed = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        *whole, rest = (self._rest + data).split(b"\n")
        while len(rest) > MAX_LINE:
            whole.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._rest = rest
        for line in whole:
            self._lines(line.decode(errors="replace").rstrip("\r"))

    def connection_lost(self, _exc: Exception | None) -> None:
        if self._rest:
            self._lines(self._rest.decode(errors="replace"))
        if not self.closed.done():
            self.closed.set_result(None)


class Child:
    """A running program with all that it started in its process group."""

    def __init__(self, process: subprocess.Popen[bytes], guard: Guard, output: _Output, pipe: asyncio.ReadTransport) -> None:
        self.pid = process.pid
        self._process = process
        self._guard = guard
        self._output = output
        self._pipe = pipe

    async def wait(self) -> int:
        """The exit code, negative for a signal."""
        if self._process.returncode is None:
            await _end_of(self._process.pid)
        return self._process.wait()

    async def finish(self) -> None:
        """After its exit: ends what the program left behind in its group, and takes its last lines."""
        self.signal(signal.SIGKILL)
        self._guard.remove(self.pid)
        # A descendant in another group may hold the pipe open; nobody waits for it for long.
        await asyncio.wait([self._output.closed], timeout=0.5)
        self._pipe.close()

    def signal(self, number: signal.Signals) -> None:
        """To the whole group. Nothing happens when all of it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


async def launch(program: Program, guard: Guard, lines: Lines) -> Child:
    """Starts a program in a session of its own. Raises OSError when it cannot be started."""
    _check(program)
    loop = asyncio.get_running_loop()
    read, write = os.pipe()
    pipe, output = await loop.connect_read_pipe(lambda: _Output(lines), os.fdopen(read, "rb", 0))
    try:
        # The loop's own way to start programs leaves copies of these descriptors open in them under uvloop: the guard's pipe would not end.
        process = subprocess.Popen(  # noqa: ASYNC220 - returns when the shell runs, which is at once
            guard.enrolled(program.args),
            stdin=guard.pipe,
            stdout=write,
            stderr=write,
            env=dict(program.env),
            cwd=program.directory or None,
            start_new_session=True,
        )
    except OSError:
        pipe.close()
        raise
    finally:
        os.close(write)
    guard.add(process.pid)
    if program.max_open_files:
        _raise_limit(process.pid)
    return Child(process, guard, output, pipe)


async def _end_of(pid: int) -> None:
    """Returns when a child has ended."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _check(program: Program) -> None:
    """Raises OSError when there is no such program: the shell in between would say it less well."""
    name = program.args[0]
    path = None if "/" in name else program.env.get("PATH", os.defpath)
    if not shutil.which(os.path.join(program.directory, name) if path is None else name, path=path):  # noqa: PTH118 - a Path drops `./`
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)


def _raise_limit(pid: int) -> None:
    if hasattr(resource, "prlimit"):
        with contextlib.suppress(OSError, ValueError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))


async def _at_once() -> None:
    return


@dataclass(kw_only=True)
class Unit:
    """A program that is kept running: started again as the policy says, and known to be up once its probe returns."""

    start: Callable[[], Awaitable[Child]]
    policy: Policy
    grace: float
    """Seconds between the polite and the final signal."""
    report: Lines
    probe: Callable[[], Awaitable[None]] = _at_once
    """Returns when the program serves. Cancelled when the program ends first."""
    changed: Callable[[bool], None] = lambda _up: None
    """Told when the program has come up or gone down."""
    dice: Random = field(default_factory=Random)
    clock: Callable[[], float] = time.monotonic
    up: bool = False
    child: Child | None = None
    starts: int = 0

    def __post_init__(self) -> None:
        self._state = State()
        self._events: asyncio.Queue[Event] = asyncio.Queue(maxsize=64)
        self._timers: list[asyncio.TimerHandle] = []
        self._probing: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Ends the program with its time of grace, and then `run`."""
        self._events.put_nowait(Stop())

    def hurry(self) -> None:
        """Ends the program at once, and then `run`."""
        self._events.put_nowait(Hurry())

    async def run(self) -> int:
        """Until stopped, or until the policy starts the program no more. The code of its last run."""
        async with asyncio.TaskGroup() as tasks:
            try:
                return await self._pump(tasks)
            finally:
                self._down()
                for timer in self._timers:
                    timer.cancel()
                if self.child:
                    self.child.signal(signal.SIGKILL)

    async def _pump(self, tasks: asyncio.TaskGroup) -> int:
        self._events.put_nowait(Begin())
        while True:
            event = await self._events.get()
            self._state, commands = step(self.policy, self._state, event)
            for command in commands:
                if isinstance(command, End):
                    return command.code
                await self._execute(command, tasks)

    async def _execute(self, command: Command, tasks: asyncio.TaskGroup) -> None:
        if isinstance(command, Start):
            await self._start(tasks)
        elif isinstance(command, Wait):
            self._later(command.delay, Elapsed())
        elif isinstance(command, Terminate):
            self._signal(signal.SIGTERM)
            self._later(self.grace, Hurry())
        elif isinstance(command, Kill):
            self._signal(signal.SIGKILL)

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        try:
            self.child = await self.start()
        except OSError as error:
            self.report(f"cannot be started: {error}")
            self._events.put_nowait(self._exited(NOT_STARTED))
            return
        self.starts += 1
        self._events.put_nowait(Started(at=self.clock()))
        self._probing = tasks.create_task(self._probe())
        tasks.create_task(self._watch(self.child))

    async def _probe(self) -> None:
        await self.probe()
        self.up = True
        self.changed(True)

    async def _watch(self, child: Child) -> None:
        try:
            code = await child.wait()
        except asyncio.CancelledError:
            child.signal(signal.SIGKILL)
            await child.wait()
            await child.finish()
            raise
        self.child = None
        self._down()
        await child.finish()
        exited = self._exited(code)
        self._tell(exited)
        self._events.put_nowait(exited)

    def _tell(self, exited: Exited) -> None:
        following = step(self.policy, self._state, exited)[1]
        if (again := next((c for c in following if isinstance(c, Wait)), None)) is not None:
            self.report(f"{describe_exit(exited.code)}; starting it again in {again.delay:.1f} s")
        elif exited.code and self._state.phase is not Phase.STOPPING:
            self.report(describe_exit(exited.code))

    def _exited(self, code: int) -> Exited:
        return Exited(code=code, at=self.clock(), jitter=self.dice.random())

    def _down(self) -> None:
        if self._probing:
            self._probing.cancel()
        if self.up:
            self.up = False
            self.changed(False)

    def _later(self, delay: float, event: Event) -> None:
        self._timers = [t for t in self._timers if not t.cancelled() and t.when() > asyncio.get_running_loop().time()]
        self._timers.append(asyncio.get_running_loop().call_later(delay, self._events.put_nowait, event))

    def _signal(self, number: signal.Signals) -> None:
        if self.child:
            self.child.signal(number)


def describe_exit(code: int) -> str:
    """A sentence on an exit code as `asyncio` gives it."""
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"exited with code {code}"
